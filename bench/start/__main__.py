"""`make bench-start`: how soon Docker can be used in a Pod, dinp next to what is written by hand.

    python -m bench.start [--rounds N] [--pods N] [--only VARIANT …]

Runs Pods on a real node, prints a table and writes build/bench/start.json. A target that is
not met is a finding and no failure. Exit code 1: a Pod failed, or there is no node.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from bench.report import Report
from bench.servers import BenchError
from bench.start.measure import measure_first_tries, measure_start
from bench.start.variants import VARIANTS
from tests.cluster.assets import AssetsError
from tests.cluster.processes import StartError
from tests.node import programs
from tests.node.cluster import NodeCluster, node_cluster
from tests.node.leftovers import run_directory
from tools.processes import interrupt_by_signals
from tools.serving import ServingError

_ROOT: Final = Path(__file__).parents[2]
_RESULTS: Final = _ROOT / "build" / "bench" / "start.json"
_SLOW: Final = "article-20-10"  # two minutes more, and it says the same again


def main() -> int:
    """Start a node, measure, print, write; return the exit code."""
    options = _options()
    interrupt_by_signals()
    try:
        found = programs.find_or_build(_say)
        with run_directory() as directory, node_cluster(found, directory, _say) as node:
            return _measure(node, options)
    except KeyboardInterrupt:
        return 1
    except (AssetsError, BenchError, ServingError, StartError) as error:
        _say(str(error))
        return 1


def _options() -> argparse.Namespace:
    default = [name for name in VARIANTS if name != _SLOW]
    parser = argparse.ArgumentParser(
        prog="python -m bench.start", description="How soon Docker can be used."
    )
    parser.add_argument("--rounds", type=int, default=5, help="Pods of each variant")
    parser.add_argument("--pods", type=int, default=50, help="Pods for the first command")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=default)
    return parser.parse_args()


def _measure(node: NodeCluster, options: argparse.Namespace) -> int:
    report = Report()
    report.noise()
    if options.rounds:
        report.parts.append(measure_start(node, options.only, options.rounds))
        report.noise()
    _say(f"{options.pods} Pods whose client runs one command …")
    part, failures = measure_first_tries(node, options.pods)
    report.parts.append(part)
    report.noise()
    print("\n".join(report.lines()))
    report.write(_RESULTS)
    print(f"All figures are in {_RESULTS.relative_to(_ROOT)}.")
    for failure in failures:
        _say(failure)
    return 1 if failures else 0


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
