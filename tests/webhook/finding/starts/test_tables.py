"""tables: what holds between rows."""

from __future__ import annotations

import itertools

import pytest

from webhook.finding.starts import command_lines, tables
from webhook.finding.starts.tables import Start


@pytest.mark.parametrize("start", tables.STARTS, ids=lambda start: f"{start.program} {start.says}")
def test_a_line_that_starts_a_daemon_mentions_one(start: Start) -> None:
    """What does not is not read, neither as words nor as a script."""
    for arguments in itertools.product(*map(sorted, start.arguments)):
        words = [f"/etc/{start.program}", *arguments]
        assert start.says == command_lines.started(words).daemon
        assert tables.MENTIONS.search(" ".join(words))
