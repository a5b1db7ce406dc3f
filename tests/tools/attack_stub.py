"""Servers that do not hold, for `python -m tools.attack --program`: what $DINP_STUB says is wrong with them.

`refusing`: it says that it serves, and listens to nothing. `slow`: /readyz takes six seconds.
`greedy`: it keeps 300 MiB after each review.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGEST = 8 * 2**20
WRONG = os.environ["DINP_STUB"]
_kept: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    """Every review is refused in words, and all else is well."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST:
            self._answer(413, f"a body may have {LARGEST} bytes")
            return
        self.rfile.read(length)
        if WRONG == "greedy":
            _kept.append(os.urandom(300 * 2**20))
        self._answer(400, "this is a stub, no webhook")

    def do_GET(self) -> None:
        if WRONG == "slow" and self.path == "/readyz":
            time.sleep(6)
        self._answer(200, "ok")

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - as the class has it
        """Say nothing."""

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


def main() -> None:
    options = dict(argument.split("=", 1) for argument in sys.argv if argument.startswith("--tls"))
    directory = Path(options["--tls-cert-file"]).parent
    secure, health = (ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    ports = {"port": secure.server_port, "health_port": health.server_port}
    if WRONG == "refusing":
        secure.server_close()
        health.server_close()
    sys.stdout.write(json.dumps({"event": "serving", **ports}) + "\n")
    sys.stdout.flush()
    if WRONG == "refusing":
        time.sleep(600)
    threading.Thread(target=health.serve_forever, daemon=True).start()
    secure.serve_forever()


if __name__ == "__main__":
    main()
