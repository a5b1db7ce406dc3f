"""What the runs add up to: the rows of the table, and all figures."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Final

from bench.report import Part
from bench.start import runs
from bench.start.stamps import Stamps
from bench.start.variants import DINP, VARIANTS, Variant
from tests.node.cluster import NodeCluster

TARGETS: Final = (
    ("sooner usable than the article's YAML: dinp's slowest", 5),
    ("sooner usable than the article's YAML: dinp's fastest", 10),
)

Found = Mapping[str, Sequence[Stamps]]  # the runs of each variant


def measure_start(node: NodeCluster, names: Iterable[str], rounds: int) -> Part:
    """Run the variants by turns, in an order drawn anew each round.

    The kubelet looks at its containers once a second, and starts a client only then. A Pod
    that is created when the one before is gone would always meet the same part of that
    second, so each round begins at another.

    Raises:
        BenchError: a Pod did not end well.
    """
    chosen = list(names)
    found: dict[str, list[Stamps]] = {name: [] for name in VARIANTS if name in chosen}
    runs.timed(node, DINP["dinp-unix"], "warm")  # the files are read from the disk once
    for number in range(rounds):
        print(f"bench: round {number + 1} of {rounds} …", file=sys.stderr, flush=True)
        random.shuffle(chosen)
        for name in chosen:
            one = runs.timed(node, VARIANTS[name], f"{name}-{number}", delay=number / rounds)
            found[name].append(one)
    part = Part(f"how soon Docker can be used, {rounds} Pods each")
    part.figures = {name: [asdict(one) for one in some] for name, some in found.items()}
    for name, some in found.items():
        _add(part, VARIANTS[name], some)
    _add_ratios(part, found)
    return part


def _add(part: Part, variant: Variant, found: Sequence[Stamps]) -> None:
    end = "the Pod's end" if variant.ends else "the client's end: the Pod runs on"
    rows = {
        f"{variant.label}: usable, from the daemon's start": [one.usable for one in found],
        "  the client waits, from its own start": [one.waited for one in found],
        f"  from create to {end}": [one.pod_ended for one in found],
    }
    for what, values in rows.items():
        part.add(what, _spread(values))


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})"


def _add_ratios(part: Part, found: Found) -> None:
    usable = {name: statistics.median(one.usable for one in some) for name, some in found.items()}
    ours = {name: seconds for name, seconds in usable.items() if name in DINP}
    for (what, least), choose in zip(TARGETS, (max, min), strict=True):
        target = f"≥ {least} x"
        if not ours or "article" not in usable:
            part.add(what, "not run", target)
            continue
        name = choose(ours, key=ours.__getitem__)
        ratio = usable["article"] / ours[name]
        measured = f"{ratio:.1f} x ({name}: {usable['article']:.2f} / {ours[name]:.2f} s)"
        part.add(what, measured, target, ratio >= least)


def measure_first_tries(node: NodeCluster, count: int) -> tuple[Part, Sequence[str]]:
    """Pods of dinp whose client runs one docker command, as its first process; why some failed."""
    part = Part("no polling: the client's first process is its docker command")
    failures = list(runs.failures_of(node, list(DINP.values()), count))
    good = count - len(failures)
    part.add("Pods where it succeeds", f"{good} of {count}", "all", good == count)
    part.figures["failures"] = failures
    return part, failures
