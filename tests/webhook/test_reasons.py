"""reasons: one enum, for people and machines."""

from __future__ import annotations

import re
import string
from functools import cache
from pathlib import Path
from typing import cast

import pytest

from tests import golden_cases
from tests.golden_cases import Case
from webhook import admission
from webhook.planning import plan
from webhook.pods import bounds, pod
from webhook.pods.pod import Pod
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


# No golden case can reach these: the operation is no Pod's, it takes two passes, or a Pod of many pages.
ELSEWHERE = {
    Reason.OTHER_OPERATION: "test_admission.py",
    Reason.ALREADY_DONE: "planning/test_plan.py",
    Reason.TOO_LONG: "asking/test_excess.py",
    Reason.MORE_WARNINGS: "planning/test_plan.py",
}


@pytest.mark.parametrize("reason", Reason)
def test_each_is_reached(reason: Reason) -> None:
    """A sentence that no Pod leads to is told to nobody, or nobody has read what it says of that Pod."""
    if reason in ELSEWHERE:
        tests = (Path(__file__).parent / ELSEWHERE[reason]).read_text(encoding="utf-8")
        assert f"Reason.{reason.name}" in tests
    else:
        assert reason in _golden_reasons()


@cache
def _golden_reasons() -> set[Reason]:
    found = set()
    for case in golden_cases.all_cases():
        found.add(admission.inject(case.pod, case.rule, case.config).finding.reason)
        if pod.problem(case.pod) is None:
            decided = plan.decide(cast("Pod", case.pod), case.rule, case.config)
            found |= {told.reason for told in (*decided.warnings, *decided.notes)}
    return found


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
    assert value in Reason.USERS_DOCKER_HOST.say(container="c", value=value, uses="", hint="").text
    found = Reason.USERS_DOCKER_HOST.say(container="c", value=f"{value}yz", uses="", hint="").text
    assert f" '{value}…' " in found
