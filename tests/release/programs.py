"""The tools of a release, and a registry."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import assets
from tests.cluster.assets import AssetsError, Say

ROOT: Final = Path(__file__).parents[2]
_REGISTRY: Final = Path("/usr/bin/docker-registry")
_STAMP: Final = Path("build/release/.stamp")


@dataclass(frozen=True, slots=True)
class Programs:
    """Paths: the Python of requirements-release.lock, crane, and Distribution's registry."""

    python: Path
    crane: Path
    registry: Path


def missing_packages() -> list[str]:
    """The packages of Debian that are not here."""
    return [] if _REGISTRY.exists() else ["docker-registry"]


def find_or_install(say: Say) -> Programs:
    """Find them, or install and build them, which takes a minute.

    Raises:
        AssetsError: one is missing and cannot be had.
    """
    if missing_packages():
        raise AssetsError("no registry: apt-get install --no-install-recommends docker-registry")
    crane = assets.program_folder(assets.CRANE, say) / "crane"
    done = subprocess.run(  # noqa: S603 - our own command
        ["make", "--no-print-directory", str(_STAMP)],  # noqa: S607 - whichever make runs this
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssetsError(f"make {_STAMP}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return Programs(ROOT / _STAMP.parent / "bin" / "python", crane, _REGISTRY)
