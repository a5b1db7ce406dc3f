"""reasons: one enum, for people and machines."""

from __future__ import annotations

import re
import string

import pytest

from tests import golden_cases
from tests.golden_cases import Case
from webhook import admission
from webhook.pods import bounds
from webhook.reasons import Effect, Finding, Reason


def blanks(reason: Reason) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(reason.text) if name]


@pytest.mark.parametrize("reason", Reason)
def test_a_value_is_a_metric_label(reason: Reason) -> None:
    """The value is the member's name in small letters: fixed, and never a user's text."""
    assert reason.name.lower() == reason.value
    assert re.fullmatch(r"[a-z_]+", reason.value)


# What may become of a Pod for a reason with this effect.
OUTCOMES = {
    Effect.NONE: {"unchanged"},
    Effect.LEFT: {"unchanged"},
    Effect.TOLD: {"mutated"},  # by dinp.io/status
    Effect.INJECTED: {"mutated"},
    Effect.DENIED: {"denied"},
    Effect.BLOCKED: {"denied", "mutated"},  # by dinp.io/status
}


@pytest.mark.parametrize("case", golden_cases.all_cases(), ids=lambda case: case.folder.name)
def test_the_effect_is_what_happens(case: Case) -> None:
    """Whatever is found, and by whichever step, the Pod fares as its reason says."""
    found = admission.inject(case.pod, case.rule, case.config)
    effect = found.finding.reason.effect
    assert found.outcome in OUTCOMES[effect]
    if effect in {Effect.NONE, Effect.LEFT, Effect.DENIED}:
        assert () == found.warnings
    if effect in {Effect.TOLD, Effect.BLOCKED} and found.outcome == "mutated":
        assert (found.finding.text,) == found.warnings


@pytest.mark.parametrize("reason", Reason)
def test_a_sentence_never_waits_for_quota(reason: Reason) -> None:
    """Controllers retry a denial that says "exceeded quota" for ever."""
    assert "exceeded quota" not in reason.text


@pytest.mark.parametrize("reason", Reason)
def test_text_of_users_is_taken_as_it_is(reason: Reason) -> None:
    """Braces, quotes and dollars of a user's do not meet the formatter a second time."""
    odd = "{0} {x!r} %s $(X) \"'☃"
    found = reason.say(**dict.fromkeys(blanks(reason), odd))
    assert str(found) == found.text
    assert reason is found.reason
    assert (odd in found.text or repr(odd) in found.text) == bool(blanks(reason))


def test_a_missing_blank_is_a_bug_of_ours() -> None:
    """Not a half sentence for people to wonder about."""
    with pytest.raises(KeyError, match="signals"):
        Reason.NODE_AGENT.say(mode="sidecar")


def test_findings_are_values() -> None:
    """Equal when they say the same, so that warnings are told once."""
    assert Finding(Reason.OPTED_OUT, "dinp.io/inject is false") == Reason.OPTED_OUT.say()
    assert len({Reason.OPTED_OUT.say(), Reason.OPTED_OUT.say()}) == 1


def test_a_long_blank_is_cut() -> None:
    """However many warnings there are of one long text, they are short."""
    value = "x" * bounds.QUOTED
    assert value in Reason.USERS_DOCKER_HOST.say(container="c", value=value).text
    found = Reason.USERS_DOCKER_HOST.say(container="c", value=f"{value}yz").text
    assert f"('{value}…')" in found
