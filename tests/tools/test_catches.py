"""tools.catches: a test that fails at an earlier commit is told from one that passes, or shows nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tools import catches

TEST = "tests/webhook/pods/test_quantity.py::test_no_quantities"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    catches.lay_out("HEAD", folder)
    return folder


def test_what_is_laid_out(scratch: Path) -> None:
    """webhook/ of the commit, and beside it all that is here."""
    assert (scratch / "webhook" / "pods" / "quantity.py").is_file()
    assert (scratch / "tests" / "tools" / "test_catches.py").read_text() == Path(
        __file__
    ).read_text()


def test_one_that_passes(scratch: Path) -> None:
    """It would not have caught anything."""
    assert not catches.run(TEST, scratch, 120).failed


def test_one_that_fails(scratch: Path) -> None:
    """It runs against the webhook/ that is there, and what it says first is told."""
    file = scratch / "webhook" / "pods" / "quantity.py"
    text = file.read_text()
    file.write_text(text.replace("if match is None:", "if False:"))
    try:
        verdict = catches.run(TEST, scratch, 120)
    finally:
        file.write_text(text)
    assert verdict.failed
    assert "TypeError: 'NoneType' object is not subscriptable" in verdict.said


def test_one_that_does_not_end(scratch: Path) -> None:
    """It fails: today it ends."""
    verdict = catches.run(TEST, scratch, 0.01)
    assert verdict.failed
    assert "it has not ended after 0.01 s" == verdict.said


def test_one_that_is_none(scratch: Path) -> None:
    """What cannot be run shows nothing, and so is no failure."""
    verdict = catches.run("tests/webhook/pods/test_quantity.py::test_nothing", scratch, 120)
    assert not verdict.failed
    assert "could not be run" in verdict.said


def test_usage() -> None:
    """A commit for which no tests are known takes their names."""
    result = CliRunner().invoke(catches.main, ["0000000"])
    assert 2 == result.exit_code
    assert "name the tests" in result.stderr
