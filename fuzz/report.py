"""What a worker process tells `tools.fuzz`: lines of JSON on its standard output."""

from __future__ import annotations

import json
import mmap
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from fuzz import verdict
from fuzz.verdict import Case, Problem

TWICE_EVERY = 50
RSS_MIB = 512
_SECONDS = 0.5
_NEWEST_BYTES = 32 << 20


class Reporter:
    """Judges cases, counts them, and writes a reproducer for each new kind of problem.

    The newest case lies in a file always, for a process that is killed or crashes has no
    chance to write it.
    """

    def __init__(self, engine: str, folder: Path, name: str) -> None:
        self._engine = engine
        self._folder = folder
        self._outcomes: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()
        self._start_rss = peak_rss_mib()
        self._told = self._slowest = 0.0
        self._newest = _mapped(folder / f"{name}.newest")

    @property
    def count(self) -> int:
        """Cases judged so far."""
        return self._outcomes.total()

    def judge(self, case: Case) -> None:
        self._keep(case)
        start = time.thread_time()
        outcome, problem = verdict.judge(case, twice=self.count % TWICE_EVERY == 0)
        self._slowest = max(self._slowest, time.thread_time() - start)
        self._outcomes[outcome] += 1
        if problem is not None:
            self._tell_problem(case, problem)
        if self.count % 64 == 0 and time.monotonic() - self._told > _SECONDS:
            self.tell()

    def tell(self, *, done: bool = False) -> None:
        """Print where things stand."""
        self._told = time.monotonic()
        _print(
            {
                "engine": self._engine,
                "count": self.count,
                "outcomes": self._outcomes,
                "problems": self._problems,
                "slowest": self._slowest,
                "start_rss": self._start_rss,
                "rss": peak_rss_mib(),
                "done": done,
            }
        )

    def _tell_problem(self, case: Case, problem: Problem) -> None:
        self._problems[problem.kind] += 1
        if self._problems[problem.kind] == 1:
            file = verdict.write(self._folder, case, problem)
            _print({"problem": problem.kind, "file": str(file), "detail": problem.detail[-1500:]})

    def _keep(self, case: Case) -> None:
        head = f"{case.rule} {len(case.body)}\n".encode()
        if len(head) + len(case.body) <= _NEWEST_BYTES:
            self._newest[: len(head)] = head
            self._newest[len(head) : len(head) + len(case.body)] = case.body


def peak_rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def _mapped(file: Path) -> mmap.mmap:
    with file.open("wb+") as opened:
        opened.truncate(_NEWEST_BYTES)
        return mmap.mmap(opened.fileno(), _NEWEST_BYTES)


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
