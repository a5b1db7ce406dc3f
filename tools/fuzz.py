"""Fuzz `admission.review` in process: only an Outcome (200) or a ReviewError (400) may come out.

    python -m tools.fuzz N [--seed SEED] [--folder build/fuzz]
    python -m tools.fuzz --replay build/fuzz/<problem>.case

N bodies under all rules and some configs, by two processes at a time: mutated reviews of the
golden cases 70 %, atheris (or flipped bytes, where it is not installed) 29.4 %, hypothesis, which
makes only some 70 a second, 0.5 %, and large Pods, up to 3 MiB and some 10 a second, 0.1 %. Of
every 200 the body must decode; of one in fifty the patch is applied with jsonpatch and reviewed
again, which must change nothing. Exit code 1, and a reproducer in the folder, for each kind of
problem: another exception, 2 s of processor time for one body, more than 512 MiB resident, a
process that dies or says nothing for 90 s.

Hypothesis itself takes 250 MiB when it first builds its tables; a review never comes near.
The seed makes all of it repeatable but atheris, whose choices follow the coverage it sees.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz import verdict
from fuzz.report import RSS_MIB, TWICE_EVERY

ROOT = Path(__file__).parent.parent
PROCESSES = 2
_SILENT_SECONDS = 90.0  # a reproducer takes 20 s to become small


@dataclass
class Job:
    """One process to run, and what it said last."""

    engine: str
    count: int
    seed: int
    said: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main() -> int:
    """Run, print, and say by the exit code whether all is well."""
    options = _options()
    if options.replay is not None:
        return replay(options.replay)
    options.folder.mkdir(parents=True, exist_ok=True)
    jobs = share(options.count, options.seed, guided=_has_atheris())
    if not _has_atheris():
        print("atheris is not installed: bytes are flipped instead, without coverage as a guide.")
    start = time.monotonic()
    with ThreadPoolExecutor(PROCESSES) as pool:
        futures = [pool.submit(run, job, options.folder) for job in jobs]
        show_progress(jobs, futures)
    for future in futures:
        future.result()  # our own faults are not to be silent
    return print_report(jobs, time.monotonic() - start, options.folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz")
    parser.add_argument("count", nargs="?", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    return parser.parse_args()


def _has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def replay(file: Path) -> int:
    """Review one reproducer, and print what comes out."""
    case = verdict.from_file(file.read_bytes())
    outcome, problem = verdict.judge(case, twice=True)
    print(f"{case.rule}: {outcome}, {len(case.body)} bytes: {case.body[:2000]!r}")
    print(problem.detail if problem else "Nothing is wrong.")
    return 1 if problem else 0


def share(count: int, seed: int, *, guided: bool) -> list[Job]:
    """The jobs whose counts add up to `count`, the longest first, each with a seed of its own."""
    generated = max(count // 200, min(count, PROCESSES))
    large = max(count // 1000, min(count - generated, PROCESSES))
    by_bytes = (count - generated - large) * 3 // 10
    shares = {
        "mutations": count - generated - large - by_bytes,
        "coverage" if guided else "bytes": by_bytes,
        "hypothesis": generated,
        "large": large,
    }
    return [
        Job(engine, whole // PROCESSES + (at < whole % PROCESSES), seed * PROCESSES + at)
        for engine, whole in shares.items()
        for at in range(PROCESSES)
    ]


def run(job: Job, folder: Path) -> None:
    """Run one job to its end and keep what it says; a death is a problem."""
    if not job.count:
        return
    arguments = (job.engine, str(job.count), str(job.seed), str(folder))
    command = [sys.executable, "-m", "fuzz.worker", *arguments]
    start = time.monotonic()
    name = f"{job.engine}-{job.seed}"
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=ROOT)  # noqa: S603 - our own program
    watchdog = _Watchdog(process)
    with process, watchdog:
        for line in process.stdout or ():
            watchdog.heard()
            _hear(job, line)
            if job.said.get("rss", 0) > RSS_MIB:
                job.problems.append(f"{name} has {job.said['rss']} MiB resident")
                process.kill()
                break
    job.seconds = time.monotonic() - start
    whole = job.said.get("done") and job.said["count"] == job.count
    if process.returncode != 0 or not whole:
        body = f"its last body is in {folder / name}.newest, what it said in {name}.log"
        job.problems.append(f"{name} ended with {process.returncode} before its time: {body}")
    else:
        (folder / f"{name}.newest").unlink()


class _Watchdog:
    """Kills a process that says nothing for `_SILENT_SECONDS`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._heard = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def heard(self) -> None:
        self._heard = time.monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(1):
            if time.monotonic() - self._heard > _SILENT_SECONDS:
                self._process.kill()


