"""Change values in YAML text and leave every other line exactly as it is.

The text is edited where its nodes stand, never dumped: a round trip through any YAML
library moves comments, indentation or line breaks somewhere. What comes out is read again
and compared with what was wanted; a document for which that fails is written afresh, and
the caller told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from webhook.offline.yamledit import nodes as yaml_nodes
from webhook.offline.yamledit import parse as yaml_parse
from webhook.offline.yamledit import style as yaml_style
from webhook.offline.yamledit.edits import Edit, Rewriter, Unsupported, line_start
from webhook.offline.yamledit.nodes import ManifestError, Mapping, Node, Sequence, same
from webhook.offline.yamledit.style import Style


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The new text, and the lines at which documents begin that were written afresh."""

    text: str
    afresh: tuple[int, ...] = ()


def rewrite(text: str, roots: Iterable[Node], wanted: Iterable[Any]) -> Rewritten:
    """Make the documents of `text` mean `wanted`: their `value_of`, changed in place.

    Raises:
        ManifestError: even written afresh the text would not mean it.
    """
    pairs = list(zip(roots, wanted, strict=True))
    values = [value for _, value in pairs]
    edits = [_edits(text, root, value) for root, value in pairs]
    if not text.endswith("\n") and not _means(_apply(text, edits), values):
        text += "\n"  # a literal block at the end of the file may need it
        edits = [_edits(text, root, value) for root, value in pairs]
    new = _apply(text, edits)
    if not _means(new, values):
        edits = list(_checked(text, edits, pairs))
        new = _apply(text, edits)
    afresh = tuple(at.afresh for at in edits if at.afresh is not None)
    if afresh and not _means(new, values):
        raise ManifestError("cannot be rewritten", afresh[0])
    return Rewritten(new, afresh)


@dataclass(frozen=True, slots=True)
class _Edits:
    """The edits of one document; `afresh` is its line where they are one that replaces it all."""

    edits: list[Edit]
    afresh: int | None = None


def _checked(text: str, edits: list[_Edits], pairs: list[tuple[Node, Any]]) -> Iterator[_Edits]:
    """Each document's edits, or those that write it afresh where alone they are not right."""
    old = [yaml_nodes.value_of(root) for root, _ in pairs]
    for at, (root, value) in enumerate(pairs):
        alone = _apply(text, [edits[at]])
        right = _means(alone, [*old[:at], value, *old[at + 1 :]])
        yield edits[at] if right else _afresh(text, root, value)


def _means(text: str, values: list[Any]) -> bool:
    try:
        found = [yaml_nodes.value_of(root) for root in yaml_parse.parse(text)]
    except ManifestError:
        return False
    return same(found, values)


def _edits(text: str, root: Node, wanted: Any) -> _Edits:
    if same(yaml_nodes.value_of(root), wanted):
        return _Edits([])
    rewriter = Rewriter(text, _style(text, root))
    try:
        rewriter.value(root, wanted, None)
    except Unsupported:
        return _afresh(text, root, wanted)
    return _Edits(rewriter.edits)


def _apply(text: str, documents: Iterable[_Edits]) -> str:
    """Carry out edits that do not overlap; those at one place in the order given."""
    edits = [edit for document in documents for edit in document.edits]
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += [text[at : edit.start], edit.text]
        at = max(at, edit.end)
    return "".join([*parts, text[at:]])


def _afresh(text: str, root: Node, value: Any) -> _Edits:
    style = _style(text, root)
    behind_marker = text[line_start(text, root.start) : root.start].strip()
    if behind_marker or not yaml_style.is_block(value):
        return _Edits([Edit(root.start, root.end, yaml_style.flow(value))], root.line)
    lines = yaml_style.block(value, root.column, style)
    fresh = style.newline.join(lines).lstrip(" ")
    return _Edits([Edit(root.start, root.end, fresh)], root.line)


def _style(text: str, root: Node) -> Style:
    """What most of the document does."""
    steps: Counter[int] = Counter()
    dashes: Counter[int] = Counter()
    for outer, inner in _nested(root):
        step = inner.column - outer
        if isinstance(inner, Sequence):
            dashes[step] += 1
        else:
            steps[step] += 1
    newline = "\r\n" if "\r\n" in text[root.start : root.end] else "\n"
    return Style(_most(steps, 2), _most(dashes, 0), newline)


def _most(counts: Counter[int], default: int) -> int:
    likely = {step: count for step, count in counts.items() if 0 <= step <= 8}
    return max(likely, key=likely.__getitem__, default=default)


def _nested(node: Node) -> Iterator[tuple[int, Mapping | Sequence]]:
    """Every block collection without an anchor that is the value of a key, and the key's column."""
    if isinstance(node, Mapping) and not node.flow:
        for entry in node.entries:
            inner = entry.value
            if isinstance(inner, (Mapping, Sequence)) and not (inner.flow or inner.anchored):
                yield entry.key.column, inner
            yield from _nested(inner)
    elif isinstance(node, Sequence) and not node.flow:
        for item in node.items:
            yield from _nested(item)
