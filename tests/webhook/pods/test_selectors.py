"""selectors: label selectors as in meta/v1."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.webhook import small_pods as build
from webhook.pods import selectors
from webhook.pods.selectors import LabelSelector, LabelSelectorRequirement, PodSelector

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


@pytest.mark.parametrize(
    ("expected", "image", "name"),
    [
        (True, "traefik", "traefik"),
        (True, "traefik:v3.1", "traefik"),
        (True, "library/traefik", "traefik"),
        (True, "registry.example.com:5000/mirror/traefik:v3@sha256:0", "traefik"),
        (True, "registry.example.com:5000/hub/datadog/agent", "datadog/agent"),
        (True, "Mirror/Traefik", "traefik"),
        (True, "newrelic/infrastructure-bundle:3", "newrelic/infrastructure*"),
        (True, "a/b/eventlistenersink-0f", "eventlistenersink-*"),
        (False, "traefik/whoami", "traefik"),
        (False, "traefik-plugin", "traefik"),
        (False, "my-traefik", "traefik"),
        (False, "traefik.example.com/app", "traefik"),
        (False, "traefik:5000/app", "traefik"),
        (False, "agent", "datadog/agent"),
        (False, "build/agent", "datadog/agent"),
        (False, "infrastructure", "newrelic/infrastructure*"),
        (False, "newrelic/infrastructure/app", "newrelic/infrastructure*"),
        (False, "app:traefik", "traefik"),
        (False, None, "traefik"),
    ],
)
def test_names_of_images(expected: bool, image: str | None, name: str) -> None:
    """The last parts of a path, whole; host, port, tag and digest are none of them."""
    row = PodSelector(images=(name,))
    pod = build.pod(build.container(image=image))
    found = selectors.row_of([row], pod, pod["spec"]["containers"])
    assert (row if expected else None) == found


def test_a_row_has_labels_or_images() -> None:
    """One of both is enough; a row with images alone is not one of every Pod."""
    row = PodSelector(images=("hub",), match_labels={"a": "b"})
    pod = build.pod(build.container(image="app"), labels={"a": "b"})
    containers = pod["spec"]["containers"]
    assert row == selectors.row_of([row], pod, containers)
    assert selectors.row_of([PodSelector(images=("hub",))], pod, containers) is None
    assert PodSelector() == selectors.row_of([PodSelector()], pod, containers)


def test_rows_of_the_config_file() -> None:
    """They come on top; one with a built-in name takes its place, or switches it off.

    One without a name has its place as one.
    """
    built_in = [PodSelector(name="a"), PodSelector(name="b")]
    new, none = PodSelector(name="b", images=("x",)), PodSelector()
    found = selectors.merged(built_in, (new, none))
    assert [built_in[0], new, PodSelector(name="2")] == found
    off = PodSelector(name="a", enabled=False)
    assert [built_in[1]] == selectors.merged(built_in, (off,))
    assert built_in is selectors.merged(built_in, ())
