# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of the registry, in every way."""

import os
import shutil
import subprocess

from failure_world import UPLOAD
from registry import Registry
from rig import SmallDisk
from waiting import wait_for

PASSWORD = "correct-horse-battery"


def registry_down(w):
    w.session()
    w.proxy.shut()
    try:
        w.fails("Hibernate", "registry", w.rig.registry_address)
        w.fails("Snapshot", "registry")
    finally:
        w.proxy.open()
    w.works()


def registry_fault(w, *words, **fault):
    w.session()
    f = w.proxy.fault(fault.pop("action"), **fault)
    w.fails("Hibernate", "registry", *words)
    assert f.hits, "the fault was never met"
    w.proxy.clear()
    w.works()


def registry_passing(w, **fault):
    """One failure that passes is not worth a word."""
    w.session()
    f = w.proxy.fault(fault.pop("action"), times=1, **fault)
    w.bus.do("Hibernate", w.name)
    assert f.hits == 1
    w.proxy.clear()
    w.check()
    w.bus.do("Restore", w.name)
    w.runs()


def registry_loses_blob(w):
    """Acknowledged, and not there: only a proof that reads shows it. The same files can be saved when it is mended."""
    w.session()
    f = w.proxy.fault("lose", r"^PUT .*/blobs/uploads/", times=1)
    job = w.bus.wait_job(w.bus.verb("Hibernate", w.name), 120)
    assert f.hits == 1
    w.proxy.clear()
    if job["State"] == "failed":        # it may also have sent it again, and be right
        w.runs()
        w.works()
    else:
        assert job["State"] == "done"
        w.check()
        w.bus.do("Restore", w.name)
        w.runs()


def registry_restarts(w):
    w.session()
    fault, job = w.held("Snapshot")
    w.proxy.stop_registry()
    w.proxy.start_registry()
    fault.release()
    end = w.bus.wait_job(job, 120)
    assert end["State"] in ("done", "failed")
    w.proxy.clear()
    w.runs()
    w.works()


def registry_stores_late(w):
    """The push is given up while the registry has its manifest, and it makes the tag after it was asked for what is left."""
    w.session()
    fault = w.proxy.fault("hold", r"^PUT .*/manifests/", times=1)
    job = w.bus.verb("Snapshot", w.name)
    wait_for(fault.held.is_set, "the manifest to be sent", 30)
    tag = next(line for line, what in w.proxy.log if what == "hold").split(" ", 1)[1]
    w.bus.manager("CancelJob", "tt", w.bus.job(job)["Id"], 0)
    assert w.bus.wait_job(job)["State"] == "canceled"
    wait_for(lambda: f"GET {tag}" in [line for line, _ in w.proxy.log], "the service to look for what is left", 60)
    fault.release()
    w.check()
    w.proxy.clear()
    w.runs()
    w.works()


def registry_full(w):
    """Its disk, not ours."""
    disk = SmallDisk("40m")
    w.proxy.stop_registry()
    was = os.path.realpath(os.path.join(w.rig.folder, "registry"))
    config = os.path.join(w.rig.folder, "registry.yml")
    with open(config, encoding="utf-8") as f:
        text = f.read()
    try:
        shutil.copytree(was, os.path.join(disk.folder, "registry"))
        with open(config, "w", encoding="utf-8") as f:
            f.write(text.replace(was, os.path.join(disk.folder, "registry")))
        w.registry.folder = w.proxy.folder = os.path.join(disk.folder, "registry")
        w.proxy.start_registry()
        w.session(2_000_000)
        disk.fill()
        w.fails("Hibernate", "registry")
        disk.empty()
        w.works()
        w.check()
    finally:
        w.proxy.stop_registry()
        shutil.rmtree(was)
        shutil.copytree(os.path.join(disk.folder, "registry"), was)
        disk.close()
        with open(config, "w", encoding="utf-8") as f:
            f.write(text)
        w.registry.folder = w.proxy.folder = os.path.join(w.rig.folder, "registry")
        w.proxy.start_registry()


