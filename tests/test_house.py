"""What the project promises of its own shape and words."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from webhook.planning.sidecar import SCRIPT_WITH_TLS

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("webhook", "certs", "keeper", "scripts", "tools", "bench", "fuzz")
    for path in (ROOT / folder).rglob("*.py")
)

# One sentence after the other: to squeeze it, or to cut it in two, would help nobody.
TABLES = {ROOT / "webhook" / "reasons.py"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_small(source: Path) -> None:
    """A module has under 300 lines, a function under 40; a table may have more rows."""
    text = source.read_text(encoding="utf-8")
    long = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 >= 40
    }
    assert {} == long
    assert len(text.splitlines()) < 300 or source in TABLES


def test_start_script_is_short() -> None:
    """dind.sh stands in every Pod of sidecar mode: at most 12 KiB."""
    assert len(SCRIPT_WITH_TLS.encode()) <= 12 * 1024


@pytest.mark.parametrize(
    ("document", "at_least"), [("tests/README.md", 60), ("docs/security.md", 50)]
)
def test_names_of_tests_exist(document: str, at_least: int) -> None:
    """Each `file.py::test` is a test of that file, each `golden/<case>` a case, each path a path."""
    tests = ROOT / "tests"
    text = (ROOT / document).read_text(encoding="utf-8")
    named: set[tuple[str, str]] = set()
    file = ""
    for there, name in re.findall(r"`([\w/.]*)::(\w+)`", text):
        file = there or file  # without a file: that of the name before
        named.add((file, name))
    assert set() == {(file, name) for file, name in named if name not in _tests_of(tests / file)}
    assert len(named) > at_least
    cases = set(re.findall(r"`golden/([\w-]+)`", text))
    assert set() == {case for case in cases if not (tests / "golden" / case).is_dir()}
    paths = set(re.findall(r"`(tests/[\w/.]+)`", text))
    assert set() == {path for path in paths if not (ROOT / path).exists()}


def test_each_line_of_the_security_tables_has_a_test() -> None:
    """What somebody can do or cannot is a claim, and none is there without its proof."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\|[^|]*\b(?:can|cannot)\b[^|]*\|.*$", text, re.MULTILINE)
    assert len(lines) > 30
    assert [] == [line for line in lines if "::" not in line.rpartition(" | ")[2]]


@cache
def _tests_of(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    return {
        node.name
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    }
