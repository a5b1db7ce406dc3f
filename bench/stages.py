"""Microseconds that each stage of a review takes, in process: the median over a corpus of Pods.

    python -m bench.stages [FOLDER]        default: ../shared/corpus

Every Pod is annotated for sidecar mode, so that most take the whole way. A stage's figure is
the least of five rounds, as noise only adds; stages of one Pod are timed one after another,
so their ratios hold on a noisy machine.
"""

from __future__ import annotations

import statistics
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tools import corpus
from tools.serving import admission_review
from webhook import admission, mutation
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.planning import plan
from webhook.pods import patch

_ROUNDS, _CALLS = 5, 20
_RULE = RULES["/pods/annotated"]
_CONFIG = Config()


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else corpus.CORPUS
    rows = [measure(corpus.annotated(row.pod, "sidecar")) for row in corpus.read(folder)]
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    whole = medians["whole review"]
    print(f"median of {len(rows)} Pods, {medians.pop('bytes'):.0f} bytes a review")
    for name, micros in medians.items():
        print(f"{name:28} {micros:8.1f} µs {micros / whole:6.0%}")


def measure(pod: dict[str, Any]) -> dict[str, float]:
    """The stages for one Pod; a Pod that takes no part in a stage is timed on doing nothing."""
    body = msgspec.json.encode(admission_review(pod))
    decided = plan.decide(pod, _RULE, _CONFIG)  # type: ignore[arg-type]  # a Pod is a dict
    new = mutation.mutate(pod, decided)  # type: ignore[arg-type]
    return {
        "bytes": len(body),
        "msgspec, untyped decode": _micros(lambda: msgspec.json.decode(body)),
        "decode and check": _micros(lambda: admission._decode(body)),  # noqa: SLF001 - a stage
        "decide": _micros(lambda: plan.decide(pod, _RULE, _CONFIG)),  # type: ignore[arg-type]
        "mutate": _micros(lambda: mutation.mutate(pod, decided)),  # type: ignore[arg-type]
        "diff": _micros(lambda: patch.diff(pod, new)),
        "whole review": _micros(lambda: admission.review(body, _RULE, _CONFIG)),
    }


def _micros(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, number=_CALLS, repeat=_ROUNDS)) / _CALLS * 1e6


if __name__ == "__main__":
    main()
