"""The edits that make one YAML document mean something else: each where its node stands."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from webhook.offline.yamledit import nodes as yaml_nodes
from webhook.offline.yamledit import style as yaml_style
from webhook.offline.yamledit.nodes import Alias, Entry, List, Map, Mapping, Node, Scalar, Sequence
from webhook.offline.yamledit.style import Style

_BLANK: Final = re.compile(r"(?:\s|#[^\n]*)*")  # white space and comments
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")  # anchor and tag
_COLON: Final = re.compile(r"\s*:")


@dataclass(frozen=True, slots=True)
class Edit:
    """`text` instead of the characters from `start` to `end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Slot:
    """What a value stands behind: `gap` is just behind the `:` or `-`, which is at `column`."""

    gap: int
    column: int
    is_item: bool = False
    is_flow: bool = False


class Unsupported(Exception):  # noqa: N818 - control flow: the document is written afresh
    """No way is known to change this text in place."""


def line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    """Behind the newline of the line that ends at or after `at`."""
    if at and text[at - 1] == "\n":
        return at
    return text.find("\n", at) + 1 or len(text)


class Rewriter:
    """Collects the edits of one document, walking it in the order of the text."""

    def __init__(self, text: str, style: Style) -> None:
        self.text = text
        self.style = style
        self.edits: list[Edit] = []
        self.settled: dict[int, Any] = {}  # what the anchored nodes mean from now on

    def value(self, node: Node, new: Any, slot: Slot | None) -> None:
        """Make `node` mean `new`."""
        if isinstance(node, Alias):
            told = id(node.target)
            if told not in self.settled or not yaml_nodes.same(self.settled[told], new):
                self.replace(node, new, slot)
            return
        if not self.edit(node, new, slot):
            self.replace(node, new, slot)
        elif node.anchored:
            self.settled[id(node)] = new

    def edit(self, node: Node, new: Any, slot: Slot | None) -> bool:
        """Try to change what is inside of `node`."""
        if isinstance(node, Mapping) and isinstance(new, dict):
            return self.mapping(node, new)
        if isinstance(node, Sequence) and isinstance(new, list):
            return self.sequence(node, new, slot)
        return isinstance(node, Scalar) and yaml_nodes.same(node.value, new)

    def replace(self, node: Node, new: Any, slot: Slot | None) -> None:
        """Write `new` where `node` stands."""
        if slot is None:
            raise Unsupported
        if slot.is_flow:
            space = " " if node.start == node.end else ""
            self.edits.append(Edit(node.start, node.end, space + yaml_style.flow(new)))
            return
        before = self.text[slot.gap : node.start]
        start, space = (node.start, "") if before.strip() else (slot.gap, " ")
        if not yaml_style.is_block(new):
            self.edits.append(Edit(start, node.end, space + yaml_style.scalar(new)))
        elif not slot.is_item:
            self.edits.append(Edit(start, node.end, ""))
            step = self.style.dash if isinstance(new, list) else self.style.indent
            lines = yaml_style.block(new, slot.column + step, self.style)
            self.insert(node.end, lines)
        else:
            self.edits.append(Edit(start, node.end, space + self.compact(node, new, slot)))

    def compact(self, node: Node, new: Any, slot: Slot) -> str:
        """A collection behind its dash; on one line where a comment follows."""
        if self.text[node.end : line_end(self.text, node.end)].strip():
            return yaml_style.flow(new)
        lines = yaml_style.block(new, slot.column + 2, self.style)
        return self.style.newline.join(lines).lstrip(" ")

    def insert(self, at: int, lines: list[str]) -> None:
        """Insert whole lines below the one that `at` is in."""
        newline = self.style.newline
        place = line_end(self.text, at)
        new = "".join(line + newline for line in lines)
        if place == len(self.text) and not self.text.endswith("\n"):
            new = newline + new.removesuffix(newline)
        self.edits.append(Edit(place, place, new))

    def is_first_on_line(self, at: int) -> bool:
        return not self.text[line_start(self.text, at) : at].strip()

    # ---- mappings ----

    def mapping(self, node: Mapping, new: dict[str, Any]) -> bool:
        brought = yaml_nodes.merged(node)
        kept = [entry.is_merge or entry.name in new for entry in node.entries]
        if not any(kept) or not brought.keys() <= new.keys():
            return not node.entries and not new
        for entry, stays in zip(node.entries, kept, strict=True):
            if stays:
                wanted = yaml_nodes.value_of(entry.value) if entry.is_merge else new[entry.name]
                self.value(entry.value, wanted, self.entry_slot(entry, node))
        there = {entry.name for entry in node.entries if not entry.is_merge}
        added = {
            name: at
            for name, at in new.items()
            if name not in there and not (name in brought and yaml_nodes.same(brought[name], at))
        }
        if node.flow:
            self.flow_entries(node, kept, added)
        else:
            self.remove_entries(node.entries, kept)
            column = node.entries[0].key.column
            for name, at in added.items():
                self.insert(node.end, yaml_style.entry(name, at, column, self.style))
        return True

    def entry_slot(self, entry: Entry, node: Mapping) -> Slot:
        if node.flow:
            return Slot(0, 0, is_flow=True)
        colon = _COLON.match(self.text, entry.key.end)
        if colon is None:
            raise Unsupported
        return Slot(colon.end(), node.entries[0].key.column)

    def remove_entries(self, entries: list[Entry], kept: list[bool]) -> None:
        first = kept.index(True)
        if first and not self.is_first_on_line(entries[0].key.start):
            # Behind a dash: the first key that stays moves up to it, if there is no comment.
            end, following = entries[first - 1].value.end, entries[first].key.start
            end = end if self.text[end:following].strip() else following
            self.edits.append(Edit(entries[0].key.start, end, ""))
            entries, kept = entries[first:], kept[first:]
        for entry, stays in zip(entries, kept, strict=True):
            if not stays:
                self.remove_lines(entry.key.start, entry.value.end)

    def remove_lines(self, start: int, end: int) -> None:
        self.edits.append(Edit(line_start(self.text, start), line_end(self.text, end), ""))

    def flow_entries(self, node: Mapping, kept: list[bool], added: dict[str, Any]) -> None:
        spans = [(entry.key.start, entry.value.end) for entry in node.entries]
        texts = [f"{yaml_style.quoted(name)}: {yaml_style.flow(at)}" for name, at in added.items()]
        self.flow_items(spans, kept, {len(spans): texts})

    # ---- sequences ----

    def sequence(self, node: Sequence, new: list[Any], slot: Slot | None) -> bool:
        kept, added = _aligned(node, new)
        if not kept:
            return not node.items and not new
        if node.flow:
            for old, at in kept.items():
                self.value(node.items[old], new[at], Slot(0, 0, is_flow=True))
            spans = [(item.start, item.end) for item in node.items]
            texts = {gap: [yaml_style.flow(value) for value in added[gap]] for gap in added}
            self.flow_items(spans, [at in kept for at in range(len(spans))], texts)
            return True
        dashes = self.dashes(node)
        if 0 not in kept and not self.is_first_on_line(dashes[0]):
            return False
        self.block_items(node, new, kept, dashes)
        for gap, values in added.items():
            self.insert_items(node, gap, values, dashes[0], slot)
        return True

    def block_items(
        self, node: Sequence, new: list[Any], kept: dict[int, int], dashes: list[int]
    ) -> None:
        column = dashes[0] - line_start(self.text, dashes[0])
        for at, item in enumerate(node.items):
            if at in kept:
                self.value(item, new[kept[at]], Slot(dashes[at] + 1, column, is_item=True))
            else:
                self.remove_lines(dashes[at], item.end)

    def insert_items(
        self, node: Sequence, gap: int, values: list[Any], dash: int, slot: Slot | None
    ) -> None:
        """Insert items before the item `gap`; at the top, above the comments of the first."""
        column = dash - line_start(self.text, dash)
        lines = [line for value in values for line in yaml_style.item(value, column, self.style)]
        head = node.start if node.anchored or slot is None else slot.gap
        if gap:
            self.insert(node.items[gap - 1].end, lines)
        elif "\n" in self.text[head:dash]:
            self.insert(head, lines)
        else:  # behind another dash
            above = "".join(line + self.style.newline for line in lines).lstrip(" ")
            self.edits.append(Edit(dash, dash, above + " " * column))

    def dashes(self, node: Sequence) -> list[int]:
        """Where the dash of each item stands."""
        found = []
        at = _behind(_PROPERTIES, self.text, node.start)
        for item in node.items:
            at = _behind(_BLANK, self.text, at)
            if self.text[at : at + 1] != "-":
                raise Unsupported
            found.append(at)
            at = item.end
        return found

    def flow_items(
        self, spans: list[tuple[int, int]], kept: list[bool], added: dict[int, list[str]]
    ) -> None:
        """Remove and add items of a flow collection, of which some stay."""
        staying = [at for at, stays in enumerate(kept) if stays]
        first = spans[staying[0]][0]
        self.edits.append(Edit(spans[0][0], first, ""))
        for at, following in zip(staying, [*staying[1:], len(spans)], strict=True):
            self.edits.append(Edit(spans[at][1], spans[following - 1][1], ""))
        for gap, texts in added.items():
            before = bisect_left(staying, gap)
            if before:
                end = spans[staying[before - 1]][1]
                self.edits.append(Edit(end, end, "".join(f", {text}" for text in texts)))
            else:
                self.edits.append(Edit(first, first, "".join(f"{text}, " for text in texts)))


def _behind(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _aligned(node: Sequence, new: list[Any]) -> tuple[dict[int, int], dict[int, list[Any]]]:
    """Which old item is which new one, and the new values before each old item.

    Both lists are walked once: an old item that is nowhere in the rest of the new ones is gone,
    else the new one is added. difflib would compare each of a thousand equal arguments with all.
    """
    kept: dict[int, int] = {}
    added: dict[int, list[Any]] = {}
    old, wanted = list(map(_identity, node.items)), list(map(_origin, new))
    left = Counter(wanted)
    i = j = gap = 0
    while i < len(old) or j < len(wanted):
        if i < len(old) and not left[old[i]]:
            i += 1
            continue
        left[wanted[j]] -= 1
        if i < len(old) and old[i] == wanted[j]:
            kept[i] = j
            i = gap = i + 1
        else:
            added.setdefault(gap, []).append(new[j])
        j += 1
    return kept, added


def _identity(node: Node) -> object:
    while isinstance(node, Alias):
        node = node.target
    return (type(node.value), node.value) if isinstance(node, Scalar) else id(node)


def _origin(value: Any) -> object:
    """The identity of the node that a value was read from; itself where it is new."""
    if isinstance(value, (Map, List)):
        return id(value.node)
    return id(value) if isinstance(value, (dict, list)) else (type(value), value)
