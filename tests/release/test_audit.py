"""`make audit` never says that nothing is known where nobody was asked: with pip-audit and a database."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.processes import free_ports
from tests.release.programs import ROOT, Programs

pytestmark = pytest.mark.node

_LOCK: Final = (
    f"one==1.0 \\\n    --hash=sha256:{'a' * 64}\ntwo==2.0 \\\n    --hash=sha256:{'b' * 64}\n"
)
_KNOWN: Final = {
    "id": "PYSEC-1",
    "summary": "a hole",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "two", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.1"}]}],
        }
    ],
}


@contextmanager
def database(known: dict[str, Any]) -> Iterator[str]:
    """A database with OSV's API, that knows these: package -> what is known of it."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = known.get(asked["package"]["name"])
            body = json.dumps({"vulns": [found]} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(tools: Programs, directory: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Run `make audit` over _LOCK, with this database."""
    lock = directory / "requirements.lock"
    lock.write_text(_LOCK, encoding="utf-8")
    command = [str(tools.python), "-m", "tools.audit", f"--osv-url={url}", str(lock)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command


def test_nothing_is_known(tools: Programs, tmp_path: Path) -> None:
    """A database that answers for all packages, and knows of nothing."""
    with database({}) as url:
        done = audit(tools, tmp_path, url)
    assert (0, "") == (done.returncode, done.stderr)
    assert "requirements.lock: 2 packages asked about, 0 vulnerabilities known\n" == done.stdout


def test_something_is_known(tools: Programs, tmp_path: Path) -> None:
    """The package, its version, what is known and what mends it; the exit code is 1."""
    with database({"two": _KNOWN}) as url:
        done = audit(tools, tmp_path, url)
    assert 1 == done.returncode
    assert "2 packages asked about, 1 vulnerabilities known" in done.stdout
    assert "two 2.0: PYSEC-1 (fixed in 2.1)" in done.stdout


def test_no_database(tools: Programs, tmp_path: Path) -> None:
    """It says that nobody was asked, by another exit code, and nothing that sounds like an all-clear."""
    (port,) = free_ports(1)
    done = audit(tools, tmp_path, f"http://127.0.0.1:{port}/v1/query")
    assert (3, "") == (done.returncode, done.stdout)
    assert "No vulnerability database can be reached" in done.stderr
    assert "o known vulnerabilities" not in done.stderr
