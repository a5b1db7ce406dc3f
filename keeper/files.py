"""The certificates of the daemon in its memory volume, and those of the CAs that are published.

| path | what | who changes it |
|---|---|---|
| `tls` | what dockerd has been started with | prepare, then start.sh |
| `next` | what it is to be started with | the keeper; start.sh makes it `tls` when it restarts dockerd |
| `restart` | that it is to be restarted: `idle` or `now` | the keeper; start.sh removes it |

`tls` and `next` are links to folders with ca.pem (the CAs of clients), cert.pem and key.pem. A
link changes in one step, so nobody ever sees the key of one certificate beside another.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from certs import inspection
from certs.authority import KeyPair

TLS: Final = "tls"
NEXT: Final = "next"
RESTART: Final = "restart"
_FOLDER: Final = ".tls-"


@dataclass(frozen=True, slots=True)
class Files:
    """The daemon's certificate, and the CAs whose clients it lets in (each as inspection has it)."""

    pair: KeyPair
    client_authorities: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class Published:
    """The CAs of clients and of servers; empty: nobody has published any yet."""

    client: frozenset[bytes] = frozenset()
    server: frozenset[bytes] = frozenset()


def read(link: Path) -> Files | None:
    """What is in the folder that `link` leads to; None: nothing that dockerd can use."""
    try:
        pair = KeyPair((link / "cert.pem").read_bytes(), (link / "key.pem").read_bytes())
        authorities = inspection.blocks((link / "ca.pem").read_bytes())
    except OSError:
        return None
    return Files(pair, authorities) if inspection.is_pair(pair) else None


def published(directory: Path) -> Published:
    """The CAs in the volume of the ConfigMap dinp-docker-ca; what is no certificate is left out."""
    return Published(
        _authorities(directory / "client-ca.pem"), _authorities(directory / "server-ca.pem")
    )


def put(link: Path, files: Files) -> None:
    """Let `link` lead to a new folder with these files, in one step; keys are for the owner only.

    dockerd reads them as root.

    Raises:
        OSError: they cannot be written.
    """
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=link.parent))
    contents = {
        "ca.pem": inspection.join(sorted(files.client_authorities)),
        "cert.pem": files.pair.certificate,
        "key.pem": files.pair.key,
    }
    for name, content in contents.items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    new = folder.with_suffix(".link")
    new.symlink_to(folder.name)
    new.replace(link)


def ask(directory: Path, when: str | None) -> None:
    """Ask start.sh for a restart, `idle` or `now`; None takes it back.

    Raises:
        OSError: it cannot be written.
    """
    file = directory / RESTART
    if when is None:
        file.unlink(missing_ok=True)
        return
    # In one step: start.sh takes an empty file for "now".
    new = directory / f".{RESTART}"
    new.write_text(when, encoding="ascii")
    new.replace(file)


def write_script(directory: Path, name: str, text: str) -> None:
    """Write a script for the daemon's shell, in one step.

    Raises:
        OSError: it cannot be written.
    """
    new = directory / f".{name}"
    new.write_text(text, encoding="utf-8")
    new.replace(directory / name)


def remove_unused(directory: Path) -> None:
    """Remove folders that no link leads to. Before dockerd runs: later start.sh may be at it."""
    used = {(directory / name).resolve().name for name in (TLS, NEXT)}
    for folder in directory.glob(f"{_FOLDER}*"):
        if folder.name not in used:
            shutil.rmtree(folder, ignore_errors=True)


def _authorities(file: Path) -> frozenset[bytes]:
    try:
        found = inspection.blocks(file.read_bytes())
    except OSError:
        return frozenset()
    return frozenset(pem for pem in found if inspection.is_authority(pem))
