"""Scalars as kubectl's YAML reads them, and fresh YAML text for new values.

kubectl reads YAML 1.1 as go-yaml v2 does (sigs.k8s.io/yaml): `on` and `y` are booleans,
0644 is octal, a date is a string. PyYAML and YAML 1.2 each differ somewhere, so the rules
stand here, once for reading and once for deciding what needs quotes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = ("y", "yes", "true", "on")
_FALSE: Final = ("n", "no", "false", "off")
_BOOLEANS: Final = {
    spelled: value
    for words, value in ((_TRUE, True), (_FALSE, False))
    for word in words
    for spelled in (word, word.capitalize(), word.upper())
}
_INTEGER: Final = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_A_NUMBER: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

# What is certainly a string without quotes: words, paths, images, URLs, flags, quantities.
_PLAIN: Final = re.compile(r"(?:--?)?[A-Za-z/][\w./@+=,-]*(?::[\w./@+=,-]+)*", re.ASCII)
_QUANTITY: Final = re.compile(r"[1-9][0-9]*(?:m|[kKMGTP]i?|Ei)", re.ASCII)
# What YAML allows in double quotes only as an escape, and what no reader agrees upon.
_UNPRINTABLE: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
# Several lines that a literal block can hold: no control character but tab, no space at an end.
_LITERAL: Final = re.compile(r"(?!\s)[^\x00-\x08\x0b-\x1f]*[^\s\x00-\x1f]\n?")


def resolve(text: str) -> Any:
    """The value of a plain scalar.

    Raises:
        ValueError: infinity or not a number, which JSON has not.
    """
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text.replace("_", ""))
    if _NOT_A_NUMBER.fullmatch(text):
        raise ValueError(f"{text} is no number that JSON has")
    if _FLOAT.fullmatch(text):
        return _float(text)
    return text


def _integer(text: str) -> int:
    sign, digits = (text[0], text[1:]) if text[0] in "+-" else ("", text)
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    return int(sign + digits, 8 if octal else 0)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


@dataclass(frozen=True, slots=True)
class Style:
    """How a document is written: `indent` of mappings, `dash` of sequences under their key."""

    indent: int = 2
    dash: int = 0
    newline: str = "\n"


def quoted(text: str) -> str:
    """A double-quoted scalar; JSON and YAML read it alike."""
    escaped = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", escaped)


def flow(value: Any) -> str:
    """`value` on one line, as JSON, which is YAML too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(name)}: {flow(at)}" for name, at in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def scalar(value: Any) -> str:
    """A scalar, or an empty collection, on one line; without quotes where nobody needs them."""
    if isinstance(value, str):
        if _is_plain(value):
            return value
        if '"' in value and value.isprintable():
            return "'" + value.replace("'", "''") + "'"
    return flow(value)


def _is_plain(text: str) -> bool:
    if not (_PLAIN.fullmatch(text) or _QUANTITY.fullmatch(text)):
        return False
    return text not in _BOOLEANS and text not in _NULLS


def is_block(value: Any) -> bool:
    """Whether `value` takes lines of its own: a collection that is not empty."""
    return isinstance(value, (dict, list)) and bool(value)


def block(value: Any, column: int, style: Style) -> list[str]:
    """The lines of a collection that is not empty; each is indented, none has its newline."""
    if isinstance(value, dict):
        return [line for name, at in value.items() for line in entry(name, at, column, style)]
    return [line for at in value for line in item(at, column, style)]


def entry(name: str, value: Any, column: int, style: Style) -> list[str]:
    """The lines of one key of a mapping at `column`."""
    key = f"{' ' * column}{scalar(name)}:"
    if is_block(value):
        step = style.dash if isinstance(value, list) else style.indent
        return [key, *block(value, column + step, style)]
    return list(_scalar_lines(key, value, column + style.indent))


def item(value: Any, column: int, style: Style) -> list[str]:
    """The lines of one item of a sequence whose dashes stand at `column`."""
    dash = " " * column + "-"
    if is_block(value):
        first, *rest = block(value, column + 2, style)
        return [f"{dash} {first[column + 2 :]}", *rest]
    return list(_scalar_lines(dash, value, column + 2))


def _scalar_lines(head: str, value: Any, column: int) -> Iterator[str]:
    if not isinstance(value, str) or not _is_literal(value):
        yield f"{head} {scalar(value)}"
        return
    body = value.rstrip("\n")
    trailing = len(value) - len(body)
    yield f"{head} |{'-' if not trailing else ''}"
    for line in body.split("\n"):
        yield " " * column + line if line else ""


def _is_literal(text: str) -> bool:
    """Whether `text` can be a literal block: several lines, at most one newline at the end."""
    several = "\n" in text.rstrip("\n")
    return several and bool(_LITERAL.fullmatch(text)) and not _UNPRINTABLE.search(text)
