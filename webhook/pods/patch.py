"""RFC 6902 operations that turn one JSON document into another."""

from __future__ import annotations

import json
from collections.abc import Hashable
from itertools import takewhile
from operator import is_
from typing import Any, Final

Operation = dict[str, Any]

# What names an item of a Kubernetes list, in order of preference: volumeMounts
# share their volume's name, so only mountPath tells two of them apart.
MERGE_KEYS: Final = ("mountPath", "name")
_ABSENT: Final = object()
# So many fields more go than there are left: one operation says it, instead of one for each.
_MANY: Final = 64


def diff(old: Any, new: Any, path: str = "") -> list[Operation]:
    """The operations in order, below `path`; what both share by identity costs next to nothing."""
    operations: list[Operation] = []
    _diff(old, new, path, operations)
    return operations


# Into one list, as generators within generators hand every operation up through each level.
def _diff(old: Any, new: Any, path: str, into: list[Operation]) -> None:
    if old is new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        _diff_dict(old, new, path, into)
    elif isinstance(old, list) and isinstance(new, list):
        _diff_list(old, new, path, into)
    elif not _equal(old, new):
        into.append({"op": "replace", "path": path, "value": new})


def _diff_dict(old: dict[str, Any], new: dict[str, Any], path: str, into: list[Operation]) -> None:
    if not old.keys() <= new.keys():
        gone = [key for key in old if key not in new]
        if path and len(gone) > _MANY + len(new):
            into.append({"op": "replace", "path": path, "value": new})
            return
        into.extend({"op": "remove", "path": f"{path}/{_escape(key)}"} for key in gone)
    for key, value in new.items():
        was = old.get(key, _ABSENT)
        if was is _ABSENT:
            into.append({"op": "add", "path": f"{path}/{_escape(key)}", "value": value})
        elif was is not value:
            _diff(was, value, f"{path}/{_escape(key)}", into)


def _diff_list(old: list[Any], new: list[Any], path: str, into: list[Operation]) -> None:
    i = j = 0  # so far the list is new[:j] + old[i:]
    shared = _shared_end(old, new)
    old_end, new_end = len(old) - shared, len(new) - shared
    kept = _Kept(new)
    while i < old_end or j < new_end:
        if i < old_end and j < new_end and _same_item(old[i], new[j]):
            _diff(old[i], new[j], f"{path}/{j}", into)
            i, j = i + 1, j + 1
        elif j == new_end or (i < old_end and old[i] not in kept):
            into.append({"op": "remove", "path": f"{path}/{j}"})
            i += 1
        else:
            into.append({"op": "add", "path": f"{path}/{j}", "value": new[j]})
            j += 1


def _shared_end(old: list[Any], new: list[Any]) -> int:
    """How many items at the end are the same objects: all of them where items were put first."""
    return sum(1 for _ in takewhile(bool, map(is_, reversed(old), reversed(new))))


class _Kept:
    """Whether an item of the old list is in the new one: a look-up, never a search.

    Nearly all are there as the same object; only for the others keys are made. An item that
    is passed already still counts, which costs an operation at most where items are doubled.
    """

    def __init__(self, new: list[Any]) -> None:
        self._new = new
        self._ids: set[int] | None = None
        self._keys: set[Hashable] | None = None

    def __contains__(self, item: Any) -> bool:
        if self._ids is None:
            self._ids = set(map(id, self._new))
        if id(item) in self._ids:
            return True
        if self._keys is None:
            self._keys = set(map(_key, self._new))
        return _key(item) in self._keys


def _key(item: Any) -> Hashable:
    """The same for two items of which `_same_item` is true: a look-up, not a search, finds one."""
    if isinstance(item, dict):
        for key in MERGE_KEYS:
            if key in item:
                value = item[key]
                return key, value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return json.dumps(item, sort_keys=True)


def _same_item(a: Any, b: Any) -> bool:
    """Whether two list items are the same thing, maybe changed: same key, else equal."""
    if a is b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        for key in MERGE_KEYS:
            if key in a or key in b:
                return key in a and key in b and bool(a[key] == b[key])
    return _equal(a, b)


def _equal(a: Any, b: Any) -> bool:
    """Equality as JSON sees it: `1 == True` and `1 == 1.0` in Python, not there."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def _escape(key: str) -> str:
    """RFC 6901."""
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key
