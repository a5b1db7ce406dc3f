"""The table of figures, and what missed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from tools.attack.table import Figure, Result

_WIDTHS = (24, 66, 34, 34)
_HEAD = ("part", "figure", "seen", "must be")


def lines(results: Sequence[Result], seconds: float) -> Iterator[str]:
    """What to print at the end; `seconds` of all rows together, some of which run side by side."""
    yield from _cells(_HEAD, "verdict")
    yield "-" * (sum(_WIDTHS) + 2 * len(_WIDTHS) + len("verdict"))
    for result in results:
        yield from of(result)
    yield ""
    missed = [result for result in results if not result.is_well]
    for result in missed:
        yield from _miss(result)
    figures = sum(len(result.figures) for result in results)
    well = f"{len(results) - len(missed)} of {len(results)} rows hold, {figures} figures"
    yield f"{well}, {seconds:.0f} s"


def of(result: Result) -> Iterator[str]:
    """The rows of one part of the table."""
    name = result.row.name
    for figure in result.figures:
        verdict = "well" if figure.is_well else "MISS"
        yield from _cells((name, figure.what, figure.seen, figure.bound), verdict)
        name = ""


def _miss(result: Result) -> Iterator[str]:
    row = result.row
    yield f"MISS {row.name}: {row.sent}. Must hold: {row.holds}."
    for figure in result.figures:
        if not figure.is_well:
            yield f"     {_told(figure)}"
    if not result.figures:
        yield "     nothing was looked at"


def _told(figure: Figure) -> str:
    return f"{figure.what}: expected {figure.bound}, saw {figure.seen}"


def _cells(texts: Sequence[str], verdict: str) -> Iterator[str]:
    """One row of the table, in as many lines as its longest text takes."""
    wrapped = [
        textwrap.wrap(text, width) or [""] for text, width in zip(texts, _WIDTHS, strict=True)
    ]
    for at in range(max(map(len, wrapped))):
        cells = [
            f"{found[at] if at < len(found) else '':{width}}"
            for found, width in zip(wrapped, _WIDTHS, strict=True)
        ]
        yield "  ".join([*cells, verdict if at == 0 else ""]).rstrip()
