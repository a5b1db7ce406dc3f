"""The table of suites, tests/suites.toml, as values."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

FILE: Final = Path(__file__).parents[2] / "tests" / "suites.toml"

Target = Literal["unit", "test", "e2e", "e2e-all"]
Need = Literal["root", "api-server", "node", "clients", "emulator", "release"]
TARGETS: Final[tuple[Target, ...]] = get_args(Target)


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tests that run in one pytest, side by side with other suites.

    `paths` and `marks` are pytest's arguments; of `paths` it does not read what is in `without`.
    Over `workers` processes, each with clusters of its own, pytest-xdist deals files; `weight` is how many of the workers that run side by side the suite counts for. What it executes is measured where the command asks for that and `coverage` says so.
    `warm` is how many seconds the suite takes when everything is built,
    `cold` the same with all of its builds.
    """

    name: str
    proves: str
    targets: tuple[Target, ...]
    paths: tuple[str, ...]
    marks: str
    without: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    coverage: bool = False
    workers: int = 1
    weight: int = 0  # as many as its workers
    warm: int = 0
    cold: int = 0


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    suite: tuple[Suite, ...]


def read(file: Path = FILE) -> tuple[Suite, ...]:
    """Every suite, in the order of the table.

    Raises:
        msgspec.ValidationError: the table is not as Suite says; names the place.
    """
    return msgspec.toml.decode(file.read_bytes(), type=_Table).suite


def of_target(suites: tuple[Suite, ...], target: Target) -> tuple[Suite, ...]:
    """The suites of one make target, in the order in which they start.

    Those without needs come first: they run while what the others need is built. Then the
    longest: so the last to end is a short one.
    """
    chosen = (suite for suite in suites if target in suite.targets)
    return tuple(sorted(chosen, key=lambda suite: (bool(suite.needs), -suite.warm)))
