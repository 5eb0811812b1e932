#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What swarm-layer does when the registry, the agent or the machine misbehaves: exact refusals, no result, no index."""

import base64
import itertools
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import Child, Registry, Scratch, compare, describe, pull, sha256, tar_of
from proxy import Proxy

PROGRAM = os.environ.get("SWARM_LAYER", "swarm-layer")
REPOSITORY = "sessions/faults"


class FaultTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = Scratch()
        cls.registry = Registry(cls.scratch)
        cls.lower = cls.scratch / "lower"
        os.mkdir(cls.lower)
        with open(f"{cls.lower}/base", "w") as f:
            f.write("base")
        os.utime(f"{cls.lower}/base", (1, 1))
        # longer than the range of the proof once compressed
        cls.base = cls.registry.push_base("library/base", "1", [tar_of(cls.lower), cls.big_layer()])

    @classmethod
    def big_layer(cls):
        d = cls.scratch / "lower-big"
        os.mkdir(d)
        with open(f"{d}/big", "wb") as f:
            f.write(os.urandom(50000))
        return tar_of(d)

    @classmethod
    def tearDownClass(cls):
        cls.registry.close()
        cls.scratch.close()

    def setUp(self):
        self.proxy = Proxy(self.registry.port)
        self.upper = self.scratch / self.id().rsplit(".", 1)[1]
        os.mkdir(self.upper)
        with open(f"{self.upper}/file", "w") as f:
            f.write(self.id())
        self.index = self.upper + ".index"

    def tearDown(self):
        self.proxy.close()

    def fill(self, mib):
        with open(f"{self.upper}/big", "wb") as f:
            for _ in range(mib):
                f.write(os.urandom(1 << 20))

    def request(self, **more):
        image = self.base.replace(self.registry.host, self.proxy.host)
        registry = {"url": self.proxy.url, "timeout_usec": 2000000, **more.pop("registry", {})}
        return {"verb": "push", "registry": registry, "image": image, "repository": REPOSITORY, "tag": "t-g1", "session": "t", "generation": 1,
                "job": 1, "upperdir": self.upper, "new_index": self.index, "frozen_realtime_usec": int(time.time() * 1e6), **more}

    def push(self, fault=None, **more):
        self.proxy.fault = fault
        return Child(PROGRAM, self.request(**more), timeout=60)

    def refused(self, child, *words):
        self.assertIsNotNone(child.error, child.lines)
        self.assertIsNone(child.result)
        self.assertNotEqual(child.status, 0)
        self.assertFalse(os.path.exists(self.index), "a failure leaves no index")
        self.assertEqual(child.error["code"], "RegistryFailed", child.error)
        for w in (self.proxy.host,) + words:
            self.assertIn(w, child.error["message"])
        self.assertTrue(child.error["message"].isprintable(), child.error["message"])
        self.assertLess(len(child.error["message"]), 900)

    def works(self, child):
        self.assertIsNotNone(child.result, child.lines)
        root = self.upper + ".check"
        os.mkdir(root)
        pull(self.registry, REPOSITORY, child.result["manifest_digest"], root)
        found = describe(root)
        compare(describe(self.upper), {k: v for k, v in found.items() if k not in (b"base", b"big") or k in describe(self.upper)})

    def test_no_fault(self):
        self.works(self.push())

    def test_clock_set_back(self):
        """While a copy is made of what runs: what changed since then may be older than that copy by the clock. Through a
        mapping, a page that is dirty already changes without even a new change time."""
        self.fill(32)           # read before the other: its upload begins when nothing of that has been read
        ahead = self.scratch / "ahead"
        with open(ahead, "w"):
            pass
        with open(f"{self.upper}/file", "r+b") as f, mmap.mmap(f.fileno(), 0) as page:
            def before(h):
                if h.command == "PATCH":
                    page[:6] = b"before"

            def set_back():
                page[:6] = b"after "
                os.unlink(ahead)

            self.proxy.fault = before
            child = Child(PROGRAM, self.request(precopy=True, frozen_realtime_usec=0), on_freeze=set_back, environment={
                "LD_PRELOAD": os.environ["SWARM_SET_CLOCK"], "SWARM_CLOCK_AHEAD": ahead,
                "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
        self.works(child)

    def test_not_there(self):
        port = harness.free_port()
        q = self.request()
        q["registry"]["url"] = f"http://127.0.0.1:{port}"
        q["image"] = q["image"].replace(self.proxy.host, f"127.0.0.1:{port}")
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "RegistryFailed")
        self.assertIn("Check that it runs", child.error["message"])

    def test_image_unknown(self):
        image = f"{self.proxy.host}/library/base@sha256:{'0' * 64}"
        child = self.push(image=image)
        self.assertEqual(child.error["code"], "NoSuchImage")
        self.assertIn(image, child.error["message"])

    def test_server_error(self):
        def fault(h):
            if h.command == "POST":
                h.answer(500, json.dumps({"errors": [{"code": "UNKNOWN", "message": "disk on fire\n\x1b[31m" + "x" * 5000}]}).encode())
                return True
        child = self.push(fault)
        self.refused(child, "500", "disk on fire")
        self.assertNotIn("\x1b", child.error["message"])

    def test_endless_errors(self):
        """Whoever goes on answering an error for ever is not heard to the end: the container is frozen meanwhile."""
        for command, piece, pause in (("PATCH", b"x" * 100, 0.05), ("GET", b"x" * 65536, 0)):
            begun, left, over = [], [], threading.Event()

            def fault(h):
                if h.command != command or (command == "GET" and "/blobs/" not in h.path):
                    return False
                begun.append(h.path)
                h.send_response(500)
                h.end_headers()
                try:
                    while not over.wait(pause):
                        h.wfile.write(piece)
                except OSError:
                    left.append(h.path)
                h.cut()
                return True
            child = self.push(fault)
            for _ in range(200):
                if len(left) == len(begun):
                    break
                time.sleep(0.05)
            over.set()
            self.refused(child, "500")
            self.assertEqual(left, begun, command)

    def test_server_error_passes(self):
        state = {"left": 2}

        def fault(h):
            if h.command == "POST" and "mount" not in h.path and state["left"] > 0:
                state["left"] -= 1
                h.answer(503)
                return True
        self.works(self.push(fault))
        self.assertEqual(state["left"], 0)

    def test_server_error_passes_while_proving(self):
        """As of a registry that reads a blob while the same one is stored by another session."""
        left = {layer["digest"] for layer in self.registry.manifest("library/base", "1")["layers"]}

        def fault(h):
            digest = h.path.rsplit("/", 1)[1]
            if h.command == "GET" and digest in left:
                left.remove(digest)
                h.answer(500)
                return True
        self.works(self.push(fault))
        self.assertFalse(left)

    def cutting(self, times, after):
        state = {"left": times}

        def fault(h):
            if h.command == "PATCH" and state["left"] > 0:
                state["left"] -= 1
                got = 0
                for data in h.body():
                    got += len(data)
                    if got >= after:
                        break
                h.cut()
                return True
        return state, fault

    def test_cut_small(self):
        """All of it is still in memory: sent again without reading again."""
        state, fault = self.cutting(2, 1)
        child = self.push(fault)
        self.works(child)
        self.assertEqual(state["left"], 0)
        self.assertEqual(child.types().count("read-done"), 1)

    def test_cut_large(self):
        """Too much for the memory and still frozen: read again."""
        self.fill(24)
        state, fault = self.cutting(2, 3 << 20)
        child = self.push(fault)
        self.works(child)
        self.assertEqual(state["left"], 0)
        self.assertEqual(child.types().count("read-done"), 1)

    def answering_early(self, times):
        """The answer comes, and with it the end of the connection, before all bytes have. What came is taken for all."""
        state, drained = {"left": times}, threading.Event()

        def fault(h):
            if h.command == "PATCH":
                state.pop("data", None)
                if state["left"] == 0:
                    return False
                state["left"] -= 1
                pieces = h.body()
                state["data"] = next(pieces)
                h.wfile.write(f"HTTP/1.1 202 Accepted\r\nLocation: {h.path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                h.close_connection = True
                try:
                    for data in pieces:
                        state["data"] += data
                finally:
                    drained.set()
                return True
            if h.command == "PUT" and "/blobs/" in h.path and "data" in state:
                drained.wait(10)
                del h.headers["Content-Length"]
                status, headers, data, _ = h.ask(body=state.pop("data"))
                h.answer(status, data, headers)
                return True
        return state, fault

    def test_answered_early(self):
        """Half a layer has a digest, too."""
        self.fill(4)
        state, fault = self.answering_early(1)
        self.works(self.push(fault))
        self.assertEqual(state["left"], 0)

    def test_answered_early_always(self):
        self.fill(24)           # more than is in memory at a time
        _, fault = self.answering_early(1000)
        self.refused(self.push(fault), "uploading a layer")

    def test_cut_always(self):
        self.fill(12)
        _, fault = self.cutting(1000, 1 << 20)
        self.refused(self.push(fault), "uploading a layer")
        self.assertLessEqual(self.proxy.count("PATCH"), 3)

    def test_changed_under_the_read(self):
        """What should be frozen and is not: the copy would be of no moment that ever was."""
        def overwrite(path):
            with open(path, "r+b") as f:
                f.write(b"changed")

        def append(path):
            with open(path, "ab") as f:
                f.write(b"more")

        for change in overwrite, append, lambda path: os.truncate(path, 1 << 20):
            # More than the queue and the sockets take, so that it is being read when the first bytes arrive.
            self.fill(64)

            def fault(h, change=change):
                if h.command == "PATCH":
                    pieces = h.body()
                    first = next(pieces)
                    change(f"{self.upper}/big")
                    status, headers, data, _ = h.ask(pieces=itertools.chain([first], pieces))
                    h.answer(status, data, headers)
                    return True
                return False
            child = self.push(fault)
            self.assertIsNone(child.result, child.lines)
            self.assertEqual(child.error["code"], "FilesChanged")
            self.assertIn("/big", child.error["message"])
            self.assertFalse(os.path.exists(self.index))

    def test_lost_answer_to_put(self):
        """The blob is stored, the answer lost: looked for, found."""
        state = {"left": 1}

        def fault(h):
            if h.command == "PUT" and "uploads" in h.path and state["left"] > 0:
                state["left"] -= 1
                h.ask(body=b"".join(h.body()) or None)
                h.cut()
                return True
        self.works(self.push(fault))

    def altered(self, match, change):
        state = {"puts": 0}

        def fault(h):
            if h.command == "PUT":
                state["puts"] += "manifests" in h.path
            if h.command == "GET" and match(h, state):
                status, headers, data, _ = h.ask()
                change(h, status, headers, data)
                return True
        return fault

    def test_wrong_manifest_on_read_back(self):
        fault = self.altered(lambda h, s: "manifests" in h.path and s["puts"],
                             lambda h, status, headers, data: h.answer(status, data + b" ", headers))
        self.refused(self.push(fault), "another digest")

    def test_wrong_parent_manifest(self):
        fault = self.altered(lambda h, s: "manifests" in h.path, lambda h, status, headers, data: h.answer(status, data + b" ", headers))
        self.refused(self.push(fault), "another digest")

    def test_wrong_layer_on_read_back(self):
        fault = self.altered(lambda h, s: "blobs" in h.path and s["puts"],
                             lambda h, status, headers, data: h.answer(status, data[:-1] + bytes([data[-1] ^ 1]), headers))
        self.refused(self.push(fault), "other bytes")

    def test_bit_flipped_in_layer(self):
        fault = self.altered(lambda h, s: "blobs" in h.path and s["puts"] and "json" not in h.path,
                             lambda h, status, headers, data: h.answer(status, data if data.startswith(b"{") else data[:30] + b"!" + data[31:], headers))
        self.refused(self.push(fault), "its bytes differ")

    def test_layer_shorter(self):
        fault = self.altered(lambda h, s: "blobs" in h.path and s["puts"],
                             lambda h, status, headers, data: h.answer(status, data if data.startswith(b"{") else data[:-5], headers))
        self.refused(self.push(fault), "its length differs")

    def test_layer_longer(self):
        fault = self.altered(lambda h, s: "blobs" in h.path and s["puts"],
                             lambda h, status, headers, data: h.answer(status, data if data.startswith(b"{") else data + b"more", headers))
        self.refused(self.push(fault), "sent more than it may")

    def test_layer_lost(self):
        fault = self.altered(lambda h, s: "blobs" in h.path and s["puts"],
                             lambda h, status, headers, data: h.answer(status, data, headers) if data.startswith(b"{") else h.answer(404))
        self.refused(self.push(fault), "it is gone")

    def test_base_layer_lost(self):
        def fault(h):
            if h.command == "GET" and "blobs" in h.path and h.headers.get("Range"):
                h.answer(404)
                return True
        self.refused(self.push(fault), "it is gone")

    def test_base_layer_short(self):
        def fault(h):
            if h.command == "GET" and "blobs" in h.path and h.headers.get("Range"):
                status, headers, data, _ = h.ask()
                h.answer(206, data[:-1], {**headers, "Content-Range": "bytes 0-9/10"})
                return True
        self.refused(self.push(fault), "its length differs")

    def test_range_ignored(self):
        """Some storages answer 200 with everything: the whole is read then."""
        def fault(h):
            if h.command == "GET" and h.headers.get("Range"):
                del h.headers["Range"]
                h.forward()
                return True
        self.works(self.push(fault))

    def test_mount_refused(self):
        """A registry that opens an upload instead of mounting: the layer is copied."""
        def fault(h):
            if h.command == "HEAD" and "/library/" not in h.path:
                h.answer(404)
                return True
            if h.command == "POST" and "mount=" in h.path:
                h.path = h.path.split("?")[0]
                h.forward()
                return True
        self.works(self.push(fault))
        self.assertGreaterEqual(self.proxy.count("DELETE"), 2)

    def test_never_answers(self):
        def fault(h):
            if "manifests" in h.path:
                time.sleep(20)
                return True
        child = self.push(fault, registry={"timeout_usec": 1000000})
        self.refused(child, "did not answer in time")
        self.assertLess(child.seconds, 10)

    def test_upload_stalls(self):
        self.fill(12)

        def fault(h):
            if h.command == "PATCH":
                next(h.body())
                time.sleep(20)
                return True
        child = self.push(fault, registry={"timeout_usec": 1000000})
        self.refused(child, "did not answer in time")
        self.assertLess(child.seconds, 15)

    def test_giant_manifest(self):
        fault = self.altered(lambda h, s: "manifests" in h.path, lambda h, status, headers, data: h.answer(status, b" " * (5 << 20), headers))
        self.refused(self.push(fault), "sent more than it may")

    def test_redirect_loop(self):
        def fault(h):
            if "manifests" in h.path:
                h.answer(307, b"", {"Location": h.path})
                return True
        self.refused(self.push(fault), "redirected more than 5 times")

    def test_redirect_elsewhere(self):
        for target in ("file:///etc/passwd", "gopher://127.0.0.1/", "http://user:pass@127.0.0.1/"):
            def fault(h):
                if "manifests" in h.path:
                    h.answer(302, b"", {"Location": target})
                    return True
            self.refused(self.push(fault), "not allowed")

    def test_credentials_stay(self):
        """A redirect to another host gets no Authorization, the registry itself does, on every request."""
        storage = Proxy(self.registry.port)

        def fault(h):
            if h.command == "GET" and "blobs" in h.path:
                h.answer(307, b"", {"Location": storage.url + h.path})
                return True
        try:
            self.works(self.push(fault, registry={"username": "user", "password": "secret"}))
            self.assertGreater(len(storage.seen), 0)
            self.assertFalse(any("Authorization" in h for _, _, h in storage.seen))
            wanted = "Basic " + base64.b64encode(b"user:secret").decode()
            self.assertTrue(all(h.get("Authorization") == wanted for _, _, h in self.proxy.seen))
            self.assertFalse(any("Expect" in h for _, _, h in self.proxy.seen))
        finally:
            storage.close()

    def test_tls(self):
        """A certificate that the configured CA has signed, one that nobody has, and a way back to plain HTTP."""
        pem = self.upper + ".pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
                        "-keyout", pem, "-out", pem + ".crt"], check=True, stderr=subprocess.DEVNULL)
        with open(pem, "a") as f, open(pem + ".crt") as crt:
            f.write(crt.read())
        self.proxy.close()
        self.proxy = Proxy(self.registry.port, pem)
        self.works(self.push(registry={"ca_file": pem + ".crt"}))
        os.unlink(self.index)
        self.refused(self.push(), "certificate")
        self.proxy.forgetful = True
        self.refused(self.push(registry={"ca_file": pem + ".crt"}), "opening an upload")

    def test_unauthorized(self):
        def fault(h):
            h.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}', {"WWW-Authenticate": 'Basic realm="x"'})
            return True
        self.refused(self.push(fault, registry={"username": "user", "password": "wrong-secret"}), "401", "credential")
        child = self.push(fault, registry={"username": "user", "password": "wrong-secret"})
        self.assertNotIn("wrong-secret", json.dumps(child.lines))

    def test_htpasswd(self):
        """A real registry with passwords."""
        htpasswd = self.upper + ".htpasswd"
        with open(htpasswd, "w") as f:
            f.write(f"user:{HTPASSWD_SECRET}\n")
        registry = Registry(self.scratch, self.id().rsplit(".", 1)[1] + "-registry", htpasswd)
        try:
            registry.authorization = "Basic " + base64.b64encode(b"user:secret").decode()
            base = registry.push_base("library/base", "1", [tar_of(self.lower)])
            q = self.request(image=base, registry={"url": registry.url, "username": "user", "password": "secret"})
            self.assertIsNotNone(Child(PROGRAM, q).result)
            q["registry"]["password"] = "other"
            child = Child(PROGRAM, q)
            self.assertIn("401", child.error["message"])
        finally:
            registry.close()

    def token_fault(self, lifetime=300, tokens=None):
        tokens = tokens if tokens is not None else []

        def fault(h):
            if h.path.startswith("/token"):
                if h.headers.get("Authorization") != "Basic " + base64.b64encode(b"user:secret").decode():
                    h.answer(401, b'{"details":"incorrect username or password"}')
                    return True
                tokens.append(h.path)
                h.answer(200, json.dumps({"token": f"t{len(tokens)}.x", "expires_in": lifetime}).encode())
                return True
            if h.headers.get("Authorization", "") not in [f"Bearer t{i + 1}.x" for i in range(len(tokens))]:
                list(h.body())
                repository = "/".join(h.path.split("/")[2:4])
                h.answer(401, b"{}", {"WWW-Authenticate": f'Bearer realm="{self.proxy.url}/token?a=b",service="the service",'
                                                          f'scope="repository:{repository}:pull,push repository:library/base:pull"'})
                return True
        return tokens, fault

    def test_token(self):
        tokens, fault = self.token_fault()
        self.works(self.push(fault, registry={"username": "user", "password": "secret"}))
        self.assertTrue(tokens)
        self.assertIn("/token?a=b&service=the", tokens[0])
        self.assertTrue(all(t.count("scope=repository") == 2 for t in tokens))

    def test_token_refused(self):
        _, fault = self.token_fault()
        self.refused(self.push(fault, registry={"username": "user", "password": "wrong"}), "401", "incorrect username or password")

    def test_token_hostile(self):
        for token in (b'{"token":"a\\r\\nX-Evil: 1"}', b'{"token":""}', b"[]", b'{"token":"' + b"x" * 100000 + b'"}'):
            def fault(h):
                if h.path.startswith("/token"):
                    h.answer(200, token)
                else:
                    h.answer(401, b"", {"WWW-Authenticate": f'Bearer realm="{self.proxy.url}/token"'})
                return True
            self.refused(self.push(fault), "no usable token")
        for challenge in ('Bearer realm="file:///etc/passwd"', "Bearer realm", 'Bearer service="x"', 'Bearer realm="unterminated'):
            def fault(h):
                h.answer(401, b"", {"WWW-Authenticate": challenge})
                return True
            self.refused(self.push(fault), "token service that cannot be used")

    def test_upload_location_elsewhere(self):
        def fault(h):
            if h.command == "POST":
                h.answer(202, b"", {"Location": "file:///etc/passwd"})
                return True
        self.refused(self.push(fault), "opening an upload")

    def test_manifest_refused(self):
        def fault(h):
            if h.command == "PUT" and "manifests" in h.path:
                h.answer(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
                return True
        self.refused(self.push(fault), "400", "blob unknown to registry")

    def test_hostile_manifests(self):
        for data in (b"[]", b"{}", b'{"schemaVersion":1}', b"\xff\xfe", b'{"schemaVersion":2,"layers":[],"manifests":[]}', b'{"schemaVersion":2,"layers":[]}',
                     b"[" * 100000):
            image = f"{self.proxy.host}/library/base@{sha256(data)}"

            def fault(h):
                if "manifests" in h.path:
                    h.answer(200, data, {"Content-Type": harness.OCI_MANIFEST})
                    return True
            child = self.push(fault, image=image)
            self.assertEqual(child.error["code"], "ImageRefused", (data[:50], child.error))

    def test_delete_not_enabled(self):
        def fault(h):
            if h.command == "DELETE":
                h.answer(405, b'{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}')
                return True
        self.proxy.fault = fault
        child = Child(PROGRAM, {"verb": "delete", "registry": {"url": self.proxy.url}, "image": self.request()["image"]})
        self.refused(child, "405", "storage.delete.enabled")

    # the agent

    def start(self, fault):
        self.proxy.fault = fault
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(json.dumps(self.request()).encode() + b"\n")
        self.process.stdin.flush()

    def stalled(self):
        self.fill(12)
        state = {}

        def fault(h):
            if h.command == "PATCH":
                next(h.body())
                state["there"] = True
                time.sleep(5)
                return True
        self.start(fault)
        for _ in range(400):
            if state:
                return
            time.sleep(0.05)
        self.fail("no PATCH came")

    def ended(self):
        started = time.monotonic()
        out = self.process.stdout.read()
        self.assertNotEqual(self.process.wait(), 0)
        self.process.stdout.close()
        self.assertLess(time.monotonic() - started, 2)
        self.assertNotIn(b'"result"', out)
        self.assertNotIn(b'"error"', out)
        self.assertFalse(os.path.exists(self.index))
        self.assertEqual([f for f in os.listdir(self.scratch.path) if "index" in f and self.id().rsplit(".", 1)[1] in f], [])

    def test_sigterm(self):
        self.stalled()
        self.process.send_signal(signal.SIGTERM)
        self.ended()
        self.process.stdin.close()

    def test_stdin_closed(self):
        self.stalled()
        self.process.stdin.close()
        self.ended()

    @unittest.skipUnless(os.environ.get("SWARM_CRASH_POINTS") == "1", "crash points are not compiled in")
    def test_crash_points(self):
        """Killed anywhere: no result, no index, and the next attempt with the same names works."""
        self.fill(12)
        log = self.upper + ".crash-log"
        points = ["layer-started", "layer-blob-half", "layer-blob-pushed", "layer-manifest-pushed", "layer-proven"]
        for point in points:
            child = Child(PROGRAM, self.request(), environment={"SWARM_CRASH_POINT": point, "SWARM_CRASH_LOG": log})
            self.assertEqual(child.status, -signal.SIGKILL, point)
            self.assertIsNone(child.result)
            self.assertFalse(os.path.exists(self.index))
        self.works(self.push())
        with open(log) as f:
            self.assertEqual({line.strip() for line in f}, set(points))

    def test_bad_requests(self):
        good = self.request()
        for change in ({"verb": "fly"}, {"verb": 1}, {"unknown": 1}, {"image": "a b"}, {"image": good["image"].split("@")[0] + ":1"}, {"repository": "UP"},
                       {"tag": "a/b"}, {"upperdir": "relative"}, {"registry": {"url": "ftp://x"}}, {"registry": {"url": "http://u:p@x"}},
                       {"registry": {**good["registry"], "username": "only"}}, {"registry": []}, {"generation": -1}, {"layers_max": 1 << 40}, {"lossy": 1}):
            child = Child(PROGRAM, {**good, **change})
            self.assertEqual(child.error["code"], "InvalidArgument", (change, child.error))
            self.assertEqual(self.proxy.seen, [])

    def test_upperdir_gone(self):
        child = self.push(upperdir=self.upper + "/none")
        self.assertEqual(child.error["code"], "FilesRefused")
        self.assertIn(self.upper, child.error["message"])

    def test_progress(self):
        self.fill(12)

        def fault(h):
            if h.command == "PATCH":
                time.sleep(1.3)
        child = self.push(fault)
        self.assertIsNotNone(child.result)
        progress = [line for line in child.lines if line["type"] == "progress"]
        self.assertGreater(len(progress), 1)
        self.assertLess(len(progress), 10 * child.seconds + 2)
        self.assertEqual(child.lines[-1]["type"], "result")


HTPASSWD_SECRET = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"       # bcrypt of "secret"


if __name__ == "__main__":
    harness.need_root()
    harness.private_mounts()
    unittest.main(verbosity=2)
