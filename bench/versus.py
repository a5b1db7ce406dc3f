"""`make bench ARGS="--before COMMIT"`: this checkout next to an older one, in turns of one run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench import one_review, reviews, servers
from bench.report import Part
from bench.servers import BenchError
from bench.wrk import wrk

_ROOT: Final = Path(__file__).parent.parent
_PROGRAM: Final = ("webhook.cli", "serve")
_TURNS: Final = 25  # in process
_ROUNDS: Final = 6  # over TLS
_SECONDS: Final = 2
_CONNECTIONS: Final = (1, 16, 64)
_NOISE: Final = 1.1  # what is within it is not worse

Pairs = list[tuple[float, float]]  # now, before


def measure(commit: str) -> Part:
    """A whole review in process, requests a second over TLS, and memory, of both.

    Raises:
        BenchError: git has no such commit, or a server of either does not start.
    """
    part = Part(f"next to {commit}, in turns")
    with _checkout(commit) as before:
        for name, pod in reviews.pods().items():
            pairs = _in_process(reviews.body(pod), before)
            _add(part, f"{name}: whole review", pairs, "µs of CPU", more_is_worse=True)
        _over_tls(part, before)
    return part


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dinp-before-") as folder:
        packed = subprocess.run(  # noqa: S603 - git
            ["git", "-C", str(_ROOT), "archive", commit],  # noqa: S607
            capture_output=True,
            check=False,
        )
        if packed.returncode:
            raise BenchError(packed.stderr.decode(errors="replace").strip())
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)  # noqa: S603, S607
        yield Path(folder)


def _in_process(body: bytes, before: Path) -> Pairs:
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dinp-bench-"))) / "body"
        file.write_bytes(body)
        now, then = (stack.enter_context(_child(file, folder)) for folder in (_ROOT, before))
        _micros(now), _micros(then)  # warm
        return [(_micros(now), _micros(then)) for _ in range(_TURNS)]


@contextmanager
def _child(body: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(one_review.__file__)), str(body)]
    with subprocess.Popen(  # noqa: S603 - our own program
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        if process.stdin:
            process.stdin.close()


def _micros(child: subprocess.Popen[str]) -> float:
    if child.stdin is None or child.stdout is None:
        raise BenchError("bench.one_review has no pipes")
    child.stdin.write("\n")
    child.stdin.flush()
    said = child.stdout.readline()
    if not said:
        raise BenchError("bench.one_review ended: what it wrote is above")
    return float(said)


def _over_tls(part: Part, before: Path) -> None:
    server_core, load_core = servers.cores()
    body = reviews.body(reviews.pod())
    with ExitStack() as stack:
        load = stack.enter_context(wrk(body, load_core))
        now, then = (
            stack.enter_context(servers.dinp(_PROGRAM, core=server_core, folder=folder))
            for folder in (_ROOT, before)
        )
        _add(part, "resident at start", [(now.resident(), then.resident())], "MiB", True)
        for server in (now, then):
            load.run(server, connections=16, seconds=_SECONDS)  # warm
        for count in _CONNECTIONS:
            pairs = [
                (
                    load.run(now, connections=count, seconds=_SECONDS).per_second,
                    load.run(then, connections=count, seconds=_SECONDS).per_second,
                )
                for _ in range(_ROUNDS)
            ]
            _add(part, f"{count} connections", pairs, "requests a second", more_is_worse=False)
        _add(part, "resident after them", [(now.resident(), then.resident())], "MiB", True)


def _add(part: Part, what: str, pairs: Pairs, unit: str, more_is_worse: bool) -> None:
    """The median of the turns' own ratios: what slows one turn slows both of it."""
    part.figures[what] = pairs
    ratio = statistics.median(now / before for now, before in pairs)
    now, before = (statistics.median(side) for side in zip(*pairs, strict=True))
    worse = ratio if more_is_worse else 1 / ratio
    shown = f"{ratio:.2f} x ({now:,.1f}, was {before:,.1f} {unit})"
    target = f"{'≤' if more_is_worse else '≥'} 1 x, within the noise"
    part.add(what, shown, target, worse <= _NOISE)
