"""Make a diff short enough to read: of a long text that it adds, the first line and a count.

What comes out is for people. Its hunks have fewer lines than their heads say, so `patch` refuses
it rather than write the count into a manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Final

_LONG: Final = 12  # lines
# An added line that begins a text of several lines: `command: |`, or `- |-` in a list.
_HEAD: Final = re.compile(r"\+( *)(?:\S.*)?[|>][-+\d]*\s*")
# A text in quotes, as YAML in flow style has all of it on one line.
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPE: Final = re.compile(r"\\.")


def folded_text(diff: str) -> str:
    """The same for a whole diff. Only newlines end a line: str.splitlines knows eight more."""
    return "\n".join(folded(diff.split("\n")))


def folded(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a unified diff of YAML, with each long text that it adds folded."""
    left = list(lines)
    at = 0
    while at < len(left):
        line = left[at]
        yield _QUOTED.sub(_short_quote, line) if line.startswith("+") else line
        at += 1
        if head := _HEAD.fullmatch(line):
            text = list(takewhile(re.compile(rf"\+(?:{head[1]} |\s*$)").match, left[at:]))
            yield from _short(text)
            at += len(text)


def _short(text: list[str]) -> list[str]:
    if len(text) <= _LONG:
        return text
    return [f"{text[0].rstrip()} ... {len(text) - 1} more lines"]


def _short_quote(text: re.Match[str]) -> str:
    ends = [escape.start() for escape in _ESCAPE.finditer(text[0]) if escape[0] == "\\n"]
    more = len(ends) - text[0].endswith('\\n"')
    return f'{text[0][: ends[0]]} ... {more} more lines"' if more >= _LONG else text[0]
