"""Throw-away certificates in files, and files as a mounted Secret has them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
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


def write_mounted(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` as the kubelet writes a mounted Secret: all of them change in one rename.

    They are links into the directory that the link `..data` names (AtomicWriter, Kubernetes
    1.30), and that of the generation before is removed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "..data"
    old = data.resolve() if data.is_symlink() else None
    number = 1 if old is None else int(old.name.removeprefix("..")) + 1
    new = directory / f"..{number}"
    new.mkdir(mode=0o700)
    for name, content in files.items():
        (new / name).write_bytes(content)
    link = directory / "..data_tmp"
    link.symlink_to(new.name)
    link.rename(data)
    for name in files:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data", name))
    if old is not None:
        shutil.rmtree(old)
