#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What swarm-layer does when the registry misbehaves: exact refusals, no result, no index."""

import itertools
import json
import mmap
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from fault import PROGRAM, REPOSITORY, FaultTest
from harness import Child, sha256


class RegistryFaultTest(FaultTest):
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
        port = next(harness.ports)
        q = self.request()
        q["registry"]["url"] = f"http://127.0.0.1:{port}"
        q["image"] = q["image"].replace(self.proxy.host, f"127.0.0.1:{port}")
        child = Child(PROGRAM, q)
        self.assertEqual(child.error["code"], "RegistryFailed")
        self.assertIn("Check that it runs", child.error["message"])

    def test_not_ours_without_tls(self):
        """0.0.0.0 leads here, and is no address for which Docker does without TLS."""
        host = f"0.0.0.0:{self.proxy.server_port}"
        child = self.push(image=f"{host}/library/base@sha256:{'0' * 64}")
        self.assertEqual(child.error["code"], "RegistryFailed")
        for word in (host, "TLS", "URL="):
            self.assertIn(word, child.error["message"])

    def test_no_authorities(self):
        """As on a host without the package, where the system has none."""
        url = self.proxy.url.replace("http:", "https:")
        child = self.push(registry={"url": url, "ca_file": "/nonexistent.pem"})
        self.refused(child, "/nonexistent.pem", "CAFile=", "ca-certificates")

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

    def test_given_up_without_an_answer(self):
        """A container stays frozen no longer for it."""
        asked, gone = [], threading.Event()

        def fault(h):
            if h.command == "PATCH":
                b"".join(h.body())
                h.answer(413)
                return True
            if h.command == "DELETE":
                asked.append(h.path)
                gone.wait(60)
                h.cut()
                return True
        started = time.monotonic()
        child = self.push(fault, registry={"timeout_usec": 40000000})
        took = time.monotonic() - started
        gone.set()
        self.refused(child, "413")
        self.assertTrue(asked)
        self.assertLess(took, 20)

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
            child = self.push(fault, registry={"timeout_usec": 2000000})
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

    def test_registry_that_asks_to_be_left_alone(self):
        """For a moment: it is, and then takes what it had refused. For longer than one waits: it is not asked again, and who waits is told."""
        asked = []

        def busy(seconds):
            def fault(h):
                if h.command != "POST" or "mount" in h.path:
                    return False
                asked.append(time.monotonic())
                if time.monotonic() >= asked[0] + seconds:
                    return False
                h.answer(429, headers={"Retry-After": str(seconds)})
                return True
            return fault
        self.refused(self.push(busy(1234)), "429", "Try again in 1234 s")
        self.assertEqual(len(asked), 1)
        asked.clear()
        self.works(self.push(busy(3)))

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

    def test_broken_in_turn(self):
        """Before a byte was sent, which is tried again from memory, and when there are too many for that: together it is tried three times."""
        self.fill(24)
        cut, opened = self.cutting(1000, 3 << 20)[1], []

        def fault(h):
            if h.command == "POST" and "mount" not in h.path:
                opened.append(h.path)
                if len(opened) % 2:
                    h.answer(500)
                    return True
            return cut(h)
        self.refused(self.push(fault), "opening an upload")
        self.assertEqual(len(opened), 3)

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

    def halves(self, change):
        """change(h, n, status, headers, data) instead of the answer to the nth request for a part of the large layer, from 0 on. Which
        of the two parts comes first is chance: (begin, end) of each request are in the list."""
        asked, state, number = [], {"puts": 0}, itertools.count()
        self.fill(24)

        def fault(h):
            state["puts"] += h.command == "PUT" and "manifests" in h.path
            wanted = h.headers.get("Range", "")
            if h.command != "GET" or "blobs" not in h.path or not state["puts"] or not wanted:
                return False
            begin, end = map(int, wanted.removeprefix("bytes=").split("-"))
            n = next(number)
            asked.append((begin, end))
            status, headers, data, _ = h.ask()
            change(h, n, status, headers, data)
            return True
        return asked, fault

    def test_read_back_in_halves(self):
        asked, fault = self.halves(lambda h, n, status, headers, data: h.answer(status, data, headers))
        child = self.push(fault)
        self.works(child)
        (begin, end), (second, last) = sorted(asked)
        self.assertEqual((begin, end + 1, last + 1), (0, second, child.result["bytes"]))
        self.assertGreater(min(second, last - second), 10 << 20)

    def test_bit_flipped_in_either_half(self):
        for second in False, True:
            def change(h, n, status, headers, data):
                if (not headers["Content-Range"].startswith("bytes 0-")) == second:
                    data = data[:5000000] + bytes([data[5000000] ^ 4]) + data[5000001:]
                h.answer(status, data, headers)
            with self.subTest(second=second):
                self.refused(self.push(self.halves(change)[1]), "its bytes differ")

    def test_half_cut(self):
        """A connection that breaks in the middle of a part is tried again, and the other one is not asked twice."""
        def change(h, n, status, headers, data):
            if n > 0:
                return h.answer(status, data, headers)
            h.send_response(status)
            for k, v in {**headers, "Content-Length": str(len(data))}.items():
                h.send_header(k, v)
            h.end_headers()
            h.wfile.write(data[:3000000])
            h.cut()
        asked, fault = self.halves(change)
        self.works(self.push(fault))
        self.assertEqual(len(asked), 3)
        self.assertEqual(asked.count(asked[0]), 2)

    def test_half_lost(self):
        def change(h, n, status, headers, data):
            h.answer(status, data, headers) if h.headers["Range"].startswith("bytes=0-") else h.answer(404)
        self.refused(self.push(self.halves(change)[1]), "it is gone")

    def test_half_of_another_range(self):
        """Right bytes, said to be from elsewhere: a registry that holds more than was stored."""
        def change(h, n, status, headers, data):
            h.answer(status, data, {**headers, "Content-Range": headers["Content-Range"] + "0"})
        self.refused(self.push(self.halves(change)[1]), "its length differs")

    def test_halves_ignored(self):
        """Both get all of it, and take their part."""
        def change(h, n, status, headers, data):
            del h.headers["Range"]
            status, headers, data, _ = h.ask()
            h.answer(status, data, headers)
        asked, fault = self.halves(change)
        self.works(self.push(fault))
        self.assertEqual(len(asked), 2)

    def test_halves_ignored_and_damaged(self):
        def change(h, n, status, headers, data):
            del h.headers["Range"]
            status, headers, data, _ = h.ask()
            h.answer(status, data[:-70] + bytes([data[-70] ^ 1]) + data[-69:], headers)
        self.refused(self.push(self.halves(change)[1]), "its bytes differ")

    def test_base_layer_lost(self):
        def fault(h):
            if h.command == "GET" and "blobs" in h.path and h.headers.get("Range"):
                h.answer(404)
                return True
        self.refused(self.push(fault), "it is gone")

    def test_generation_unreadable(self):
        """A layer of the generation before lies on a broken disk: for ever a server error, which is no reason to try for ever."""
        first = self.push()
        image = first.result["image"]
        digest = self.registry.manifest(REPOSITORY, first.result["manifest_digest"])["layers"][-1]["digest"]

        def fault(h):
            if h.command == "GET" and h.path.endswith(digest):
                h.answer(500)
                return True
        again = {"image": image, "fallback_image": self.request()["image"], "index": self.index}
        self.refused(self.push(fault, **again), "answered 500")
        with open(f"{self.upper}/file", "a") as f:
            f.write("more")
        self.works(self.push(fault, **again))

    def test_generation_gone(self):
        """Nobody has that image to push it again, so it is of no use to say so."""
        first = self.push()
        self.registry.call("DELETE", f"/v2/{REPOSITORY}/manifests/{first.result['manifest_digest']}")
        child = self.push(image=first.result["image"])
        self.assertEqual(child.error["code"], "NoSuchImage", child.error)
        for words in first.result["image"], "is no longer in the registry", "docker cp":
            self.assertIn(words, child.error["message"])

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


if __name__ == "__main__":
    harness.need_root()
    harness.private_namespaces()
    unittest.main(verbosity=2)
