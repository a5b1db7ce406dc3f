"""`make bench`: how fast dinp is, next to the targets. Takes about six minutes.

    python -m bench [--require-cluster] [--only PART …] [--before COMMIT]

Prints a table and writes build/bench/results.json. A target that is not met is a finding and
no failure. Exit code 1: the real API server cannot be had, with --require-cluster; 2: a
part could not be measured.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from bench import beside, cluster, inprocess, load, versus
from bench.report import Part, Report
from bench.servers import BenchError

_ROOT: Final = Path(__file__).parent.parent
_RESULTS: Final = _ROOT / "build" / "bench" / "results.json"
_PARTS: Final[dict[str, Callable[[], Part]]] = {
    "process": load.measure_process,
    "inprocess": inprocess.measure,
    "tls": load.measure_load,
    "beside": beside.measure,
    "cluster": cluster.measure,
}
_TARGETS: Final = {"tls": load.TARGETS, "beside": beside.TARGETS, "cluster": cluster.TARGETS}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure dinp.")
    parser.add_argument("--require-cluster", action="store_true", help="fail without API server")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument(
        "--before",
        metavar="COMMIT",
        help="measure this checkout next to an older one, and no other part",
    )
    options = parser.parse_args()
    parts = {name: _PARTS[name] for name in options.only}
    if options.before:
        parts = {"versus": partial(versus.measure, options.before)}
    report = Report()
    code = 0
    for name, measure in parts.items():
        report.noise()
        print(f"bench: {name} …", file=sys.stderr, flush=True)
        try:
            report.parts.append(measure())
        except BenchError as error:
            report.parts.append(_missing(name, error))
            code = code if name == "cluster" else 2
            if name == "cluster" and options.require_cluster:
                code = 1
    report.noise()
    print("\n".join(report.lines()))
    report.write(_RESULTS)
    print(f"All figures are in {_RESULTS.relative_to(_ROOT)}.")
    return code


def _missing(name: str, error: BenchError) -> Part:
    """A part that says in place of its figures why there are none."""
    print(f"bench: {name}: {error}", file=sys.stderr)
    part = Part(name)
    part.add("NOT MEASURED", str(error).splitlines()[0])
    for what, target in _TARGETS.get(name, ()):
        part.add(what, "", target)
    return part


if __name__ == "__main__":
    sys.exit(main())
