"""patch: RFC 6902 operations, few and readable."""

from __future__ import annotations

from typing import Any

import pytest

from webhook.pods import patch


def mount(path: str, name: str = "v") -> dict[str, Any]:
    return {"name": name, "mountPath": path}


@pytest.mark.parametrize(
    ("operations", "old", "new"),
    [
        ([], {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ([{"op": "replace", "path": "", "value": 2}], 1, 2),
        ([{"op": "replace", "path": "/a", "value": True}], {"a": 1}, {"a": True}),
        ([{"op": "replace", "path": "/a", "value": 1.0}], {"a": 1}, {"a": 1.0}),
        ([{"op": "replace", "path": "/a", "value": None}], {"a": {}}, {"a": None}),
        ([{"op": "remove", "path": "/a~1b~0c"}], {"a/b~c": 1}, {}),
        ([{"op": "add", "path": "/~01", "value": 1}], {}, {"~1": 1}),
        ([{"op": "add", "path": "/0", "value": 1}], [2], [1, 2]),
        ([{"op": "remove", "path": "/0"}], [1, 2], [2]),
        ([{"op": "add", "path": "/1", "value": 2}], [1], [1, 2]),
        (
            [{"op": "remove", "path": "/0"}, {"op": "add", "path": "/0", "value": 1.0}],
            [1],
            [1.0],
        ),
        # An item is known by its name, so what changes is its field.
        (
            [{"op": "replace", "path": "/0/x", "value": 2}],
            [{"name": "a", "x": 1}, {"name": "b"}],
            [{"name": "a", "x": 2}, {"name": "b"}],
        ),
        # mountPath before name: several mounts have the name of one volume.
        (
            [{"op": "add", "path": "/0", "value": mount("/new")}],
            [mount("/a"), mount("/b")],
            [mount("/new"), mount("/a"), mount("/b")],
        ),
        (
            [{"op": "replace", "path": "/1/name", "value": "w"}],
            [mount("/a"), mount("/b")],
            [mount("/a"), mount("/b", "w")],
        ),
        # One with a key and one without are two things.
        (
            [{"op": "remove", "path": "/0"}, {"op": "add", "path": "/0", "value": {"name": "a"}}],
            [{}],
            [{"name": "a"}],
        ),
        ([{"op": "replace", "path": "/a", "value": []}], {"a": {}}, {"a": []}),
        ([{"op": "remove", "path": "/0"}], [[1]], []),
        (
            [{"op": "remove", "path": "/0"}, {"op": "add", "path": "/0", "value": [1, 3]}],
            [[1, 2]],
            [[1, 3]],
        ),
        ([{"op": "remove", "path": "/0"}], [{"x": 1}, {"x": True}], [{"x": True}]),
    ],
)
def test_operations(operations: list[patch.Operation], old: Any, new: Any) -> None:
    """The operations that a person would write."""
    assert operations == patch.diff(old, new)


def test_a_huge_list_does_not_stop_the_server() -> None:
    """Time grows with the length of a list, not with its square: one Pod must not stop all."""
    comparisons = 0

    class Counted(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal comparisons
            comparisons += 1
            return str.__eq__(self, other)

    size = 3000
    old = [{"name": Counted(f"a{at}")} for at in range(size)]
    new = [{"name": Counted(f"a{at}")} for at in range(0, size, 2)]
    assert size // 2 == len(patch.diff(old, new))
    assert comparisons < 20 * size


def test_many_fields_that_go_are_one_operation() -> None:
    """A container with a hundred thousand fields of nobody's is written anew, not field by field."""
    old = {"a": {"name": "x", **{f"field{at}": 1 for at in range(1000)}}}
    new = {"a": {"name": "x", "image": "y"}}
    assert [{"op": "replace", "path": "/a", "value": new["a"]}] == patch.diff(old, new)
