"""The daemon's certificate in its memory volume."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from keeper import files
from tests.keeper.pairs import CLIENTS, SERVERS, authority, leaf
from tests.keeper.pairs import files as made


def test_what_is_put_is_read(tmp_path: Path) -> None:
    """Certificate, key and CAs; the key for its owner alone, and replaced in one step."""
    link = tmp_path / files.TLS
    first, second = made(leaf(timedelta())), made(leaf(timedelta()), authority("new"))
    files.put(link, first)
    before = link.resolve()
    files.put(link, second)
    assert second == files.read(link)
    assert 0o600 == (link / "key.pem").stat().st_mode & 0o777
    assert before != link.resolve()
    assert (before / "key.pem").exists(), "who has begun to read it can go on"
    files.remove_unused(tmp_path)
    assert not before.exists()
    assert second == files.read(link)


@pytest.mark.parametrize("damaged", ["cert.pem", "key.pem", "ca.pem"])
def test_what_cannot_be_used(tmp_path: Path, damaged: str) -> None:
    """Without one of its files there is nothing that dockerd could start with."""
    link = tmp_path / files.TLS
    assert files.read(link) is None
    files.put(link, made(leaf(timedelta())))
    (link / damaged).unlink()
    assert files.read(link) is None


def test_what_is_published(tmp_path: Path) -> None:
    """The CAs of the ConfigMap; what is no certificate of a CA is left out."""
    assert (frozenset(), frozenset()) == (
        files.published(tmp_path).client,
        files.published(tmp_path).server,
    )
    (tmp_path / "client-ca.pem").write_bytes(CLIENTS.certificate + leaf(timedelta()).certificate)
    (tmp_path / "server-ca.pem").write_bytes(b"nothing" + SERVERS.certificate)
    found = files.published(tmp_path)
    assert (1, 1) == (len(found.client), len(found.server))


def test_a_restart_is_asked_for(tmp_path: Path) -> None:
    """By a file that is never empty, which start.sh would take for now."""
    files.ask(tmp_path, "idle")
    assert "idle" == (tmp_path / files.RESTART).read_text()
    files.ask(tmp_path, None)
    files.ask(tmp_path, None)
    assert not (tmp_path / files.RESTART).exists()
