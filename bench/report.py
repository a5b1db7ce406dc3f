"""What one run has found: rows for people, and the same with all figures as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

_UNITS: Final = ("what", "target", "measured", "met")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `met` is None where there is no target, or no figure."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Part:
    """One of the parts: its rows, and its figures as they go into the JSON."""

    title: str
    rows: list[Row] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, what: str, measured: str, target: str = "", met: bool | None = None) -> None:
        """Add a row."""
        self.rows.append(Row(what, measured, target, met))


@dataclass(slots=True)
class Report:
    """One run."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    parts: list[Part] = field(default_factory=list)
    load_average: list[float] = field(default_factory=list)

    def noise(self) -> None:
        """Note how busy the machine is, ourselves included."""
        self.load_average.append(round(os.getloadavg()[0], 2))

    def lines(self) -> Iterator[str]:
        """The table in Markdown, wide enough to be read as it is."""
        rows = [_UNITS]
        for part in self.parts:
            rows.append((f"**{part.title}**", "", "", ""))
            rows += [(row.what, row.target, row.measured, _met(row)) for row in part.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_UNITS))]
        yield _line(rows[0], widths)
        yield _line(tuple("-" * width for width in widths), widths)
        yield from (_line(row, widths) for row in rows[1:])
        yield ""
        yield (
            f"{self.began:%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, "
            f"{os.cpu_count()} cores, load average before each part and at the end: "
            f"{', '.join(map(str, self.load_average))}"
        )

    def write(self, file: Path) -> None:
        """Write the JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        whole = {
            "began": self.began.isoformat(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "loadAverage": self.load_average,
            "parts": {
                part.title: {
                    "rows": [
                        {
                            "what": row.what,
                            "target": row.target,
                            "measured": row.measured,
                            "met": row.met,
                        }
                        for row in part.rows
                    ],
                    "figures": part.figures,
                }
                for part in self.parts
            },
        }
        file.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _met(row: Row) -> str:
    if not row.target:
        return ""
    return {True: "yes", False: "NO", None: "not measured"}[row.met]


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
