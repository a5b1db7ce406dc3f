"""The table: a column for each phase, then what failed.

Times count from when a create was due. One that was sent late waited for a free client: on a
machine that others keep busy, that is the machine and not dinp, so its load stands below.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence

from tools.soak.creates import Create
from tools.soak.phases import Phase

_WIDTH = 34


def lines(phases: Sequence[Phase], complaints: Counter[str]) -> list[str]:
    """What to print."""
    columns = [_column(phase) for phase in phases]
    head = "".join(f"{phase.title:>26}" for phase in phases)
    table = [f"{'':{_WIDTH}}{head}"]
    table += [
        f"{name:{_WIDTH}}" + "".join(f"{column[name]:>26}" for column in columns)
        for name in columns[0]
    ]
    for phase in phases:
        table += ["", f"{phase.title}: {'; '.join([*phase.facts, *phase.problems]) or 'done'}"]
        failures = Counter(create.failure for create in phase.creates.done if create.failure)
        table += [f"  {count} x {failure}" for failure, count in failures.most_common()]
    logged = [f"  {count} x {event}" for event, count in complaints.most_common()]
    return [*table, "", "dinp logged as a warning or worse:", *(logged or ["  nothing"])]


def failed(phase: Phase) -> int:
    """How many creates did not give an injected Pod."""
    return sum(create.failure is not None for create in phase.creates.done)


def is_well(phase: Phase) -> bool:
    """Whether it ended as it must."""
    return not phase.problems and not (phase.must_not_fail and failed(phase))


def _column(phase: Phase) -> dict[str, str]:
    done = phase.creates.done
    seconds = max(create.ended for create in done) - min(create.due for create in done)
    return {
        "times": str(phase.rounds),
        "creates": f"{len(done):,}",
        "a second": f"{len(done) / seconds:.1f}",
        "injected": f"{len(done) - failed(phase):,}",
        "refused or failed": f"{failed(phase):,}",
        "p50, p99, max ms": " / ".join(f"{each:.0f}" for each in _percentiles(done)),
        "longest wait to be sent, ms": f"{1000 * max(each.sent - each.due for each in done):.0f}",
        f"load average of {os.cpu_count()} cores": f"{phase.load:.1f}",
        "connections by the API server": str(len(phase.creates.connections)),
    }


def _percentiles(done: Sequence[Create]) -> list[float]:
    ordered = sorted(create.seconds * 1000 for create in done)
    return [percentile(ordered, share) for share in (0.5, 0.99, 1.0)]


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
