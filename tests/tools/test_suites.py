"""The table of suites, and the runner that runs them side by side."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark.expression import Expression
from click.testing import CliRunner

from tests.cluster.processes import wait_until
from tests.node import programs
from tools.suites import __main__, needs, table
from tools.suites.table import Suite

ROOT: Final = Path(__file__).parents[2]
SUITES: Final = table.read()
ALL: Final = [suite for suite in SUITES if {"test", "e2e-all"} & set(suite.targets)]
WriteTable = Callable[..., Path]


# In a process of its own: a suite has read its own tests alone.
COLLECT: Final = """
import json, sys, pytest
class Plugin:
    def pytest_collection_finish(self, session):
        items = [(item.nodeid, [mark.name for mark in item.iter_markers()]) for item in session.items]
        print("ITEMS" + json.dumps(items))
sys.exit(pytest.main(["--collect-only", "-q", "--no-header", "tests"], plugins=[Plugin()]))
"""


def test_each_test_is_in_one_suite() -> None:
    """Whoever runs `make test` and `make e2e-all` has run every test, and none twice."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", COLLECT],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout[-2000:] + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("ITEMS"))
    items = json.loads(line.removeprefix("ITEMS"))
    assert len(items) > 8000
    counts = {name: sum(_has(suite, name, marks) for suite in ALL) for name, marks in items}
    assert {} == {name: count for name, count in counts.items() if count != 1}


def _has(suite: Suite, name: str, marks: list[str]) -> bool:
    return _wants(suite.marks, frozenset(marks)) and _reads(suite, name)


@cache
def _wants(marks: str, names: frozenset[str]) -> bool:
    """Whether a suite of these marks takes a test that has those."""

    def has(name: str, /, **_: object) -> bool:
        return name in names

    return Expression.compile(marks).evaluate(has)


def _reads(suite: Suite, path: str) -> bool:
    return _is_in(path, suite.paths) and not _is_in(path, suite.without)


def _is_in(path: str, places: tuple[str, ...]) -> bool:
    """Whether a file, or a test of it, is one of these files or in one of these folders."""
    file = path.partition("::")[0]
    return any(file == place or file.startswith(f"{place}/") for place in places)


def test_each_file_is_in_a_suite() -> None:
    """Also a file that this run has not read, and what a suite does not read is not for it."""
    files = [str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("test_*.py")]
    assert [] == [file for file in files if not any(_reads(suite, file) for suite in ALL)]
    all_of = [
        suite for suite in ALL if suite.name in ("unit", "review", "serving", "properties", "tools")
    ]
    marked = re.compile(r"^pytestmark = .*mark\.(cluster|node|root)", re.MULTILINE)
    left_out = [file for file in files if not any(_reads(suite, file) for suite in all_of)]
    assert [] == [file for file in left_out if not marked.search((ROOT / file).read_text("utf-8"))]


def test_e2e_is_a_part_of_e2e_all() -> None:
    """The long way leaves nothing of the short one out, and unit is the begin of test."""
    targets = [set(suite.targets) for suite in SUITES]
    assert all("e2e-all" in each for each in targets if "e2e" in each)
    assert all("test" in each for each in targets if "unit" in each)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that a suite lacks comes with the way to get it."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(programs, "missing_packages", lambda: ["iproute2", "runc"])
    (suite,) = (suite for suite in SUITES if suite.name == "node")
    expected = [
        "root, for port 443 and namespaces: run it as root",
        "Debian packages: apt-get install --no-install-recommends iproute2 runc",
    ]
    assert expected == needs.missing(suite)


def test_in_ci_nothing_runs_where_a_part_is_missing(
    write_table: WriteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One suite that cannot run is a failure of all, said at once; elsewhere the others run."""
    lacking = {"bad": ["a kernel: build one"], "good": []}
    monkeypatch.setattr(needs, "missing", lambda suite: lacking[suite.name])
    monkeypatch.setattr(__main__, "interrupt_by_signals", lambda: None)
    monkeypatch.setenv("CI", "1")
    table_of_two = write_table(bad="def test_a(): pass", good="def test_b(): pass")
    result = CliRunner().invoke(__main__.main, ["unit", "--table", str(table_of_two)])
    assert 1 == result.exit_code
    assert "bad cannot run, it lacks a kernel: build one" in result.output
    assert "nothing is run" in result.output
    assert "0 passed, 2 failed" == result.output.splitlines()[-1]


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    """Write a table of suites of one file each: name -> what is in the file."""

    def write(**texts: str) -> Path:
        rows: list[str] = []
        for name, text in texts.items():
            file = tmp_path / f"test_{name}.py"
            file.write_text(text, encoding="utf-8")
            suite = {"name": name, "proves": "-", "targets": ["unit"], "marks": "not node"}
            rows += ["[[suite]]", f"paths = [{json.dumps(str(file))}]"]
            rows += [f"{key} = {json.dumps(value)}" for key, value in suite.items()]
        whole = tmp_path / "suites.toml"
        whole.write_text("\n".join(rows), encoding="utf-8")
        return whole

    return write


def suites_of(file: Path) -> subprocess.Popen[str]:
    """The runner, with this table."""
    command = [sys.executable, "-m", "tools.suites", "unit", "--table", str(file)]
    # A test of a test must not measure into our coverage, nor count as a part of our suite.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_failures_are_shown_and_counted(write_table: WriteTable) -> None:
    """A suite that fails is shown, does not keep the others from running, and is the exit code."""
    bad = "def test_bad():\n    assert 'the reason' == ''\ndef test_good(): pass"
    process = suites_of(write_table(of_bad=bad, of_good="def test_good(): pass", of_none=""))
    said, _ = process.communicate(timeout=120)
    assert 1 == process.returncode
    assert "assert 'the reason' == ''" in said
    assert ": of_good: 1 passed, 0 failed" in said
    assert "2 passed, 2 failed" == said.splitlines()[-1]  # no test at all is a failure, too


def test_interrupted_suites_clean_up(write_table: WriteTable, tmp_path: Path) -> None:
    """^C comes to every suite as ^C: its fixtures end what they have started."""
    waits = """
import pathlib, time, pytest
@pytest.fixture
def started():
    here = pathlib.Path({name!r})
    here.with_suffix(".started").touch()
    yield
    here.with_suffix(".ended").touch()
def test_waits(started):
    time.sleep(600)
"""
    names = ("one", "two")
    process = suites_of(
        write_table(**{name: waits.format(name=str(tmp_path / name)) for name in names})
    )
    wait_until(
        lambda: all((tmp_path / f"{name}.started").exists() for name in names), "both have started"
    )
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert 130 == process.returncode
    assert "interrupted: one, two end" in said
    assert all((tmp_path / f"{name}.ended").exists() for name in names)
