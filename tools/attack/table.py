"""What the rows of the attack and their figures are, and how a row ends."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

Say = Callable[[str], None]

SERVER: Final = "webhook.cli"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was looked at: what was seen, and what must hold."""

    what: str
    seen: str
    bound: str
    is_well: bool


def at_most(what: str, seen: float, bound: float, unit: str, digits: int = 2) -> Figure:
    """A number that may not be larger."""
    shown = f"{seen:,.{digits}f} {unit}"
    return Figure(what, shown, f"≤ {bound:,g} {unit}", seen <= bound)


def none_of(what: str, complaints: list[str], of: int, holds: str) -> Figure:
    """Of `of` things each must be as `holds` says; the first that is not is shown."""
    if not complaints:
        return Figure(what, f"{of} of {of}", holds, is_well=True)
    seen = f"{of - len(complaints)} of {of}; first otherwise: {complaints[0][:200]}"
    return Figure(what, seen, holds, is_well=False)


@dataclass(frozen=True, slots=True)
class Run:
    """How it is run: all or the short way, by which seed, and as which program."""

    quick: bool
    seed: int
    say: Say
    program: str = SERVER


Look = Callable[[Run], Iterator[Figure]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row: what is sent, what must hold, and what looks at it. Not quick: in the full run alone."""

    name: str
    sent: str
    holds: str
    look: Look
    is_quick: bool = True
    is_beside: bool = False  # waits, or is no measurement: it runs beside the others
    needs_api_server: bool = False  # a real one, built before anything is measured


@dataclass(frozen=True, slots=True)
class Result:
    """A row and its figures, in the order in which they came."""

    row: Row
    figures: list[Figure]
    seconds: float

    @property
    def is_well(self) -> bool:
        """Whether each figure is; a row without figures has looked at nothing."""
        return bool(self.figures) and all(figure.is_well for figure in self.figures)


def to_its_end(seen: Iterator[Figure], run: Run) -> Iterator[Figure]:
    """What is seen; whatever ends that before its end is a miss, and all else goes on."""
    try:
        yield from seen
    except Exception as error:  # noqa: BLE001 - a server that died, or a fault of ours: never a pass
        run.say("".join(traceback.format_exception(error)))
        said = f"{type(error).__name__}: {error}"
        yield Figure("the row itself", said[:300], "it is run to its end", is_well=False)
