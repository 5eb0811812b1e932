#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pushes writable layers of real overlay mounts to a real registry, unpacks them again, compares everything."""

import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import Child, Registry, SlowMemory, pull, tar_of
from session import PROGRAM, REPOSITORY, Session, SessionTest, change_all_kinds, write


class PushTest(SessionTest):
    def test_every_kind_over_four_generations(self):
        s = self.session("kinds")
        m = s.merged
        change_all_kinds(m)
        time.sleep(0.1)         # what is younger than 20 ms counts as changed the next time
        child = s.save()
        s.check(child)
        self.assertEqual(child.result["session_layers"], 1)
        self.assertIn("/new/socket (socket)", child.result["dropped"])
        self.assertEqual(child.types(), ["read-done", "result"])
        # deletions, replacements and changes of type
        time.sleep(0.05)
        os.unlink(f"{m}/new/empty")
        subprocess.run(["rm", "-rf", f"{m}/zzz", f"{m}/etc/file-to-directory", f"{m}/opt/kept"], check=True)
        write(f"{m}/etc/file-to-directory", b"a file again")
        write(f"{m}/new/size-512", b"changed")
        os.unlink(f"{m}/new/size-511")
        write(f"{m}/new/size-511/now-a-directory")
        subprocess.run(["mv", f"{m}/new/odd", f"{m}/odd"], check=True)
        os.rename(f"{m}/new/symlink", f"{m}/new/renamed-symlink")
        child = s.save()
        names = s.check(child)
        self.assertNotIn(b"new/big", names[-1])
        self.assertIn(b"opt/.wh.kept", names[-1])
        self.assertLess(child.result["uncompressed_bytes"], 1 << 20)
        self.assertEqual(child.result["session_layers"], 2)
        # a directory of the base that is deleted and made again is opaque now; one of ours is not
        time.sleep(0.05)
        os.mkdir(f"{m}/opt/kept")
        write(f"{m}/opt/kept/only")
        subprocess.run(["rm", "-rf", f"{m}/opt/replaced"], check=True)
        write(f"{m}/opt/replaced/third")
        os.unlink(f"{m}/etc/passwd")
        time.sleep(0.1)
        child = s.save()
        names = s.check(child)
        self.assertIn(b"opt/kept/.wh..wh..opq", names[-1])
        # nothing
        time.sleep(0.05)
        before = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])
        child = s.save()
        self.assertTrue(child.result["unchanged"])
        self.assertEqual(child.result.get("bytes", 0), 0)
        after = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])
        self.assertEqual(before["layers"], after["layers"])
        self.assertNotEqual(before["annotations"], after["annotations"])
        s.check(child)

    def test_links_divided(self):
        """A moved directory keeps its files' change times: their other names come along all the same."""
        s = self.session("links")
        m = s.merged
        write(f"{m}/a/one", b"linked" * 100)
        write(f"{m}/a/two", b"linked" * 200)
        os.makedirs(f"{m}/m/dir")
        os.link(f"{m}/a/one", f"{m}/m/dir/one")
        os.link(f"{m}/a/two", f"{m}/m/dir/two")
        os.link(f"{m}/a/two", f"{m}/zz-two")
        time.sleep(0.1)
        s.check(s.save())
        time.sleep(0.1)
        os.rename(f"{m}/m/dir", f"{m}/m/else")
        s.check(s.save())

    def test_restored_elsewhere(self):
        """The next container runs from the generation: its upperdir is small, its base layers are not new."""
        s = self.session("first")
        change_all_kinds(s.merged)
        child = s.save()
        root = self.scratch / "restored-lower"
        os.mkdir(root)
        pull(self.registry, REPOSITORY, child.result["manifest_digest"], root)
        t = Session(self, "restored", [root], child.result["image"])
        os.unlink(f"{t.merged}/new/big")
        write(f"{t.merged}/etc/more")
        child = t.save()
        t.check(child)
        self.assertEqual(child.result["session_layers"], 2)
        manifest = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])
        self.assertEqual(manifest["annotations"]["org.swarm.orchestrator.base-layers"], "1")

    def test_same_tree_same_bytes(self):
        s = self.session("same")
        change_all_kinds(s.merged)
        images = [Child(PROGRAM, s.request(tag=f"same-{i}")).result for i in "ab"]
        self.assertNotIn(None, images)
        a, b = (self.registry.manifest(REPOSITORY, f"same-{i}") for i in "ab")
        self.assertEqual(a["layers"], b["layers"])

    def test_damaged_and_saved_again(self):
        """The registry keeps a damaged blob when the same bytes come once more; an exited container has the same for ever."""
        for what in "layers", "config":
            s = self.session(f"damaged-{what}")
            change_all_kinds(s.merged)
            exited = int(time.time() * 1e6)
            s.save(index=False, frozen_realtime_usec=exited)
            manifest = self.registry.manifest(REPOSITORY, s.request()["tag"])
            blob = manifest["config"] if what == "config" else manifest["layers"][-1]
            os.truncate(self.registry.blob_path(blob["digest"]), blob["size"] // 2)
            s.image = s.base
            s.check(s.save(index=False, frozen_realtime_usec=exited))

    def test_number_used_twice(self):
        """After a lost store an exited container may be saved once more, by the same job: only the tag is another one."""
        s = self.session("twice")
        write(f"{s.merged}/x")
        exited = int(time.time() * 1e6)
        first, second = (Child(PROGRAM, s.request(tag=f"twice-g1-{i}", frozen_realtime_usec=exited)).result for i in "ab")
        self.assertNotEqual(first["manifest_digest"], second["manifest_digest"])
        cut_off = second["image"].split("@")[0] + ":twice-g1-b"
        gone = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.registry.url}, "image": cut_off})
        self.assertIsNotNone(gone.result, gone.lines)
        verify = Child(PROGRAM, {"verb": "verify", "registry": {"url": self.registry.url}, "image": first["image"]})
        self.assertIsNotNone(verify.result, verify.lines)
        self.assertEqual(self.registry.manifest(REPOSITORY, "twice-g1-a")["annotations"]["org.swarm.orchestrator.tag"], "twice-g1-a")

    def test_empty(self):
        s = self.session("empty")
        child = s.save()
        self.assertTrue(child.result["unchanged"])
        self.assertEqual(child.result.get("session_layers", 0), 0)
        s.check(child)
        write(f"{s.merged}/x")
        child = s.save()
        self.assertFalse(child.result.get("unchanged", False))
        s.check(child)

    def test_precopy(self):
        s = self.session("precopy")
        m = s.merged
        change_all_kinds(m)
        time.sleep(0.1)         # what is younger than a tick counts as changed

        def meanwhile():
            write(f"{m}/new/size-512", b"changed before the freeze")
            os.unlink(f"{m}/new/size-513")
            write(f"{m}/late/file")
            subprocess.run(["rm", "-rf", f"{m}/opt/kept"], check=True)
            os.mkdir(f"{m}/opt/kept")

        s.generation += 1
        child = Child(PROGRAM, s.request(precopy=True), on_freeze=meanwhile)
        self.assertIsNotNone(child.result, child.lines)
        self.assertEqual(child.types(), ["freeze", "read-done", "result"])
        self.assertEqual(child.result["session_layers"], 2)
        s.image, s.has_index = child.result["image"], True
        names = s.check(child)
        self.assertNotIn(b"new/big", names[-1])
        # and the index of the second pass serves the next generation
        time.sleep(0.1)
        os.unlink(f"{m}/late/file")
        child = s.save(precopy=True)
        s.check(child)

    def test_disk_without_room(self):
        """An index that cannot be written costs time and nothing else; the older one goes on to serve."""
        s = self.session("full")
        m = s.merged
        disk = self.scratch / "small"
        os.mkdir(disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
        try:
            s.index = f"{disk}/index"
            change_all_kinds(m)
            s.check(s.save())
            first = s.image
            for i in range(3000):
                write(f"{m}/many/with-a-name-that-is-rather-long-{i}")
            child = s.save()
            self.assertRegex(child.errors, "index of session full cannot be written to .*: No space left on device")
            s.check(child)
            # the next one builds upon the generation of the index that is still there
            write(f"{m}/many/more")
            s.generation += 1
            child = Child(PROGRAM, s.request(precopy=True, image=first), on_freeze=lambda: write(f"{m}/many/last"))
            self.assertIsNotNone(child.result, child.lines)
            self.assertEqual(child.types(), ["freeze", "read-done", "result"])
            self.assertEqual(child.result["session_layers"], 2)
            s.check(child)
        finally:
            subprocess.run(["umount", disk], check=True)

    def test_disk_fails_to_sync(self):
        """An index after which pages may be dirty would miss what is written to them."""
        s = self.session("unsynced")
        write(f"{s.merged}/a")
        children = []

        def push():
            harness.fail_syncfs()
            children.append(s.save())

        thread = threading.Thread(target=push)      # what it starts cannot sync either
        thread.start()
        thread.join()
        self.assertRegex(children[0].errors, "index of session unsynced cannot be written to .*: Input/output error")
        self.assertFalse(os.path.exists(s.index))
        s.check(children[0])

    def test_precopy_while_writing(self):
        """The first pass runs over a tree that changes under it; the result is that of the freeze."""
        s = self.session("busy")
        m = s.merged
        write(f"{m}/grow", b"")
        script = f"""
i=0
while :; do
    i=$((i + 1)); echo $i >> {m}/grow; mkdir -p {m}/d$((i % 7))/e; echo $i > {m}/d$((i % 7))/e/f$((i % 11))
    rm -rf {m}/d$(((i + 3) % 7)); mv -T {m}/d$((i % 7)) {m}/e$((i % 5)) 2>/dev/null; ln -f {m}/grow {m}/l$((i % 3))
    truncate -s $((i % 3 * 1000)) {m}/cut; rm -rf {m}/usr/lib; mkdir -p {m}/usr/lib/$i
done"""
        for i in range(3000):
            write(f"{m}/many/{i % 50}/{i}", b"m" * 100)
        for _ in range(3):
            writer = subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL, start_new_session=True)

            def freeze():
                """Until the last command of the shell is gone too."""
                try:
                    while True:
                        os.killpg(writer.pid, signal.SIGKILL)
                        writer.poll()
                        time.sleep(0.01)
                except ProcessLookupError:
                    writer.wait()
            try:
                s.generation += 1
                child = Child(PROGRAM, s.request(precopy=True), on_freeze=freeze)
            finally:
                freeze()
            self.assertIsNotNone(child.result, child.lines)
            s.image, s.has_index = child.result["image"], True
            s.check(child)

    def test_write_under_way(self):
        """A write has set the change time before the first of two passes began, and brings the bytes after that."""
        s = self.session("under-way")
        write(f"{s.merged}/x", b"1" * mmap.PAGESIZE)
        try:
            memory = SlowMemory()
        except OSError as e:
            self.skipTest(str(e))
        with open(f"{s.merged}/x", "r+b") as f:
            writer = threading.Thread(target=os.pwrite, args=(f.fileno(), memory.bytes, 0))
            writer.start()
            memory.wait()
            time.sleep(0.1)
            copying = []

            def watch(_, line):
                copying.extend(["copying"] if line.get("stage") == "copying" else [])
                if len(copying) == 2:       # told once a second where nothing moves: the pass stands and waits
                    memory.ready()

            def freeze():
                memory.ready()
                writer.join()
            try:
                s.generation += 1
                child = Child(PROGRAM, s.request(precopy=True), on_freeze=freeze, on_line=watch)
            finally:
                freeze()
        self.assertIsNotNone(child.result, child.lines)
        s.check(child)

    def test_directory_gone_while_opened(self):
        s = self.session("gone")
        for name in ("a", "gone", "z"):
            write(f"{s.merged}/{name}/file")
        time.sleep(0.1)
        s.save()
        os.unlink(f"{s.merged}/gone/file")
        try:
            thread = harness.amid(f"{s.upper}/gone", harness.FAN_OPEN_PERM, 1, lambda: os.rmdir(f"{s.merged}/gone"))
        except OSError as e:
            self.skipTest(str(e))
        child = s.save(precopy=True)
        thread.join()
        s.check(child)

    def test_name_told_twice(self):
        """A name that is removed and made again while a large directory is read may come a second time."""
        s = self.session("twice", self.scratch.disk("disk-in-order", "-O", "^dir_index"))
        names = [f"{s.merged}/large/{i:0200}" for i in range(1500)]      # more than one read tells
        for name in names:
            write(name, b"")
        time.sleep(0.1)

        def again():
            os.unlink(names[0])
            write(f"{names[0][:-1]}-", b"in its place")
            write(names[0], b"again")
        try:
            thread = harness.amid(f"{s.upper}/large", harness.FAN_ACCESS_PERM, 2, again)
        except OSError as e:
            self.skipTest(str(e))
        child = s.save(precopy=True)
        thread.join()
        s.check(child)

    def test_index_of_earlier_boot(self):
        """A power loss may leave a file's newer bytes under its older change time."""
        s = self.session("boot")
        write(f"{s.merged}/a")
        s.save()
        write(f"{s.merged}/b")
        self.assertEqual(s.save().result["session_layers"], 2)
        other, boot = self.scratch / "boot_id", "/proc/sys/kernel/random/boot_id"
        write(other, b"f47ac10b-58cc-4372-a567-0e02b2c3d479\n")
        subprocess.run(["mount", "--bind", other, boot], check=True)
        try:
            child = s.save()
            self.assertEqual(child.result["session_layers"], 1)    # a full walk upon the base
            s.check(child)
            write(f"{s.merged}/c")
            self.assertEqual(s.save().result["session_layers"], 2)
            write(other, b"")           # not known: nothing is passed over, and what is written then does not serve later
            self.assertEqual(s.save().result["session_layers"], 1)
            self.assertEqual(s.save().result["session_layers"], 1)
        finally:
            subprocess.run(["umount", boot], check=True)
        self.assertEqual(s.save().result["session_layers"], 1)

    def test_index_of_another_directory(self):
        """What lies at the same path need not be the same."""
        s = self.session("directory")
        write(f"{s.merged}/a")
        s.save()
        write(f"{s.merged}/b")
        self.assertEqual(s.save().result["session_layers"], 2)
        other = self.scratch / "other-upper"
        subprocess.run(["cp", "-a", s.upper, other], check=True)
        subprocess.run(["mount", "--bind", other, s.upper], check=True)
        try:
            child = s.save()
            self.assertEqual(child.result["session_layers"], 1)    # a full walk upon the base
            s.check(child)
        finally:
            subprocess.run(["umount", s.upper], check=True)

    def test_no_index_of_memory(self):
        """tmpfs never cleans a page, so a write through a mapping may leave no trace in a change time."""
        where = self.scratch / "tmpfs"
        os.mkdir(where)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", where], check=True)
        self.scratch.mounts.append(where)
        s = self.session("memory", where)
        write(f"{s.merged}/a")
        s.save()
        self.assertFalse(os.path.exists(s.index))
        write(f"{s.merged}/b")
        child = s.save()
        self.assertEqual(child.result["session_layers"], 1)    # a full walk upon the base
        s.check(child)

    def test_index_unusable(self):
        s = self.session("index")
        write(f"{s.merged}/a")
        s.save()
        os.unlink(f"{s.merged}/a")
        write(f"{s.merged}/b")
        with open(s.index, "r+b") as f:
            f.seek(40)
            f.write(b"!")
        child = s.save()
        self.assertEqual(child.result["session_layers"], 1)    # a full walk upon the base
        s.check(child)
        # the generation of the index is gone from the registry
        digest = child.result["manifest_digest"]
        gone = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.registry.url}, "image": child.result["image"]})
        self.assertIsNotNone(gone.result, gone.lines)
        again = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.registry.url}, "image": child.result["image"]})
        self.assertIsNotNone(again.result, again.lines)
        # by its tag, which is all that is known of a push that was cut off
        child = s.save()
        tagged = child.result["image"].split("@")[0] + ":" + s.request()["tag"]
        whole = Child(PROGRAM, {"verb": "verify", "registry": {"url": self.registry.url}, "image": tagged})
        self.assertEqual(whole.result["image"], child.result["image"])
        for _ in range(2):
            gone = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.registry.url}, "image": tagged})
            self.assertIsNotNone(gone.result, gone.lines)
        for image in (child.result["image"], tagged):
            verify = Child(PROGRAM, {"verb": "verify", "registry": {"url": self.registry.url}, "image": image})
            self.assertEqual(verify.error["code"], "NoSuchImage")
        write(f"{s.merged}/c")
        child = s.save()
        self.assertNotEqual(digest, child.result["manifest_digest"])
        self.assertEqual(child.result["session_layers"], 1)
        s.check(child)
        # the index is of another generation than the one to build upon
        older = s.image
        write(f"{s.merged}/e")
        time.sleep(0.05)
        s.save()
        s.generation += 1
        s.check(Child(PROGRAM, s.request(image=older)))
        # another directory has taken the place of the one that the index is of
        os.rename(s.upper, s.upper + "-before")
        os.mkdir(s.upper)
        write(f"{s.upper}/d")
        self.assertEqual(s.save().result["session_layers"], 1)
        # an index without a fallback that cannot be used
        os.unlink(s.index)
        s.generation += 1
        q = s.request()
        del q["fallback_image"]
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "FilesRefused")

    def test_generation_damaged(self):
        """What the index describes is no longer whole in the registry: all is saved once more, upon what the container runs from."""
        s = self.session("damaged")

        def config(digest):
            return self.registry.manifest(REPOSITORY, digest)["config"]["digest"]

        def alter(digest):
            with open(self.registry.blob_path(digest), "r+b") as f:
                f.write(b" ")

        def lose(digest):
            os.unlink(self.registry.blob_path(digest))

        for damage, of in (lose, config), (alter, config), (alter, lambda digest: digest):
            write(f"{s.merged}/{damage.__name__}")
            digest = s.save().result["manifest_digest"]
            damage(of(digest))
            child = s.save()
            self.assertEqual(child.result["session_layers"], 1)
            s.check(child)

    def test_young_files_count_as_changed(self):
        """A change time has the grain of a tick: what is as young as the freeze may change once more without a new one."""
        s = self.session("young")
        write(f"{s.merged}/old")
        time.sleep(0.1)
        frozen = time.time()
        time.sleep(0.1)
        write(f"{s.merged}/young")
        s.save(frozen_realtime_usec=int(frozen * 1e6))
        child = s.save()
        self.assertEqual(s.check(child)[-1], [b"young"])
        self.assertTrue(s.save().result["unchanged"])

    def test_whole_seconds(self):
        """Where change times have no fractions, a file may change once more in the second of the save."""
        s = self.session("seconds", self.scratch.disk("disk-of-seconds", "-I", "128"))
        name = f"{s.merged}/x"
        for _ in range(10):     # until a save and a change after it fall in one second
            write(name, b"1")
            before = os.stat(name).st_ctime_ns
            time.sleep(0.1)
            s.save()
            write(name, b"2")
            s.check(s.save())
            if os.stat(name).st_ctime_ns == before:
                break

    def test_written_through_a_mapping(self):
        """A page that is dirty takes a second write without a new change time."""
        s = self.session("mapping")
        write(f"{s.merged}/mapped", b"1" * 4096)
        with open(f"{s.merged}/mapped", "r+b") as f, mmap.mmap(f.fileno(), 4096) as m:
            for precopy in (False, True):
                m[0] = ord("2")
                time.sleep(0.1)
                s.save(precopy=precopy)
                m[0] = ord("3")
                s.check(s.save())

    def test_too_many_layers(self):
        s = self.session("layers")
        write(f"{s.merged}/a")
        s.save(layers_max=2)
        write(f"{s.merged}/b")
        self.assertEqual(s.save(layers_max=2).result["session_layers"], 2)
        write(f"{s.merged}/c")
        child = s.save(layers_max=2)    # too long with the index: starts again upon the base
        self.assertEqual(child.result["session_layers"], 1)
        s.check(child)
        s.generation += 1
        q = s.request(layers_max=1)
        del q["index"], q["fallback_image"]
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "ImageRefused")

    def test_resolve(self):
        q = {"verb": "resolve", "registry": {"url": self.registry.url}, "image": f"{self.registry.host}/library/base:1"}
        child = Child(PROGRAM, q)
        self.assertEqual(child.result["image"], self.base)
        self.assertEqual(child.result["working_dir"], "/srv")
        child = Child(PROGRAM, {**q, "image": f"{self.registry.host}/library/none:1"})
        self.assertEqual(child.error["code"], "NoSuchImage")
        child = Child(PROGRAM, {**q, "image": "UPPER/Case:1"})
        self.assertEqual(child.error["code"], "InvalidArgument")

    def test_resolve_without_room(self):
        """A session of it could never be saved."""
        def resolve(n):
            self.registry.push_base(f"library/deep{n}", "1", [tar_of(self.lower)] * n)
            return Child(PROGRAM, {"verb": "resolve", "registry": {"url": self.registry.url}, "image": f"{self.registry.host}/library/deep{n}:1"})
        self.assertIsNotNone(resolve(124).result)
        child = resolve(125)
        self.assertEqual(child.error["code"], "ImageRefused")
        self.assertIn("125 layers", child.error["message"])

    def test_resolve_on_the_other_loopback(self):
        """Docker speaks http to ::1 too."""
        with socket.socket(socket.AF_INET6) as s:
            try:
                s.bind(("::1", 0))
            except OSError as e:
                self.skipTest(f"no IPv6: {e}")
            s.listen()

            def serve():
                k = s.accept()[0]
                with k:
                    k.recv(65536)
                    k.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            threading.Thread(target=serve, daemon=True).start()
            child = Child(PROGRAM, {"verb": "resolve", "registry": {"timeout_usec": 5000000}, "image": f"[::1]:{s.getsockname()[1]}/a/b:1"})
        self.assertEqual(child.error["code"], "NoSuchImage", child.error)

    def test_resolve_index_and_volumes(self):
        base = self.registry.push_base("library/volumes", "1", [tar_of(self.lower)], oci=True, config={
            "config": {"Volumes": {"/z": {}, "/a": {}}, "User": "1000"}})
        digest = base.split("@")[1]
        data = self.registry.call("GET", f"/v2/library/volumes/manifests/{digest}", headers={"Accept": harness.MANIFESTS})[2]
        self.registry.put_manifest("library/volumes", "multi", {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
                {"mediaType": harness.OCI_MANIFEST, "digest": digest, "size": len(data),
                 "platform": {"os": "linux", "architecture": harness.ARCHITECTURE}}]})
        child = Child(PROGRAM, {"verb": "resolve", "registry": {"url": self.registry.url}, "image": f"{self.registry.host}/library/volumes:multi"})
        self.assertEqual(child.result["image"], base)
        self.assertEqual(child.result["volumes"], ["/a", "/z"])
        self.assertEqual(child.result["user"], "1000")

    def test_other_registry(self):
        """A base image in another registry is copied, not mounted."""
        other = Registry(self.scratch, "other")
        try:
            base = other.push_base("x/base", "1", [tar_of(self.lower), b"\0" * 10240])
            s = Session(self, "far", [self.lower], base)
            write(f"{s.merged}/x")
            s.check(s.save())
        finally:
            other.close()

    def test_verify(self):
        s = self.session("verify")
        write(f"{s.merged}/x", os.urandom(100000))
        child = s.save()
        q = {"verb": "verify", "registry": {"url": self.registry.url}, "image": child.result["image"]}
        self.assertIsNotNone(Child(PROGRAM, q).result)
        layer = self.registry.manifest(REPOSITORY, child.result["manifest_digest"])["layers"][-1]
        path = self.registry.blob_path(layer["digest"])
        with open(path, "r+b") as f:
            f.seek(50)
            byte = f.read(1)
            f.seek(50)
            f.write(bytes([byte[0] ^ 1]))
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "RegistryFailed")
        self.assertIn(layer["digest"], child.error["message"])
        os.unlink(path)
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "RegistryFailed")
        # a damaged generation is not built upon for ever
        write(f"{s.merged}/y")
        s.generation += 1
        child = Child(PROGRAM, s.request())
        self.assertEqual(child.error["code"], "RegistryFailed")
        s.check(s.save())


if __name__ == "__main__":
    harness.need_root()
    harness.private_namespaces()
    unittest.main(verbosity=2)
