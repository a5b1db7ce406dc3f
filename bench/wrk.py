"""wrk, the load: one thread, pinned to a core of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.servers import BenchError, Running

_PATH: Final = "/pods/annotated"
_SCRIPT: Final = """
local file = io.open({body}, "rb")
wrk.method = "POST"
wrk.path = "{path}"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()
{more}
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\nJSON {{"requests":%d,"micros":%d,"p50":%d,"p99":%d,"errors":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk saw; milliseconds."""

    requests: int
    per_second: float
    p50: float
    p99: float


class Wrk:
    """wrk with one body to send."""

    def __init__(self, directory: Path, body: bytes, core: int) -> None:
        """Write its scripts into `directory`.

        Raises:
            BenchError: it is not installed.
        """
        program = shutil.which("wrk")
        if program is None:
            raise BenchError("the load needs wrk. On Debian and Ubuntu: apt-get install wrk")
        self._program = program
        self._core = core
        self._directory = directory
        (directory / "body.json").write_bytes(body)
        for name, more in (("keep", ""), ("close", 'wrk.headers["Connection"] = "close"')):
            quoted = json.dumps(str(directory / "body.json"))
            script = _SCRIPT.format(body=quoted, path=_PATH, more=more)
            (directory / f"{name}.lua").write_text(script, encoding="utf-8")

    def run(
        self, server: Running, *, connections: int, seconds: float, keep_alive: bool = True
    ) -> Load:
        """Load the server.

        Raises:
            BenchError: a request failed.
        """
        script = self._directory / ("keep.lua" if keep_alive else "close.lua")
        command = [self._program, "-t1", f"-c{connections}", f"-d{seconds:g}s", f"-s{script}"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, f"https://127.0.0.1:{server.port}{_PATH}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
            preexec_fn=lambda: os.sched_setaffinity(0, {self._core}),
        )
        found = _figures(done.stdout)
        if found is None or found["errors"] or not found["requests"]:
            raise BenchError(f"wrk, {connections} connections: {done.stdout}{done.stderr}")
        rate = found["requests"] / found["micros"] * 1e6
        return Load(found["requests"], rate, found["p50"] / 1000, found["p99"] / 1000)


@contextmanager
def wrk(body: bytes, core: int) -> Iterator[Wrk]:
    """Have wrk for as long as its files are there."""
    with tempfile.TemporaryDirectory(prefix="dinp-bench-wrk-") as name:
        yield Wrk(Path(name), body, core)


def _figures(printed: str) -> dict[str, Any] | None:
    for line in printed.splitlines():
        if line.startswith("JSON "):
            found: dict[str, Any] = json.loads(line.removeprefix("JSON "))
            return found
    return None
