"""keeper.certificates: what the keeper asks for when a clock is, or was, wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from certs.authority import KeyPair, Usage, issue_ca, issue_leaf
from keeper import certificates, files
from keeper.certificates import Renewal, Settings
from keeper.files import Files

DAY: Final = timedelta(days=1)
NOW: Final = datetime.now(UTC)
SERVERS, CLIENTS = (issue_ca(name, now=NOW, lifetime=1825 * DAY) for name in ("servers", "clients"))


def leaf(ahead: timedelta) -> KeyPair:
    """As certs signs it by a clock that is ahead."""
    names, year = ("192.0.2.1",), 365 * DAY
    return issue_leaf(SERVERS, "x", usage=Usage.SERVER, now=NOW + ahead, lifetime=year, names=names)


@dataclass(frozen=True, slots=True)
class Signer(Settings):
    """Settings of a keeper whose requests are answered at once, by such a certificate."""

    ahead: timedelta = timedelta()
    signed_ones: tuple[list[KeyPair], ...] = ()

    async def signed(self) -> KeyPair:
        made = leaf(self.ahead)
        self.signed_ones[0].append(made)
        return made


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


def keeper(folder: Path, running: KeyPair, ahead: timedelta) -> tuple[Renewal, list[KeyPair]]:
    """That of a daemon which runs with a certificate, and what is signed for it."""
    for name, pair in (("client", CLIENTS), ("server", SERVERS)):
        (folder / f"{name}-ca.pem").write_bytes(pair.certificate)
    files.put(folder / files.TLS, Files(running, files.published(folder).client))
    signed: list[KeyPair] = []
    settings = Signer(("192.0.2.1",), "x", folder, folder, None, None, ahead, (signed,))
    return Renewal(settings, str(folder / "none"), 30 * DAY), signed


@pytest.mark.parametrize("days", [3, 400])
async def test_a_certificate_from_the_future(tmp_path: Path, days: int) -> None:
    """dockerd is restarted at once with another, though it has clients: none of them can use it."""
    renewal, signed = keeper(tmp_path, leaf(days * DAY), timedelta())
    await renewal.check()
    assert "now" == (tmp_path / files.RESTART).read_text(encoding="ascii")
    waiting = files.read(tmp_path / files.NEXT)
    assert waiting is not None
    assert signed == [waiting.pair]


async def test_a_clock_that_is_still_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[Any]
) -> None:
    """What is signed is from the future, too: no restart, one warning, and requests later and later."""
    time = 0.0
    monkeypatch.setattr(certificates, "monotonic", lambda: time)
    renewal, signed = keeper(tmp_path, leaf(3 * DAY), 3 * DAY)
    for _ in range(360):
        time += 10
        await renewal.check()
    assert not (tmp_path / files.RESTART).exists()
    assert 6 <= len(signed) < 20
    (warning,) = [line for line in lines if line["log_level"] == "warning"]
    assert "is from the future" in warning["event"]
