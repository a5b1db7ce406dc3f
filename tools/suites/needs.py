"""What a suite needs of the machine: what of it is missing, and how it is made ready."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.cgroup2 import kernel
from tests.cluster import assets
from tests.cluster.assets import Say
from tests.node import clients, programs
from tests.release import programs as release
from tools.suites.table import Need, Suite


def _nothing(say: Say) -> None:
    del say


@dataclass(frozen=True, slots=True)
class _Part:
    """`missing` says what is not here and how to get it; `prepare` builds what can be built."""

    missing: Callable[[], Iterable[str]]
    prepare: Callable[[Say], object] = _nothing


def missing(suite: Suite) -> list[str]:
    """What a suite needs and this machine has not, each with how to get it."""
    return [sentence for need in suite.needs for sentence in _PARTS[need].missing()]


def prepare(suite: Suite, say: Say) -> None:
    """Build what the suite needs, where it is not there yet.

    Raises:
        AssetsError: something cannot be built.
    """
    for need in suite.needs:
        _PARTS[need].prepare(say)


def _no_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["root, for port 443 and namespaces: run it as root"]


def _apt(names: Iterable[str]) -> list[str]:
    wanted = " ".join(names)
    return [f"Debian packages: apt-get install --no-install-recommends {wanted}"] if wanted else []


# Go itself is no need: where there is none, PyPI's is installed (tests/cluster/builds.py).
_PARTS: dict[Need, _Part] = {
    "root": _Part(_no_root),
    "api-server": _Part(lambda: (), assets.find_or_build),
    "node": _Part(lambda: _apt(programs.missing_packages()), programs.find_or_build),
    "clients": _Part(lambda: (), clients.clients),
    "emulator": _Part(lambda: _apt(kernel.missing_packages()), kernel.find_or_download),
    "release": _Part(lambda: _apt(release.missing_packages()), release.find_or_install),
}
