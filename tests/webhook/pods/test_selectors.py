"""selectors: label selectors as in meta/v1."""

from __future__ import annotations

from typing import Literal

import pytest

from webhook.pods import selectors
from webhook.pods.selectors import LabelSelector, LabelSelectorRequirement

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


@pytest.mark.parametrize(
    ("equal", "other", "absent", "operator"),
    [
        (True, False, False, "In"),
        (False, True, True, "NotIn"),
        (True, True, False, "Exists"),
        (False, False, True, "DoesNotExist"),
    ],
)
def test_operators(equal: bool, other: bool, absent: bool, operator: Operator) -> None:
    """Each operator for a label with a listed value, with another, and without the label."""
    values = ("x", "y") if operator in {"In", "NotIn"} else ()
    requirement = LabelSelectorRequirement(key="a", operator=operator, values=values)
    selector = LabelSelector(match_expressions=(requirement,))
    assert equal == selectors.matches(selector, {"a": "y"})
    assert other == selectors.matches(selector, {"a": "z"})
    assert absent == selectors.matches(selector, {"b": "x"})


def test_all_of_a_selector_must_hold() -> None:
    """matchLabels and matchExpressions are anded; an empty selector matches every Pod."""
    exists = LabelSelectorRequirement(key="b", operator="Exists")
    selector = LabelSelector(match_labels={"a": "1"}, match_expressions=(exists,))
    assert selectors.matches(selector, {"a": "1", "b": ""})
    assert not selectors.matches(selector, {"a": "2", "b": ""})
    assert not selectors.matches(selector, {"a": "1"})
    assert selectors.matches(LabelSelector(), {})
