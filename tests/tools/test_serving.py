"""tools.serving and what it is made of: nothing outlives the run that started it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from certs import authority
from tools import processes
from tools.certificates import DAY, write_secret, write_server_pair

ROOT = Path(__file__).parents[2]
CHILD = """
import pathlib, time
from tools.serving import serving
with serving(within=pathlib.Path({!r})) as server:
    print(server.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def anew() -> Iterator[None]:
    """Look for setpriv again, and once more for the tests that follow."""
    processes._prefix.cache_clear()
    yield
    processes._prefix.cache_clear()


def is_running(pid: int) -> bool:
    """Whether it runs: who has nobody to wait for it stays in the table when it is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


def test_a_killed_run_leaves_no_server(tmp_path: Path) -> None:
    """Where pytest is SIGKILLed no `finally` runs, and its `dinp serve` ends all the same."""
    assert processes.with_parent([]), "needs setpriv of util-linux: apt-get install util-linux"
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", CHILD.format(str(tmp_path))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert is_running(pid)
        run.kill()
    try:
        deadline = time.monotonic() + 20
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_running(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("script", [None, "echo unrecognized option: pdeathsig >&2; exit 1"])
def test_without_a_setpriv_that_can(
    script: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is none, or Busybox's, the command is run as it is."""
    if script is not None:
        (tmp_path / "setpriv").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (tmp_path / "setpriv").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ["dinp", "serve"] == processes.with_parent(["dinp", "serve"])


def test_server_pair(tmp_path: Path) -> None:
    """The certificate is the CA's, for each of the names, and its key is the owner's alone."""
    ca = authority.issue_ca("test", now=datetime.now(UTC), lifetime=DAY)
    names = ("dinp.dinp-system.svc", "127.0.0.1")
    certificate, key = write_server_pair(tmp_path, ca, names, stem="serving")
    assert ("serving.crt", "serving.key") == (certificate.name, key.name)
    assert stat.S_IRUSR | stat.S_IWUSR == stat.S_IMODE(key.stat().st_mode)
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.certificate))
    alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names) == {str(name.value) for name in alternatives}


def test_a_secret_that_is_replaced(tmp_path: Path) -> None:
    """A second writing leaves nothing of a longer first one."""
    for content in (b"a longer one", b"short"):
        write_secret(tmp_path / "token", content)
    assert b"short" == (tmp_path / "token").read_bytes()
