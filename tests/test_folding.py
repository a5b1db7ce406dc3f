"""folding: a document told by its reference, whatever becomes of the reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.folding import fold, unfold

ARGS = ["dockerd", "--host=unix:///a", "--host=tcp://127.0.0.1:1", "--tls=false", "--group=1"]


def mount(path: str) -> dict[str, str]:
    return {"name": "v", "mountPath": path}


@pytest.mark.parametrize(
    ("folded", "reference", "document"),
    [
        ({}, {"a": 1, "b": ["x"]}, {"a": 1, "b": ["x"]}),
        ({"b": None, "c": 3}, {"a": 1, "b": 2}, {"a": 1, "c": 3}),
        ({"a": {"b": 2}}, {"a": {"b": 1, "c": 1}}, {"a": {"b": 2, "c": 1}}),
        ({"--host=tcp": None, "--tls": None}, ARGS, [*ARGS[:2], ARGS[4]]),
        ({"--group": ["--group=2", "--root"]}, ARGS, [*ARGS[:4], "--group=2", "--root"]),
        (
            {"--tls": ["--tlsverify"], "--group": ["--group=2"]},
            ARGS,
            [*ARGS[:3], "--tlsverify", "--group=2"],
        ),
        ({"at the end": ["--mtu=1"]}, ARGS, [*ARGS, "--mtu=1"]),
        ({"before --host=tcp": ["--mtu=1"]}, ARGS, [*ARGS[:2], "--mtu=1", *ARGS[2:]]),
        (
            {"before /b": [mount("/c")]},
            [mount("/a"), mount("/b")],
            [mount("/a"), mount("/c"), mount("/b")],
        ),
    ],
)
def test_only_what_is_otherwise(folded: Any, reference: Any, document: Any) -> None:
    """What is as in the reference is not said, and the rest by the items' names."""
    assert folded == fold(reference, document)
    assert document == unfold(reference, folded)


ARGUMENTS = st.lists(st.from_regex(r"--[abc]{1,2}(=[ab](:[ab])?)?", fullmatch=True), unique=True)


@given(ARGUMENTS, ARGUMENTS)
def test_nothing_is_lost(reference: list[str], document: list[str]) -> None:
    """What was folded unfolds to itself, in its order."""
    assert document == unfold(reference, fold(reference, document))


def test_a_changed_reference_leaves_the_differences() -> None:
    """An argument more, or one with another value, is that of every document told by it."""
    folded = fold(ARGS, [*ARGS[:2], "--group=2", "--mtu=1"])
    now = ["dockerd", "--new", ARGS[1], "--host=tcp://127.0.0.1:9", "--tls=true", "--group=1"]
    assert ["dockerd", "--new", ARGS[1], "--group=2", "--mtu=1"] == unfold(now, folded)


def test_a_difference_from_nothing_is_told() -> None:
    """What the reference no longer has cannot be otherwise."""
    assert ["dockerd", "<not in the reference: --tls>"] == unfold(["dockerd"], {"--tls": None})
