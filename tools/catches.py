"""Do tests of today catch what was wrong at an earlier commit?

    python -m tools.catches 869c352 [TEST …] [--tests-of b92b52a] [--seconds 300]

Each test (by default those of `TESTS`) runs against the webhook/ of that commit, in a scratch
folder that has all else as it is here, or as it was at `--tests-of`: a test of today cannot be
imported where webhook/ had other folders. Modules that webhook/ had not got then are added, so that
tests can be imported; nothing of then imports them. A test that does not end in time counts as
one that fails. Exit code 1: a test passes, and so would not have caught it.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from tools.processes import interrupt_by_signals

ROOT: Final = Path(__file__).parent.parent
_OLD: Final = "webhook"
# By commit: when its folders were still those, and the tests of the rows of tests/README.md that were untrue then.
TESTS: Final = {
    "869c352": (
        "b92b52a",
        (
            "tests/webhook/test_linear.py::test_work_grows_with_the_pod",
            "tests/webhook/test_linear.py::test_command_line_grows_with_the_file",
            "tests/webhook/test_memory.py::test_large_reviews_leave_nothing",
            "tests/webhook/test_memory_limit.py::test_crowd",
            "tests/webhook/test_memory_limit.py::test_dense_body",
        ),
    )
}
_SAID: Final = re.compile(r"^(?:E   |FAILED |ERROR ).*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a test: whether it failed, and what pytest said first."""

    test: str
    failed: bool
    said: str


@click.command(help=__doc__, context_settings={"show_default": True})
@click.argument("revision")
@click.argument("tests", nargs=-1)
@click.option("--tests-of", metavar="REVISION", help="Take tests and tools of this commit.")
@click.option("--seconds", type=float, default=300.0, help="For one test.")
def main(revision: str, tests: tuple[str, ...], tests_of: str | None, seconds: float) -> None:
    """Run them."""
    interrupt_by_signals()
    if not tests and revision in TESTS:
        tests_of, tests = tests_of or TESTS[revision][0], TESTS[revision][1]
    if not tests:
        raise click.UsageError(f"name the tests: none are known for {revision}")
    passed = []
    with tempfile.TemporaryDirectory(prefix="dinp-catches-") as name:
        scratch = Path(name)
        lay_out(revision, scratch, tests_of)
        for test in tests:
            verdict = run(test, scratch, seconds)
            print(f"{'fails ' if verdict.failed else 'PASSES'} {test}\n       {verdict.said}")
            sys.stdout.flush()
            passed += [] if verdict.failed else [test]
    sys.exit(1 if passed else 0)


def lay_out(revision: str, scratch: Path, tests_of: str | None = None) -> None:
    """Fill `scratch`: webhook/ of then, all else of now or of `tests_of`.

    Raises:
        click.ClickException: there is no such commit here.
    """
    if tests_of is None:
        _copy_tracked(scratch)
    else:
        _extract(tests_of, scratch)
    there = {file: file.read_bytes() for file in (scratch / _OLD).rglob("*.py")}
    shutil.rmtree(scratch / _OLD)
    _extract(revision, scratch, _OLD)
    for file, text in there.items():
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)


def _copy_tracked(scratch: Path) -> None:
    for path in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split(b"\0"):
        file = ROOT / path.decode()
        if path and file.is_file():
            _copy(file, scratch / path.decode())


def _extract(revision: str, scratch: Path, *paths: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(_git("archive", revision, *paths))) as archive:
        archive.extractall(scratch, filter="data")


def run(test: str, scratch: Path, seconds: float) -> Verdict:
    """Run one test there."""
    flags = ("-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-o", "addopts=")
    command = [sys.executable, "-m", "pytest", *flags, "--import-mode=importlib", test]
    # Without coverage of another webhook/ than that which is measured.
    kept = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**kept, "PYTHONPATH": str(scratch), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            cwd=scratch,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(test, failed=True, said=f"it has not ended after {seconds:g} s")
    if done.returncode == 0:
        return Verdict(test, failed=False, said="as it does today")
    if done.returncode != 1:  # no such test, or it cannot be imported: that shows nothing
        return Verdict(test, failed=False, said=f"it could not be run: {first(done.stdout)}")
    return Verdict(test, failed=True, said=first(done.stdout))


def first(output: str) -> str:
    """The first thing that pytest said of what went wrong."""
    found = _SAID.search(output)
    return output.strip()[-300:] if found is None else found[0].removeprefix("E ").strip()[:300]


def _git(*arguments: str) -> bytes:
    done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, check=False)  # noqa: S603, S607 - our own repository
    if done.returncode:
        raise click.ClickException(done.stderr.decode(errors="replace").strip())
    return done.stdout


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(file.read_bytes())
    to.chmod(file.stat().st_mode)


if __name__ == "__main__":
    main()
