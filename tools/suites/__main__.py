"""Run the suites of one make target side by side, and say what each took.

    python -m tools.suites unit|test|e2e|e2e-all [--at-once WORKERS] [--coverage]

What a suite lacks on this machine is said before anything runs. Such a suite is not run, and
counts as failed; where the variable CI is set, nothing is run then. Exit code 1: a test failed,
or a suite could not run.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Final

import click

from tests.cluster.assets import AssetsError
from tests.node.leftovers import remove_leftovers
from tools.processes import interrupt_by_signals
from tools.suites import needs, running, table
from tools.suites.running import Result, say
from tools.suites.table import Suite, Target

_AT_ONCE: Final = (os.cpu_count() or 2) + 1  # by three clusters two cores are busy throughout
_LAST_LINES: Final = 400


@click.command(help=__doc__, context_settings={"show_default": True})
@click.argument("target", type=click.Choice(table.TARGETS))
@click.option("--at-once", type=click.IntRange(1), default=_AT_ONCE, help="Workers side by side.")
@click.option("--coverage", is_flag=True, help="Measure what the tests execute.")
@click.option("--table", "file", type=Path, default=table.FILE, help="The table of suites.")
def main(target: Target, at_once: int, coverage: bool, file: Path) -> None:
    """Run them."""
    interrupt_by_signals()
    began = time.monotonic()
    wanted = table.of_target(table.read(file), target)
    try:
        complete = _complete(wanted)
        if len(complete) < len(wanted) and os.environ.get("CI"):
            say("CI is set, where a missing part is a failure: nothing is run")
            print(_summary(wanted, [], time.monotonic() - began))
            sys.exit(1)
        results = running.run(complete, _prepared, at_once=at_once, coverage=coverage)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if os.geteuid() == 0:
            remove_leftovers()  # of a suite that was killed
    for result in results:
        if not result.is_good:
            _show(result)
    print(_summary(wanted, results, time.monotonic() - began))
    sys.exit(0 if len(results) == len(wanted) and all(one.is_good for one in results) else 1)


def _complete(wanted: tuple[Suite, ...]) -> list[Suite]:
    """Those that lack nothing here; of each other it is said what it lacks."""
    lacking = {suite.name: needs.missing(suite) for suite in wanted}
    for name, sentences in lacking.items():
        for sentence in sentences:
            say(f"{name} cannot run, it lacks {sentence}")
    return [suite for suite in wanted if not lacking[suite.name]]


def _prepared(suite: Suite) -> bool:
    try:
        needs.prepare(suite, say)
    except AssetsError as error:
        say(f"{suite.name} cannot run: {error}")
        return False
    return True


def _show(result: Result) -> None:
    """The end of what a suite said, with its failures."""
    lines = running.log_of(result.suite).read_text(errors="replace").splitlines()
    print(f"\n{result.suite.name} ended with code {result.code}:")
    print("\n".join(lines[-_LAST_LINES:]))


def _summary(wanted: tuple[Suite, ...], results: list[Result], seconds: float) -> str:
    """The measured times beside those of the table, and last the line that CI reads."""
    by_name = {result.suite.name: result for result in results}
    lines = ["", f"{'suite':24} {'seconds':>8} {'usually':>13}  result"]
    for suite in wanted:
        found = by_name.get(suite.name)
        took = "-" if found is None else f"{found.seconds:.0f}"
        said = "not run" if found is None else f"{found.passed} passed, {found.failed} failed"
        lines.append(f"{suite.name:24} {took:>8} {suite.warm:>13}  {said}")
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results) + len(wanted) - len(results)
    lines.append(f"all of it: {seconds:.0f} s, load {os.getloadavg()[0]:.1f}")
    return "\n".join([*lines, f"{passed} passed, {failed} failed"])


if __name__ == "__main__":
    main()
