"""Part 1: what a review costs without a network, and against the decode of the same bytes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import jsonpatch
import msgspec

from bench import reviews
from bench.report import Part
from webhook import admission, mutation
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.planning import plan
from webhook.pods import patch

_ROUNDS: Final = 25
_ROUND_SECONDS: Final = 0.006  # for each stage in each round
_DECODE: Final = "msgspec.json.decode"
_WHOLE: Final = "whole review"
_RULE: Final = RULES["/pods/annotated"]
_CONFIG: Final = Config()
# Targets as multiples of the decode, by variant.
_TARGETS: Final[Mapping[str, float]] = {"usual": 3.5, "2,000 env variables": 2.5}

Stages = dict[str, Callable[[], object]]


def measure() -> Part:
    """Each variant of the review, as a whole and stage by stage."""
    part = Part("in process")
    for name, pod in reviews.pods().items():
        body = reviews.body(pod)
        found = _micros(_wholes(body))
        stages = _stages(body, found[_DECODE])
        times = found[_WHOLE] / found[_DECODE]
        part.figures[name] = {"bytes": len(body), "times": times, "micros": found | stages}
        target = _TARGETS.get(name)
        part.add(
            f"{name}, {len(body):,} bytes: whole review",
            f"{times:.2f} x the decode ({found[_WHOLE]:.0f} / {found[_DECODE]:.0f} µs)",
            "" if target is None else f"≤ {target} x the decode",
            None if target is None else times <= target,
        )
        if name == "usual":
            stages["jsonpatch.make_patch instead of diff"] = _jsonpatch(pod)
            for stage, micros in stages.items():
                share = micros / found[_DECODE]
                part.add(f"  {stage}", f"{micros:.1f} µs = {share:.2f} x the decode")
    return part


def _wholes(body: bytes) -> Stages:
    return {
        _DECODE: lambda: msgspec.json.decode(body),
        _WHOLE: lambda: admission.review(body, _RULE, _CONFIG),
    }


def _jsonpatch(pod: dict[str, Any]) -> float:
    decided = plan.decide(pod, _RULE, _CONFIG)  # type: ignore[arg-type]  # a Pod is a dict
    new = mutation.mutate(pod, decided)  # type: ignore[arg-type]
    return statistics.median(_round(lambda: jsonpatch.make_patch(pod, new), 1) for _ in range(20))


def _stages(body: bytes, decode: float) -> dict[str, float]:
    """Medians of each stage on a Pod just decoded: its strings have no hashes yet.

    Given against a decode of the same moment, and set by `decode`, as in `_micros`.
    """
    runs = [_stopwatch(body) for _ in range(max(_ROUNDS, min(400, 8_000_000 // len(body))))]
    return {
        name: decode * statistics.median(run[name] / run[_DECODE] for run in runs)
        for name in runs[0]
        if name != _DECODE
    }


def _stopwatch(body: bytes) -> dict[str, float]:
    """The line of admission.review, with a clock after each step."""
    began = time.perf_counter()
    msgspec.json.decode(body)
    times = {_DECODE: time.perf_counter()}
    request, pod, _ = admission._decode(body)  # noqa: SLF001 - a stage
    times["decode and check"] = time.perf_counter()
    decided = plan.decide(pod, _RULE, _CONFIG)
    times["decide"] = time.perf_counter()
    new = mutation.mutate(pod, decided)
    times["mutate"] = time.perf_counter()
    operations = patch.diff(pod, new)
    times["diff"] = time.perf_counter()
    injection = admission.Injection(new, operations, "mutated", "sidecar", decided.finding, ())
    admission._answer(request.uid, _RULE, injection)  # noqa: SLF001 - a stage
    times["answer"] = time.perf_counter()
    del request, pod, decided, new, operations, injection
    times["give the memory back"] = time.perf_counter()
    ends = [began, *times.values()]
    took = (end - start for start, end in pairwise(ends))
    return dict(zip(times, took, strict=True))


def _micros(stages: Stages) -> dict[str, float]:
    """Medians of rounds in which the stages alternate; the garbage collector runs as it does.

    What other processes do lasts longer than one round, so it hits all stages of a round
    alike: each is taken as a multiple of its round's decode, and set by the median decode.
    """
    calls = {name: _calls(stage) for name, stage in stages.items()}
    rounds = [
        {name: _round(stage, calls[name]) for name, stage in stages.items()} for _ in range(_ROUNDS)
    ]
    decode = statistics.median(each[_DECODE] for each in rounds)
    return {
        name: decode * statistics.median(each[name] / each[_DECODE] for each in rounds)
        for name in stages
    }


def _calls(stage: Callable[[], object]) -> int:
    stage()
    return max(1, int(_ROUND_SECONDS * 1e6 / _round(stage, 3)))


def _round(stage: Callable[[], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        stage()
    return (time.perf_counter() - began) / calls * 1e6
