"""Throw-away certificates in files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from certs import authority
from certs.authority import KeyPair

DAY: Final = timedelta(days=1)


def write_server_pair(
    directory: Path,
    ca: KeyPair,
    names: Sequence[str],
    *,
    stem: str = "tls",
    lifetime: timedelta = DAY,
) -> tuple[Path, Path]:
    """Issue a server's certificate for `names`, the first of which is its subject.

    Returns:
        The files <stem>.crt and <stem>.key in `directory`.
    """
    pair = authority.issue_leaf(
        ca,
        names[0],
        names=names,
        usage=authority.Usage.SERVER,
        now=datetime.now(UTC),
        lifetime=lifetime,
    )
    certificate, key = directory / f"{stem}.crt", directory / f"{stem}.key"
    certificate.write_bytes(pair.certificate)
    write_secret(key, pair.key)
    return certificate, key


def write_secret(file: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, from its first byte on."""
    file.touch(mode=0o600)
    file.write_bytes(content)
