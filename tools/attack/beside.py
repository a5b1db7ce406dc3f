"""Part 4: huge reviews in a row on one connection; ordinary ones, health checks and SIGTERM beside them.

A busy machine makes everybody wait for a processor, which is no fault of the server's. So the
time that the client's thread and the server's main one stood in the kernel's queue for one
(/proc/<pid>/task/<tid>/schedstat) is taken off each review's; both are shown.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.webhook import large_pods
from tests.webhook.large_pods import SERVED, Family
from tools.attack import target as targets
from tools.attack.families import Sized, sized
from tools.attack.table import Figure, Row, Run, at_most, none_of
from tools.attack.target import Answer, Target, ask, attacked, target
from tools.soak.report import percentile

_P99_MS: Final = 100.0
_SECONDS: Final = 30.0
_QUICK_SECONDS: Final = 12.0
_EVERY: Final = 0.03  # an ordinary review, so that there are hundreds
_CHECK_EVERY: Final = 0.5
# By the beginnings of their names: what takes longest, and what each review usually has most of.
_HUGE: Final = (
    "list spec.securityContext.supplementalGroups, equal",
    "list metadata.annotations, keys dinp.io/x#",
    "list spec.containers.0.env, all kinds",
    "list spec.initContainers, all kinds",
    "list spec.volumes, all kinds",
    "list spec.containers.0.args, equal",
)


def huge() -> list[Sized]:
    """The reviews that are sent in a row."""
    found: dict[str, Family] = {}
    for family in large_pods.families():
        for name in _HUGE:
            if family.name.startswith(name):
                found.setdefault(name, family)
    return [sized(family, SERVED[0]) for family in found.values()]


@contextmanager
def in_a_row(server: Target, reviews: Sequence[Sized]) -> Iterator[list[tuple[Sized, Answer]]]:
    """Send them one after the other, again and again, until the `with` ends."""
    answers: list[tuple[Sized, Answer]] = []
    stop = threading.Event()

    def send() -> None:
        with closing(server.connection()) as connection:
            while not stop.is_set() and not server.has_ended:
                one = reviews[len(answers) % len(reviews)]
                answers.append((one, ask(connection, "POST", one.path, one.review)))

    sending = threading.Thread(target=send)
    sending.start()
    try:
        yield answers
    finally:
        stop.set()
        sending.join()


@contextmanager
def checking(server: Target) -> Iterator[dict[str, list[Answer]]]:
    """Ask as the kubelet does until the `with` ends."""
    answers: dict[str, list[Answer]] = {"/healthz": [], "/readyz": []}
    stop = threading.Event()

    def check() -> None:
        while not stop.wait(_CHECK_EVERY):
            for path, found in answers.items():
                found.append(server.health(path))

    thread = threading.Thread(target=check)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def _look(server: Target, run: Run) -> Iterator[Figure]:
    reviews = huge()
    sys.setswitchinterval(0.0005)  # the threads of this process are not to wait for each other
    server.review()
    with in_a_row(server, reviews) as sent, checking(server) as checked:
        answers, waits = ordinary(server, _QUICK_SECONDS if run.quick else _SECONDS)
    yield from _judged(answers, waits)
    bad = [f"{of.family.name}: {one.shown}" for of, one in sent if one.status not in (200, 413)]
    yield none_of(f"huge reviews in a row ({len(sent)})", bad, len(sent), "200 or 413")
    manifest = server.deployment
    for path, bound in (("/healthz", manifest.liveness), ("/readyz", manifest.readiness)):
        failed = [one.shown for one in checked[path] if one.status != 200]
        yield none_of(f"{path} meanwhile", failed, len(checked[path]), "200")
        slowest = max((one.seconds for one in checked[path]), default=math.inf)
        yield at_most(f"{path} meanwhile, the slowest", slowest, bound, "s")


def ordinary(server: Target, seconds: float) -> tuple[list[Answer], list[float]]:
    """Ordinary reviews for so long, and the seconds that each stood in a queue for a processor."""
    answers, waits = [], []
    mine, its = _queue(os.getpid(), threading.get_native_id()), _main(server.server.process)
    deadline = time.monotonic() + seconds
    with closing(server.connection()) as connection:
        while time.monotonic() < deadline and not server.has_ended:
            before = waited(mine) + waited(its)
            answers.append(ask(connection, "POST", targets.ANNOTATED, targets.USUAL))
            waits.append(waited(mine) + waited(its) - before)
            time.sleep(_EVERY)
    return answers, waits


def _judged(answers: Sequence[Answer], waits: Sequence[float]) -> Iterator[Figure]:
    bad = [one.shown for one in answers if one.status != 200]
    yield none_of("ordinary reviews meanwhile", bad, len(answers), "200")
    raw = sorted(one.seconds * 1000 for one in answers)
    pairs = zip(answers, waits, strict=True)
    own = sorted(max(one.seconds - wait, 0) * 1000 for one, wait in pairs)
    shown = f"of all their time {percentile(raw, 0.5):.0f}, {percentile(raw, 0.99):.0f}"
    what = (
        f"p99 of ordinary reviews ({shown} ms are p50, p99; less what they waited for a processor)"
    )
    yield at_most(what, percentile(own, 0.99), _P99_MS, "ms", 0)


def _look_at_sigterm(run: Run) -> Iterator[Figure]:
    reviews = huge()
    with target(run) as server:
        process, grace = server.server.process, server.deployment.grace
        server.review()
        with in_a_row(server, reviews) as sent:
            while len(sent) < 2:
                time.sleep(0.05)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(2 * grace)
            seconds = time.monotonic() - began
        yield at_most("SIGTERM while huge reviews are sent: it ends after", seconds, grace, "s", 1)
        code = process.poll()
        yield Figure("its exit code", str(code), "0", is_well=code == 0)


def _queue(pid: int, tid: int) -> Path:
    return Path(f"/proc/{pid}/task/{tid}/schedstat")


def _main(process: subprocess.Popen[bytes]) -> Path:
    return _queue(process.pid, process.pid)


def waited(file: Path) -> float:
    """The seconds that a thread has ever stood in the queue; 0 where the kernel does not say."""
    try:
        return int(file.read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


ROWS: Final = (
    Row(
        "small beside huge",
        f"reviews of {large_pods.LARGEST / targets.MIB:g} MiB in a row on one connection, ordinary ones on another",
        f"p99 of these < {_P99_MS:g} ms, health checks are answered",
        attacked(_look),
    ),
    Row(
        "SIGTERM beside huge",
        "the same, and SIGTERM",
        "it ends within its grace period",
        _look_at_sigterm,
    ),
)