def _hear(job: Job, line: bytes) -> None:
    try:
        said = json.loads(line)
    except ValueError:  # libFuzzer and hypothesis may print, too
        return
    if "problem" not in said:
        job.said = said
        return
    job.problems.append(f"{said['problem']}: {said['file']}")
    print(f"\nPROBLEM {said['problem']}\n{said['detail']}\n{said['file']}", flush=True)


def show_progress(jobs: list[Job], futures: list[Future[None]]) -> None:
    """Print where things stand: in place on a terminal, else every ten seconds."""
    whole, start, told = sum(job.count for job in jobs), time.monotonic(), 0.0
    is_terminal = sys.stdout.isatty()
    while not all(future.done() for future in futures):
        time.sleep(0.2)
        if time.monotonic() - told > (0.5 if is_terminal else 10):
            told = time.monotonic()
            done = sum(job.said.get("count", 0) for job in jobs)
            speed = done / (told - start)
            text = f"{done:,} of {whole:,} bodies, {speed:,.0f} a second"
            print(f"\r\033[K{text}" if is_terminal else text, end="" if is_terminal else "\n")
            sys.stdout.flush()
    if is_terminal:
        print("\r\033[K", end="")


def print_report(jobs: list[Job], seconds: float, folder: Path) -> int:
    """Print the table and the problems; the exit code."""
    print(f"{'engine':12}{'bodies':>10}{'a second':>10}{'slowest':>10}{'RSS MiB':>12}  outcomes")
    for job in jobs:
        print(_row(job))
    whole: Counter[str] = Counter()
    for job in jobs:
        whole.update(job.said.get("outcomes", {}))
    told = ", ".join(f"{name} {count:,}" for name, count in sorted(whole.items()))
    speed = whole.total() / seconds
    print(f"{whole.total():,} bodies in {seconds:.0f} s, {speed:,.0f} a second: {told}")
    outside = sum(whole[name] for name in ("500", "slow"))
    print(f"outcomes outside 200 and 400: {outside}; one in {TWICE_EVERY} reviewed twice")
    peak = max((job.said.get("rss", 0) for job in jobs), default=0)
    print(f"peak resident: {peak} MiB of at most {RSS_MIB}")
    problems = sorted({problem for job in jobs for problem in job.problems})
    for problem in problems:
        print(f"PROBLEM {problem}")
    if problems:
        print(f"Look at one: python -m tools.fuzz --replay {folder}/<problem>.case")
    return 1 if problems or outside else 0


def _row(job: Job) -> str:
    said = job.said
    speed = said.get("count", 0) / job.seconds if job.seconds else 0
    rss = f"{said.get('start_rss', 0)}→{said.get('rss', 0)}"
    outcomes = ", ".join(f"{name} {n:,}" for name, n in sorted(said.get("outcomes", {}).items()))
    slowest = f"{said.get('slowest', 0) * 1000:.0f} ms"
    bodies = f"{said.get('count', 0):,}"
    return f"{job.engine:12}{bodies:>10}{speed:>10,.0f}{slowest:>10}{rss:>12}  {outcomes}"


if __name__ == "__main__":
    sys.exit(main())