def credentials(w):
    """Right ones work, wrong ones are told; neither is told to anybody."""
    folder = w.rig.folder
    config = os.path.join(folder, "registry.yml")
    with open(config, encoding="utf-8") as f:
        text = f.read()
    crypted = subprocess.run(["perl", "-e", 'print crypt($ARGV[0], q($2y$05$abcdefghijklmnopqrstuu))', PASSWORD], check=True,
                             capture_output=True, text=True).stdout
    with open(os.path.join(folder, "htpasswd"), "w", encoding="utf-8") as f:
        f.write(f"pusher:{crypted}\n")
    creds = os.path.join(folder, "credentials")
    os.makedirs(creds, 0o700, exist_ok=True)

    def start(password):
        for name in ("swarm-registry-push", "swarm-registry-pull"):
            with open(os.path.join(creds, name), "w", encoding="utf-8") as f:
                f.write(f"pusher:{password}\n")
            os.chmod(os.path.join(creds, name), 0o600)
        w.daemon.stop()
        w.daemon.start(CREDENTIALS_DIRECTORY=creds)
    w.session()
    w.proxy.stop_registry()
    try:
        with open(config, "a", encoding="utf-8") as f:
            f.write(f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n")
        w.proxy.start_registry()
        anonymous, w.checker.registry = w.checker.registry, Registry(w.rig.registry_address, w.rig.netns, "pusher", PASSWORD, w.registry.folder)
        w.fails("Hibernate", "credential")
        start("wrong-" + PASSWORD)
        w.fails("Hibernate", "credential")
        start(PASSWORD)
        fault, job = w.held("Snapshot")
        leaks = [p for p in os.listdir("/proc") if p.isdigit() for kind in ("cmdline", "environ") if _contains(f"/proc/{p}/{kind}", PASSWORD)]
        fault.release()
        assert not leaks, f"processes {leaks} show the password"
        w.bus.wait_job(job)
        w.works()
        w.check()
        w.checker.registry = anonymous
    finally:
        w.proxy.clear()
        w.proxy.stop_registry()
        with open(config, "w", encoding="utf-8") as f:
            f.write(text)
        w.proxy.start_registry()
        w.daemon.stop()
        w.daemon.start()
    with open(w.daemon.log, encoding="utf-8", errors="replace") as f:
        assert PASSWORD not in f.read(), "the log has the password"


def _contains(path, text):
    try:
        with open(path, "rb") as f:
            return text.encode() in f.read()
    except OSError:
        return False


CASES = (
    ("registry: nobody answers", registry_down),
    ("registry: 500 to everything", lambda w: registry_fault(w, "500", action="status 500")),
    ("registry: 503 to the manifest", lambda w: registry_fault(w, "503", action="status 503", pattern=r"^PUT .*/manifests/")),
    ("registry: cuts every upload", lambda w: registry_fault(w, action="cut", pattern=UPLOAD, after=50_000)),
    ("registry: cuts one upload", lambda w: registry_passing(w, action="cut", pattern=UPLOAD, after=50_000)),
    ("registry: one 503", lambda w: registry_passing(w, action="status 503", pattern=r"^POST .*/uploads/")),
    ("registry: reads back something else", lambda w: registry_fault(w, action="corrupt", pattern=r"^GET .*/sessions/.*/blobs/")),
    ("registry: another manifest than was stored", lambda w: registry_fault(w, action="corrupt", pattern=r"^GET .*/sessions/.*/manifests/")),
    ("registry: cuts what is read back", lambda w: registry_fault(w, action="cut-answer", pattern=r"^GET .*/sessions/.*/blobs/", after=100)),
    ("registry: loses what it acknowledged", registry_loses_blob),
    ("registry: restarts during an upload", registry_restarts),
    ("registry: stores a manifest when its sender is gone", registry_stores_late),
    ("registry: its disk is full", registry_full),
    ("registry: credentials", credentials),
)
