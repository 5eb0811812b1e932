# SPDX-License-Identifier: LGPL-2.1-or-later
"""A registry that misbehaves: a proxy in front of a real one, with a hook for each request."""

import http.client
import http.server
import socketserver
import ssl
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def body(self):
        """The request's bytes, piece by piece."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while True:
                n = int(self.rfile.readline().split(b";")[0] or b"0", 16)
                data = self.rfile.read(n)
                self.rfile.readline()
                if n == 0:
                    return
                yield data
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            data = self.rfile.read(min(left, 1 << 20))
            left -= len(data)
            yield data

    def answer(self, status, data=b"", headers=None):
        self.send_response(status)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def cut(self):
        self.close_connection = True
        self.connection.close()

    def ask(self, body=None, pieces=None):
        """Asks the real registry. Returns status, headers, bytes."""
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "transfer-encoding", "authorization")}
        if self.server.tls and not self.server.forgetful:
            headers["X-Forwarded-Proto"] = "https"
        connection = http.client.HTTPConnection("127.0.0.1", self.server.backend, timeout=60)
        if pieces is not None:
            headers["Transfer-Encoding"] = "chunked"
            connection.request(self.command, self.path, body=pieces, headers=headers, encode_chunked=True)
        else:
            connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
        kept = {k: v for k, v in answer.headers.items() if k.lower() not in ("content-length", "connection", "transfer-encoding", "date")}
        connection.close()
        return answer.status, kept, data, answer.headers.get("Content-Length")

    def forward(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            status, headers, data, length = self.ask(pieces=self.body())
        else:
            status, headers, data, length = self.ask(body=b"".join(self.body()) or None)
        if self.command == "HEAD":
            self.send_response(status)
            for k, v in headers.items():
                self.send_header(k, v)
            self.send_header("Content-Length", length or "0")
            self.end_headers()
        else:
            self.answer(status, data, headers)

    def handle_any(self):
        self.server.seen.append((self.command, self.path, dict(self.headers.items())))
        try:
            fault = self.server.fault
            if not fault or not fault(self):
                self.forward()
        except (OSError, http.client.HTTPException, ValueError):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any


class Proxy(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def __init__(self, backend, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.backend, self.fault, self.seen, self.tls = backend, None, [], certificate is not None
        self.forgetful = False          # does not tell the registry behind it that its clients speak TLS
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http{'s' if certificate else ''}://{self.host}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *args):
        pass

    def count(self, method, part=""):
        return sum(1 for m, p, _ in self.seen if m == method and part in p)

    def close(self):
        self.shutdown()
        self.server_close()
