"""What differs between two JSON documents, told for people."""

from __future__ import annotations

import json
from itertools import takewhile
from operator import eq
from typing import Any, Final

import jsonpatch
from jsonpointer import resolve_pointer

from webhook.pods import patch

_NOTHING: Final = "nothing"
_SHOWN: Final = 60  # characters of a value
_BEFORE: Final = 20  # of them, before the first that differs


def assert_same(expected: Any, got: Any) -> None:
    """Fail with all that differs: of a list's difference, pytest shows the first item alone."""
    __tracebackhide__ = True
    found = differences(expected, got)
    assert not found, "\n".join(found)


def differences(expected: Any, got: Any) -> list[str]:
    """A line for each difference: the path in `got` (RFC 6901), what was expected, what came.

    None where both are equal as JSON sees it, the order of lists included.
    """
    found: list[tuple[str, str, str]] = []
    for operation in patch.diff(expected, got):
        path, op = operation["path"], operation["op"]
        was = _NOTHING if op == "add" else _text(resolve_pointer(expected, path))
        came = _NOTHING if op == "remove" else _text(operation["value"])
        if op == "add" and found and (found[-1][0], found[-1][2]) == (path, _NOTHING):
            was = found.pop()[1]  # removed just before: the item of a list, now another one
        found.append((path, was, came))
        expected = jsonpatch.apply_patch(expected, [operation])
    return [_line(*difference) for difference in found]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _line(path: str, was: str, came: str) -> str:
    same = sum(1 for _ in takewhile(bool, map(eq, was, came)))
    start = max(0, same - _BEFORE) if max(len(was), len(came)) > _SHOWN else 0
    return f"{path}: expected {_short(was, start)}, got {_short(came, start)}"


def _short(text: str, start: int) -> str:
    """What is shown from `start` on: a script or a status has hundreds of characters."""
    end = start + _SHOWN
    return f"{'…' if start else ''}{text[start:end]}{'…' if text[end:] else ''}"
