"""YAML text to a tree that knows where each of its nodes stands in the text.

Only what a Kubernetes manifest may hold: keys are strings, each at most once, no tags but
YAML's own (so nothing is ever constructed), and aliases that do not multiply without end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml

from webhook.offline.yamledit import style as yaml_style
from webhook.offline.yamledit.nodes import (
    Alias,
    Entry,
    ManifestError,
    Mapping,
    Node,
    Scalar,
    Sequence,
)

# Nodes of one file with its aliases expanded: a "billion laughs" is refused before it is built.
MAX_NODES: Final = 2_000_000
MAX_DEPTH: Final = 200
_MERGE_KEY: Final = "<<"

# The same events with the same marks; the C one is ten times faster, where it was built.
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML: Final = "tag:yaml.org,2002:"
_STRINGS: Final = frozenset({"!", *(_YAML + name for name in ("str", "binary", "timestamp"))})
_RESOLVED: Final = frozenset(_YAML + name for name in ("int", "float", "bool", "null"))
_COLLECTIONS: Final = frozenset({None, "!", _YAML + "map", _YAML + "seq"})


def parse(text: str) -> list[Node]:
    """The root of each document of `text`.

    Raises:
        ManifestError: not YAML, or YAML that no manifest may hold.
    """
    try:
        return list(_Composer(text).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "not YAML"
        last = text.rstrip().count("\n")  # where what is missing was to stand
        line = min(mark.line, last) + 1 if mark else None
        raise ManifestError(f"not YAML: {problem}", line) from error
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise ManifestError(f"not YAML: {error.reason}", line) from error


class _Composer:
    """Turns the events of one file into nodes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self.anchors: dict[str, Node] = {}
        self.size = 0

    def documents(self) -> Iterator[Node]:
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.anchors = {}
                root = self.node(next(self.events), 0)
                self.size += root.size
                _check_size(self.size, root)
                yield root

    def node(self, event: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise ManifestError(f"nested more than {MAX_DEPTH} deep", event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            node = self.mapping(event, depth)
        else:
            node = self.sequence(event, depth)
        _check_size(node.size, node)
        if event.anchor is not None:
            self.anchors[event.anchor] = node  # only now: a node cannot hold itself
        return node

    def alias(self, event: Any) -> Alias:
        target = self.anchors.get(event.anchor)
        if target is None:
            line = event.start_mark.line + 1
            raise ManifestError(f"not YAML: undefined alias {event.anchor}", line)
        alias = Alias(**_place(event), target=target)
        alias.size = target.size
        return alias

    def scalar(self, event: Any) -> Scalar:
        node = Scalar(**_place(event), raw=event.value, value=_scalar_value(event))
        if event.style in {"|", ">"}:
            node.end = self.block_end(node)
        return node

    def block_end(self, node: Scalar) -> int:
        """Without the blank lines below, which count only where the header says keep (+)."""
        text = self.text[node.start : node.end]
        if "+" in text.split("\n", 1)[0].split("#", 1)[0]:
            return node.end
        return node.start + len(text.rstrip())

    def mapping(self, event: Any, depth: int) -> Mapping:
        _check_tag(event, _COLLECTIONS)
        node = Mapping(**_place(event), flow=bool(event.flow_style))
        names: set[str] = set()
        while not isinstance(after := next(self.events), yaml.MappingEndEvent):
            key = self.node(after, depth + 1)
            name = _key_name(key)
            is_merge = name == _MERGE_KEY and not after.style
            if name in names:
                raise ManifestError(f"key {name!r} is there twice", key.line)
            names.add(name)
            value = self.node(next(self.events), depth + 1)
            if is_merge:
                _check_merge(value)
            node.entries.append(Entry(_key(key), name, value, is_merge))
            node.size += 1 + value.size
        node.end = _end(node, after, [entry.value for entry in node.entries])
        return node

    def sequence(self, event: Any, depth: int) -> Sequence:
        _check_tag(event, _COLLECTIONS)
        node = Sequence(**_place(event), flow=bool(event.flow_style))
        while not isinstance(after := next(self.events), yaml.SequenceEndEvent):
            item = self.node(after, depth + 1)
            node.items.append(item)
            node.size += item.size
        node.end = _end(node, after, node.items)
        return node


def _place(event: Any) -> dict[str, Any]:
    mark = event.start_mark
    return {
        "start": mark.index,
        "end": event.end_mark.index,
        "line": mark.line + 1,
        "column": mark.column,
        "anchored": getattr(event, "anchor", None) is not None,
    }


def _end(node: Mapping | Sequence, after: Any, children: list[Node]) -> int:
    """Of a block collection the last child's end: its own mark is at the next token."""
    return int(after.end_mark.index) if node.flow else children[-1].end


def _scalar_value(event: Any) -> Any:
    if event.tag is None or event.tag in _RESOLVED:
        if event.tag is None and not event.implicit[0]:
            return event.value
        try:
            return yaml_style.resolve(event.value)
        except ValueError as error:
            raise ManifestError(str(error), event.start_mark.line + 1) from error
    _check_tag(event, _STRINGS)
    return event.value


def _check_tag(event: Any, known: frozenset[Any]) -> None:
    if event.tag not in known:
        raise ManifestError(f"tag {event.tag} is not for manifests", event.start_mark.line + 1)


def _check_size(size: int, node: Node) -> None:
    if size > MAX_NODES:
        raise ManifestError(f"more than {MAX_NODES} nodes with its aliases expanded", node.line)


def _check_merge(value: Node) -> None:
    node = value.target if isinstance(value, Alias) else value
    sources = node.items if isinstance(node, Sequence) else [node]
    for source in sources:
        if not isinstance(source.target if isinstance(source, Alias) else source, Mapping):
            raise ManifestError("<< can only merge mappings", value.line)


def _key(node: Node) -> Scalar:
    if not isinstance(node, Scalar):
        raise ManifestError("a key must be a string", node.line)
    return node


def _key_name(node: Node) -> str:
    """A key as JSON has it: kubectl turns numbers and booleans into strings."""
    value = _key(node).value
    if value is None:
        raise ManifestError("a key must be a string", node.line)
    return value if isinstance(value, str) else yaml_style.flow(value)
