"""Scalars as kubectl reads them, and text for new values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.offline.yamledit import nodes as yaml_nodes
from webhook.offline.yamledit import parse as yaml_parse
from webhook.offline.yamledit import style as yaml_style
from webhook.offline.yamledit.style import Style

# What go-yaml v2 (sigs.k8s.io/yaml) makes of a plain scalar.
RESOLVED = [
    ("", None),
    ("~", None),
    ("Null", None),
    ("yes", True),
    ("Y", True),
    ("on", True),
    ("OFF", False),
    ("n", False),
    ("false", False),
    ("tRUE", "tRUE"),
    ("0", 0),
    ("-12", -12),
    ("1_000", 1000),
    ("0644", 420),
    ("-0644", -420),
    ("0o17", 15),
    ("0x1F", 31),
    ("0b11", 3),
    ("08", 8.0),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1e3", 1000.0),
    ("+1.", 1.0),
    ("1:30", "1:30"),
    ("2024-01-01", "2024-01-01"),
    ("100m", "100m"),
    ("1.2.3", "1.2.3"),
    ("=", "="),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    # libyaml refuses the other control characters even where they are escaped
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), RESOLVED)
def test_plain_scalars(text: str, expected: object) -> None:
    """A plain scalar means what it means to kubectl, type included."""
    assert (type(expected), expected) == (type(yaml_style.resolve(text)), yaml_style.resolve(text))


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999"])
def test_what_json_has_not(text: str) -> None:
    """Infinity and NaN are refused, as JSON has no such numbers."""
    with pytest.raises(ValueError, match=r"number"):
        yaml_style.resolve(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("docker:29-dind", "docker:29-dind"),
        ("tcp://localhost:2375", "tcp://localhost:2375"),
        ("--host=unix:///dinp/docker.sock", "--host=unix:///dinp/docker.sock"),
        ("-c", "-c"),
        ("dinp.io/mode", "dinp.io/mode"),
        ("256Mi", "256Mi"),
        ("100m", "100m"),
        ("", '""'),
        ("1", '"1"'),
        ("1e3", '"1e3"'),
        ("on", '"on"'),
        ("a b", '"a b"'),
        ("$(DOCKER_HOST)", '"$(DOCKER_HOST)"'),
        ('{"a":"it\'s"}', "'{\"a\":\"it''s\"}'"),
        ("a\tb", '"a\\tb"'),
        ("\x85\ufeff", '"\\u0085\\ufeff"'),
        (True, "true"),
        (None, "null"),
        (420, "420"),
        ([], "[]"),
        ({}, "{}"),
    ],
)
def test_scalars(value: object, expected: str) -> None:
    """Quotes stand only where another reader could see another value without them."""
    assert expected == yaml_style.scalar(value)


def test_block() -> None:
    """Nested collections, empty ones and texts of several lines are written as people do."""
    value = {"a": [{"b": 1, "c": ["x"]}, [["w"]], "z"], "d": {}, "e": "one\n\n  two\n", "f": "1\n2"}
    expected = """\
a:
  - b: 1
    c:
      - x
  - - - w
  - z
d: {}
e: |
  one

    two
f: |-
  1
  2
"""
    assert expected.splitlines() == yaml_style.block(value, 0, Style(dash=2))


@given(values)
def test_flow_is_json(value: Any) -> None:
    """Text in flow style is JSON of the same value."""
    assert value == json.loads(yaml_style.flow(value))


@given(st.dictionaries(st.text(min_size=1), values, min_size=1), st.sampled_from([0, 2, 4]))
def test_block_is_read_back(value: dict[str, Any], dash: int) -> None:
    """Text in block style means the value it was made of, in every style."""
    lines = yaml_style.block(value, 0, Style(indent=dash or 3, dash=dash))
    (root,) = yaml_parse.parse("\n".join(lines))
    assert yaml_nodes.same(value, yaml_nodes.value_of(root))
