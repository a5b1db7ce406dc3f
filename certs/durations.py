"""Durations as people write them: 90s, 12h, 1h30m, 365d."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

import click

_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_WHOLE: Final = re.compile(r"(?:\d+[dhms])+")
_PART: Final = re.compile(r"(\d+)([dhms])")


def parse(text: str) -> timedelta:
    """Add up the parts.

    Raises:
        ValueError: it is not written like that, or too long for a calendar.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"'{text}' is not a duration such as 90s, 12h, 1h30m or 365d")
    try:
        return sum(
            (timedelta(**{_UNITS[unit]: int(number)}) for number, unit in _PART.findall(text)),
            timedelta(),
        )
    except OverflowError as error:
        raise ValueError(f"'{text}' is too long") from error


class Duration(click.ParamType[timedelta]):
    """A click option that is a duration."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Parse what was given; a default may be a timedelta already."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
