"""sentences: what people are told, and how often."""

from __future__ import annotations

import pytest

from webhook.planning import sentences
from webhook.pods import bounds
from webhook.reasons import Finding, Reason


def said(*findings: Finding) -> list[str]:
    return [finding.text for finding in sentences.told(findings)]


def trust(container: str, path: str = "/etc/ssl") -> Finding:
    return Reason.TRUST.say(container=container, path=path, way="")


def test_containers_with_one_finding_are_one_sentence() -> None:
    """Another path is another sentence, and each stands where its first was."""
    assert ["containers a, b and c: ", "container a: the"] == [
        text[:length]
        for text, length in zip(
            said(trust("a"), trust("b"), trust("a", "/etc/pki"), trust("a"), trust("c")),
            (23, 16),
            strict=True,
        )
    ]


def test_one_container_is_told_as_it_was() -> None:
    """So is what is of no container."""
    findings = trust("a"), Reason.UNSURE.say(mode="sidecar"), Reason.UNSURE.say(mode="sidecar")
    assert findings[:2] == sentences.told(findings)


def test_a_braced_name_is_a_name() -> None:
    """A user's text around the name is not read as ours."""
    first = trust("{container}", "container b")
    assert (
        "containers {container} and b: the mount at container b"
        in said(first, trust("b", "container b"))[0]
    )


@pytest.mark.parametrize(
    ("expected", "names"),
    [
        ("a", ["a"]),
        ("a and b", ["a", "b"]),
        ("a, b and c", ["a", "b", "c"]),
        (f"{'x' * 63} and 2 more", ["x" * 63, "y" * 63, "z"]),
        (f"{'x' * 500} and 1 more", ["x" * 500, "y"]),
    ],
)
def test_some_of_many(expected: str, names: list[str]) -> None:
    """As many as a warning has room for; the first in any case."""
    assert expected == sentences.some(names)


def test_a_thousand_names_are_short() -> None:
    """A warning is cut at 256 bytes: what it says has to be among them."""
    text = sentences.some(f"step-{at}" for at in range(1000))
    assert len(text) < 2 * bounds.NAMES_TOLD
    assert text.endswith(" more")
