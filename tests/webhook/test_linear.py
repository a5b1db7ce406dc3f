"""Work is linear in the size of a Pod: CPU time of whole reviews, in every rule, and the second pass."""

from __future__ import annotations

import gc
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from statistics import median

import pytest
from hypothesis import settings

from tests.webhook import large_pods
from tests.webhook.large_pods import SERVED, STEEPEST, Family, body
from webhook import admission
from webhook.asking.config import Config
from webhook.asking.rules import Rule
from webhook.offline.yamledit import nodes, parse, text

ATTEMPTS = 20  # of what seems steep; a busy machine takes away the worst of some


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    """Neither the garbage collector nor the tracing of coverage takes part."""
    tracing = sys.gettrace()
    gc.collect()
    gc.disable()
    sys.settrace(None)
    yield
    sys.settrace(tracing)
    gc.enable()


def seconds(reviewed: bytes, rule: Rule) -> float:
    began = time.thread_time()
    with suppress(admission.ReviewError):  # as for another kind than Pod
        admission.review(reviewed, rule, Config())
    return time.thread_time() - began


def growth(few: Callable[[], float], many: Callable[[], float]) -> float:
    """How many times as long `many` takes: the median of several turns, each with one of both side by side.

    The least of each by itself would not do: one short turn alone on a core, and a busy neighbour in all
    others, made 4 into 7.1.
    """
    turns: list[float] = []
    for _ in range(ATTEMPTS):
        short = few()
        turns.append(many() / short)
        if median(turns) <= STEEPEST:
            break
    return median(turns)


def n_of(family: Family) -> int:
    """Few enough to be quick, and enough that what is quadratic is most of the time.

    `make unit`, whose hypothesis profile is "quick", takes a third: `make test` sees what hides there.
    """
    if not family.name.startswith("list"):
        # Annotations that dinp parses end at 16 KiB (bounds.ANNOTATION): a Pod above that goes another way.
        is_bounded = "annotations.dinp.io" in family.name or "safe-to-evict" in family.name
        whole = 4000 if is_bounded else 16_000
    else:
        whole = 480 if large_pods.are_containers(family) else 1200
    return whole // 3 if settings.get_current_profile_name() == "quick" else whole


def test_work_grows_with_the_pod() -> None:
    """Four times as much of any list, mapping or text that dinp reads takes four times as long."""
    steep = {}
    for family, served in zip(large_pods.families(), itertools.cycle(SERVED), strict=False):
        n = n_of(family)
        few, many = body(family, n, served), body(family, 4 * n, served)
        found = growth(partial(seconds, few, served.rule), partial(seconds, many, served.rule))
        if found > STEEPEST:
            steep[family.name, served] = found
    assert {} == steep


def test_command_line_grows_with_the_file() -> None:
    """`dinp inject` takes four times as long for four times the arguments, all of them equal."""

    def rewritten(n: int) -> float:
        file = "a:\n" + "- x\n" * n + "b: 1\n"
        roots = parse.parse(file)
        value = nodes.value_of(roots[0])
        value["a"].append("z")
        began = time.thread_time()
        assert text.rewrite(file, roots, [value]).text == file.replace("b", "- z\nb")
        return time.thread_time() - began

    assert growth(partial(rewritten, 500), partial(rewritten, 2000)) <= STEEPEST
