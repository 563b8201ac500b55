"""A vendor, and a company's own server, over TLS. Runs in a container beside the pods of tests/pod.

``vendor.py FOLDER`` is vendor.test on 443 with FOLDER/vendor.pem, and corporate.test on 8443 with FOLDER/corporate.pem.
"""

# ruff: noqa: T201  (it prints what came of it, for whoever reads its log)

from __future__ import annotations

import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = b"piece of a stream\n"


class Vendor(BaseHTTPRequestHandler):
    """Answers late enough that a call is always under way; ``/stream`` takes a second."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/stream":
            self.stream()
            return
        body = self.path[1:].replace("/", " ").encode()
        time.sleep(0.1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(10):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that it has there
        """Nobody reads it."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def serve(port: int, certificate: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = Server(("0.0.0.0", port), Vendor)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


if __name__ == "__main__":
    folder = sys.argv[1]
    for port, name in ((443, "vendor"), (8443, "corporate")):
        threading.Thread(target=serve, args=(port, f"{folder}/{name}.pem")).start()
    print("serving", flush=True)
