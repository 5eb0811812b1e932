# SPDX-License-Identifier: LGPL-2.1-or-later
"""The registry as its other clients see it, and the files of an image in it."""

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile

from netns import Connection

ACCEPT = ", ".join((
    "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json", "application/vnd.docker.distribution.manifest.list.v2+json"))


class RegistryError(Exception):
    pass


class Registry:
    def __init__(self, address, netns=None, user="", password="", folder=None):
        """`folder`: its files on disk, where they can be seen."""
        self.host, port = address.rsplit(":", 1)
        self.port, self.netns, self.folder = int(port), netns, folder
        self.headers = {}
        if user:
            self.headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.good = set()       # (repository, digest) of blobs that were read back and hashed

    def get(self, path, ok=(200,)):
        c = Connection(self.host, self.port, self.netns)
        try:
            c.request("GET", path, headers={**self.headers, "Accept": ACCEPT})
            r = c.getresponse()
            data = r.read()
        finally:
            c.close()
        if r.status not in ok:
            raise RegistryError(f"GET {path}: {r.status} {data[:200].decode(errors='replace').strip()}")
        return r.status, data

    def repositories(self):
        return json.loads(self.get("/v2/_catalog?n=1000")[1])["repositories"] or []

    def tags(self, repository):
        status, data = self.get(f"/v2/{repository}/tags/list", (200, 404))
        return (json.loads(data)["tags"] or []) if status == 200 else []

    def revisions(self, repository):
        """Digests of the manifests that are there, tagged or not; None where the folder cannot be seen."""
        if not self.folder:
            return None
        path = os.path.join(self.folder, "docker/registry/v2/repositories", repository, "_manifests/revisions/sha256")
        found = []
        for d in os.listdir(path) if os.path.isdir(path) else []:
            if os.path.exists(os.path.join(path, d, "link")):
                found.append("sha256:" + d)
        return found

    def _hashed(self, path, digest):
        data = self.get(path)[1]
        actual = "sha256:" + hashlib.sha256(data).hexdigest()
        if actual != digest:
            raise RegistryError(f"{path} has the digest {actual}")
        return data

    def manifest(self, repository, digest):
        return json.loads(self._hashed(f"/v2/{repository}/manifests/{digest}", digest))

    def blob(self, repository, digest):
        return self._hashed(f"/v2/{repository}/blobs/{digest}", digest)

    def verify(self, repository, digest):
        """Reads the manifest and all of its blobs; raises what is wrong. → the manifest."""
        m = self.manifest(repository, digest)
        for b in [m["config"]] + m["layers"]:
            key = (repository, b["digest"])
            if key in self.good:
                continue
            data = self.blob(*key)
            if len(data) != b["size"]:
                raise RegistryError(f"blob {b['digest']} has {len(data)} bytes, its manifest says {b['size']}")
            self.good.add(key)
        return m

    def read_file(self, repository, digest, path):
        """A regular file of an image, as a container of it would see it; None if it is not there."""
        path = path.strip("/")
        parents = ["/".join(path.split("/")[:i]) for i in range(len(path.split("/")))]
        for layer in reversed(self.manifest(repository, digest)["layers"]):
            data = self.blob(repository, layer["digest"])
            if data[:2] == b"\x1f\x8b":
                data = gzip.decompress(data)
            hidden = False
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
                for m in tar:
                    name = m.name.removeprefix("./").strip("/")
                    if name == path and not m.isdir():
                        member = tar.extractfile(m)
                        return member.read() if member else None
                    folder, _, base = name.rpartition("/")
                    if base == ".wh..wh..opq" and folder in parents:
                        hidden = True
                    elif base.startswith(".wh.") and f"{folder}/{base[4:]}".strip("/") in parents + [path]:
                        hidden = True
            if hidden:
                return None
        return None
