"""What OpenSSL says of a certificate."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path


def is_verified(leaf: bytes, bundle: bytes, *options: str) -> bool:
    """Whether `openssl verify -x509_strict` accepts `leaf` as a server's by one CA of `bundle`."""
    return "" == complaint(leaf, bundle, *options)


def complaint(leaf: bytes, bundle: bytes, *options: str) -> str:
    """What it has against it; empty: nothing."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "bundle").write_bytes(bundle)
        (directory / "leaf").write_bytes(leaf)
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", *options]
        command += ["-CAfile", str(directory / "bundle"), "-no-CApath", "-no-CAstore"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, str(directory / "leaf")], capture_output=True, text=True, check=False
        )
        return "" if done.returncode == 0 else done.stderr + done.stdout
