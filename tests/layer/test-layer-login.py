#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whom swarm-layer tells the registry's password, and what it does with a wrong one, with tokens and with certificates."""

import base64
import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from fault import PROGRAM, FaultTest
from harness import Child, Registry, tar_of
from proxy import Proxy

HTPASSWD_SECRET = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"       # bcrypt of "secret"


class LoginTest(FaultTest):
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
        self.refused(self.push(fault, registry={"username": "user", "password": "wrong-secret"}), "401", "credential swarm-registry-push")
        child = self.push(fault, registry={"username": "user", "password": "wrong-secret"})
        self.assertNotIn("wrong-secret", json.dumps(child.lines))
        image = self.base.replace(self.registry.host, self.proxy.host)
        elsewhere = Child(PROGRAM, {"verb": "resolve", "registry": {"url": "https://other.example"}, "image": image})
        self.refused(elsewhere, "401", "Only the registry of URL= in orchestrator.conf is given a password")

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


if __name__ == "__main__":
    harness.need_root()
    harness.private_namespaces()
    unittest.main(verbosity=2)
