"""Suites as processes, side by side: each writes to a log of its own, and ends with its run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.node import logs
from tools.processes import with_parent
from tools.suites.table import Suite

ROOT: Final = Path(__file__).parents[2]
_LOGS: Final = ROOT / "build" / "suites"
_TELL_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
# A cluster that ends by ^C takes some 10 s; on a busy machine more.
_END_SECONDS: Final = 120.0
_PERCENT: Final = re.compile(r"\[ *(\d+)%\]")
_COUNTED: Final = ("tests", "skipped", "failures", "errors")  # attributes of JUnit's XML


def say(line: str) -> None:
    """Tell it on the terminal, with its time: an hour's run is read by its times."""
    print(f"dinp {time.strftime('%H:%M:%S')}: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Result:
    """How a suite has ended. `failed` counts tests that failed, and set-ups."""

    suite: Suite
    passed: int
    failed: int
    seconds: float
    code: int

    @property
    def is_good(self) -> bool:
        """Whether it ran, and all of it passed."""
        return self.code == 0 and self.passed > 0


@dataclass(frozen=True, slots=True)
class _Running:
    suite: Suite
    process: subprocess.Popen[bytes]

    def percent(self) -> str:
        """How far pytest says it is."""
        found = _PERCENT.findall(log_of(self.suite).read_text(errors="replace"))
        return f"{found[-1]} %" if found else "begins"


def run(
    suites: Sequence[Suite], prepare: Callable[[Suite], bool], *, at_once: int, coverage: bool
) -> list[Result]:
    """Run them, as many side by side as make `at_once` workers; each result is told at once.

    `prepare` builds what a suite needs, and says whether it can run. A suite of more workers
    than `at_once` runs by itself. What a single suite says goes to the terminal, what several
    say to a log each.
    """
    _LOGS.mkdir(parents=True, exist_ok=True)
    for suite in suites:
        log_of(suite).write_bytes(b"")
    waiting = list(suites)
    results: list[Result] = []
    told = time.monotonic()
    with _all_ended() as running:
        while waiting or running:
            while waiting and _has_room(waiting[0], running, at_once):
                suite = waiting.pop(0)
                if prepare(suite):
                    say(f"{suite.name} starts; it usually takes {suite.warm} s")
                    running.append(_start(suite, coverage=coverage, shown=len(suites) == 1))
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                results.append(_result(one))
                say(in_words(results[-1]))
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                say("running: " + ", ".join(f"{one.suite.name} {one.percent()}" for one in running))
            time.sleep(_LOOK_SECONDS if running else 0)
    return results


def log_of(suite: Suite) -> Path:
    """What its pytest said, last time."""
    return _LOGS / f"{suite.name}.log"


def in_words(result: Result) -> str:
    """One line: the suite, its tests and its seconds."""
    counts = f"{result.passed} passed, {result.failed} failed"
    log = log_of(result.suite).relative_to(ROOT)
    return f"{result.suite.name}: {counts} in {result.seconds:.0f} s ({log})"


def _has_room(suite: Suite, running: Sequence[_Running], at_once: int) -> bool:
    weights = [each.weight or each.workers for each in (suite, *(one.suite for one in running))]
    return not running or sum(weights) <= at_once


@contextmanager
def _all_ended() -> Iterator[list[_Running]]:
    """A list whose processes are interrupted at the end of the `with`, as by ^C, and waited for."""
    running: list[_Running] = []
    try:
        yield running
    finally:
        if running:
            names = ", ".join(one.suite.name for one in running)
            say(f"interrupted: {names} end, which takes up to two minutes where clusters run")
        for one in running:
            one.process.send_signal(signal.SIGINT)
        for one in running:
            try:
                one.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                one.process.kill()


def _start(suite: Suite, *, coverage: bool, shown: bool) -> _Running:
    _report(suite).unlink(missing_ok=True)
    command = with_parent([sys.executable, "-m", *_arguments(suite, coverage=coverage)])
    with log_of(suite).open("wb") as log:
        to = None if shown else log
        # A session of its own: ^C comes to it once, from here, and not from the terminal too.
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=ROOT,
            env=_environment(suite),
            stdout=to,
            stderr=to,
            start_new_session=True,
        )
    return _Running(suite, process)


def _environment(suite: Suite) -> dict[str, str]:
    """Python keeps what it compiles, or each worker would compile every module anew."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, logs.SUITE: suite.name}


def _arguments(suite: Suite, *, coverage: bool) -> list[str]:
    measured = ["coverage", "run", "-m"] if coverage and suite.coverage else []
    spread = ["-n", str(suite.workers), "--dist=loadfile"] if suite.workers > 1 else []
    spread += [f"--ignore={path}" for path in suite.without]
    options = [f"-m={suite.marks}", f"--junit-xml={_report(suite)}", "--durations=25"]
    return [*measured, "pytest", *options, *spread, *suite.paths]


def _report(suite: Suite) -> Path:
    return _LOGS / f"{suite.name}.xml"


def _result(one: _Running) -> Result:
    passed, failed, seconds = _counts(_report(one.suite))
    code = one.process.returncode
    # An interrupted suite, or one that could not collect, has failed although no test has.
    return Result(one.suite, passed, failed or int(code not in (0, 1)), seconds, code)


def _counts(report: Path) -> tuple[int, int, float]:
    """How many tests passed and failed, and in how many seconds, as pytest has written it."""
    if not report.exists():
        return 0, 0, 0.0
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - pytest has just written it
    found = {} if suite is None else suite.attrib
    counts = {kind: int(found.get(kind, 0)) for kind in _COUNTED}
    failed = counts["failures"] + counts["errors"]
    return counts["tests"] - counts["skipped"] - failed, failed, float(found.get("time", 0))
