"""One JSON document told by another, its reference: only what is otherwise, as a JSON merge patch.

RFC 7386, in which null says that a field is not there. Beyond it, a list changes item by item:

| key | value |
|---|---|
| an item of the reference's list | the items in its place; null: none |
| `before` and such an item | the items that stand before it |
| `at the end` | the items that follow the last one |

An item is named by its mountPath or name. A text is named by as much of it as tells it from the
others, up to a `=` or `:`, so `--group` is `--group=2375`, and stays it with another number. What no
key names stands as in the reference, in its order.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from typing import Any, Final

from webhook.pods import patch

_END: Final = "at the end"
_ABSENT: Final = object()


def fold(reference: Any, document: Any) -> Any:
    """What `document` has otherwise than `reference`; {} where both are the same."""
    if isinstance(reference, dict) and isinstance(document, dict):
        return {
            key: fold(reference.get(key), document.get(key))
            for key in {**reference, **document}
            if reference.get(key, _ABSENT) != document.get(key, _ABSENT)
        }
    if isinstance(reference, list) and isinstance(document, list):
        return _fold_list(reference, document)
    return document


def _fold_list(reference: list[Any], items: list[Any]) -> dict[str, Any]:
    names, folded = _names(reference), dict[str, Any]()
    was, now = ([json.dumps(item) for item in side] for side in (reference, items))
    for tag, start, end, new, new_end in SequenceMatcher(a=was, b=now).get_opcodes():
        if tag == "insert":
            place = _END if start == len(names) else f"before {names[start]}"
            folded[place] = items[new:new_end]
        elif tag != "equal":
            folded |= _in_place(names[start:end], items[new:new_end])
    return folded


def _in_place(names: list[str], items: list[Any]) -> dict[str, Any]:
    """Each item in the place of the one that has its name, else where the item before it is."""
    folded: dict[str, Any] = dict.fromkeys(names)
    at = 0
    for item in items:
        own = _beginnings(item)
        at = next((place for place in range(at, len(names)) if names[place] in own), at)
        folded[names[at]] = [*(folded[names[at]] or []), item]
    return folded


def unfold(reference: Any, folded: Any) -> Any:
    """The document of which `folded` is what `fold` makes now, or made of a former reference."""
    if isinstance(reference, dict) and isinstance(folded, dict):
        changed = {key: unfold(reference.get(key), value) for key, value in folded.items()}
        whole = {**reference, **changed}
        return {key: value for key, value in whole.items() if value is not None}
    if isinstance(reference, list) and isinstance(folded, dict):
        return _unfold_list(reference, folded)
    return folded


def _unfold_list(reference: list[Any], folded: dict[str, Any]) -> list[Any]:
    left, items = dict(folded), list[Any]()
    for name, item in zip(_names(reference), reference, strict=True):
        items += left.pop(f"before {name}", [])
        items += left.pop(name, [item]) or []
    items += left.pop(_END, [])
    # What the reference lost must not pass in silence: no document has these.
    return [*items, *(f"<not in the reference: {name}>" for name in left)]


def _names(items: list[Any]) -> list[str]:
    every = [_beginnings(item) for item in items]
    times = Counter(name for own in every for name in own)
    return [next((name for name in own if times[name] == 1), own[-1]) for own in every]


def _beginnings(item: Any) -> list[str]:
    """What may name it, the shortest first: `--a=b:c` may be `--a`, `--a=b`, or all of it."""
    if isinstance(item, dict):
        return [next(item[key] for key in patch.MERGE_KEYS if key in item)]
    return [*(item[: sign.start()] for sign in re.finditer("[=:]", item)), item]
