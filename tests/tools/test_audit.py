"""What pip-audit reports, and what of it is an answer."""

from __future__ import annotations

import pytest

from tools import audit

_SKIPPED = {"name": "one", "skip_reason": "Dependency not found on PyPI"}
_CLEAN = {"name": "two", "version": "2", "vulns": []}
_HIT = {"name": "three", "version": "3", "vulns": [{"id": "CVE-1", "fix_versions": []}]}


def test_all_skipped_is_no_answer() -> None:
    """An index without a database answers 404 for each package: pip-audit calls that clean."""
    with pytest.raises(audit.NoDatabaseError, match="not one package of a: Dependency not found"):
        audit.reported("a", [_SKIPPED, {**_SKIPPED, "name": "two"}])


def test_some_skipped_is_incomplete() -> None:
    """Those that were not asked about are named, beside what is known of the others."""
    report = audit.reported("a", [_SKIPPED, _CLEAN, _HIT])
    assert audit.Report("a", 2, ("three 3: CVE-1 (fixed in no version)",), ("one",)) == report
    assert "  incomplete, the database has no answer for: one" in audit.said(report)


def test_nothing_to_ask_is_fine() -> None:
    """An empty lock is neither."""
    assert audit.Report("a", 0, (), ()) == audit.reported("a", [])


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([audit.Report("a", 1, (), ())], 0),
        ([audit.Report("a", 1, (), ()), audit.Report("b", 1, ("x",), ("y",))], 1),
        ([audit.Report("a", 1, (), ("y",)), audit.Report("b", 1, (), ())], 3),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, reports: list[audit.Report], code: int
) -> None:
    """0 clean, 1 found, 3 incomplete; what is found counts more than what is missing."""
    monkeypatch.setattr(audit, "audited", lambda *_: reports)
    monkeypatch.setattr("sys.argv", ["audit"])
    assert code == audit.main()
