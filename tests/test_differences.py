"""differences: a failure says where, what was expected and what came."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differences import assert_same, differences


def pod(*args: str) -> dict[str, Any]:
    return {"spec": {"initContainers": [{"name": "dinp-dind", "args": list(args)}]}}


@pytest.mark.parametrize(
    ("told", "expected", "got"),
    [
        ([], pod("dockerd", "--bip=a"), pod("dockerd", "--bip=a")),
        (
            ['/spec/initContainers/0/args/1: expected "--bip=a", got "--bip=b"'],
            pod("dockerd", "--bip=a", "--tls=false"),
            pod("dockerd", "--bip=b", "--tls=false"),
        ),
        (
            ['/spec/initContainers/0/args/1: expected nothing, got "--debug"'],
            pod("dockerd", "--bip=a"),
            pod("dockerd", "--debug", "--bip=a"),
        ),
        (
            ['/spec/initContainers/0/args/0: expected "dockerd", got nothing'],
            pod("dockerd", "--bip=a"),
            pod("--bip=a"),
        ),
        (['/a~1b: expected {"c": 1}, got []'], {"a/b": {"c": 1}}, {"a/b": []}),
        (
            ["/a: expected 1, got true", "/b: expected nothing, got null"],
            {"a": 1},
            {"a": True, "b": None},
        ),
    ],
)
def test_a_difference_is_told_by_its_path(told: list[str], expected: Any, got: Any) -> None:
    """What changed, came or went is named where it is."""
    assert told == differences(expected, got)


def test_order_counts() -> None:
    """The same arguments in another order are others."""
    assert [] != differences(pod("dockerd", "--a", "--b"), pod("dockerd", "--b", "--a"))


def test_long_values_are_shown_where_they_differ() -> None:
    """Of a script, the line shows some words around the first that differs."""
    before, after = "set -e\n" * 100, "exec dockerd\n" * 100
    (line,) = differences(
        {"a": f"{before}umask 022\n{after}"}, {"a": f"{before}umask 077\n{after}"}
    )
    assert "umask 022" in line
    assert "umask 077" in line
    assert len(line) < 160


def test_a_failure_names_all_paths() -> None:
    """A changed argument and a new one fail with a line each, and nothing else."""
    with pytest.raises(AssertionError) as failure:
        assert_same(pod("dockerd", "--bip=a"), pod("dockerd", "--bip=b", "--debug"))
    assert [
        '/spec/initContainers/0/args/1: expected "--bip=a", got "--bip=b"',
        '/spec/initContainers/0/args/2: expected nothing, got "--debug"',
    ] == str(failure.value).splitlines()
