"""The nodes of a YAML document with their places in its text, and the values they mean."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


class ManifestError(Exception):
    """A file that cannot be used; `line` counts from 1 where it is known. Exit code 3."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(slots=True, eq=False)
class Node:
    """`start` and `end` count characters; anchor and tag belong to the node."""

    start: int
    end: int
    line: int
    column: int
    anchored: bool
    size: int = field(default=1, init=False)  # with aliases expanded


@dataclass(slots=True, eq=False)
class Scalar(Node):
    """`raw` is the text of a key; `value` what it means."""

    raw: str
    value: Any


@dataclass(slots=True, eq=False)
class Alias(Node):
    """`*name`."""

    target: Node


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a Mapping; under `<<` the value is what is merged in."""

    key: Scalar
    name: str
    value: Node
    is_merge: bool


@dataclass(slots=True, eq=False)
class Mapping(Node):
    """Entries in the order of the text."""

    flow: bool
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Sequence(Node):
    """Items in the order of the text."""

    flow: bool
    items: list[Node] = field(default_factory=list)


class Map(dict[str, Any]):
    """The dict of a Mapping, and where it comes from."""

    __slots__ = ("node",)
    node: Mapping


class List(list[Any]):
    """The list of a Sequence, and where it comes from."""

    __slots__ = ("node",)
    node: Sequence


def value_of(node: Node) -> Any:
    """What `node` means: Map, List or scalar. An alias becomes a value of its own."""
    if isinstance(node, Alias):
        return value_of(node.target)
    if isinstance(node, Mapping):
        return _map(node)
    if isinstance(node, Sequence):
        sequence = List(value_of(item) for item in node.items)
        sequence.node = node
        return sequence
    return node.value if isinstance(node, Scalar) else None


def same(a: Any, b: Any) -> bool:
    """Equality as JSON sees it: neither 1 and true nor 1 and 1.0 are the same."""
    if isinstance(a, (dict, list)) and isinstance(b, (dict, list)):
        return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    return type(a) is type(b) and bool(a == b)


def merged(node: Mapping) -> dict[str, Any]:
    """What `<<` brings into a mapping; the first that has a key wins."""
    values: dict[str, Any] = {}
    for entry in node.entries:
        if entry.is_merge:
            sources = value_of(entry.value)
            for source in sources if isinstance(sources, list) else [sources]:
                values = {**source, **values}
    return values


def _map(node: Mapping) -> Map:
    own = {entry.name: value_of(entry.value) for entry in node.entries if not entry.is_merge}
    mapping = Map({**merged(node), **own})
    mapping.node = node
    return mapping
