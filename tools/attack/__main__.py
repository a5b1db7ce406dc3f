"""`make attack`: what strangers and Pod authors may send, against the built server.

    python -m tools.attack [--quick] [--seed 0] [--only ROW …] [--folder build]

The server is `dinp serve` with the arguments, the memory limit and the config file of
manifests/base, in a memory cgroup of its own, and with 1,024 open files. Each row of the table
starts another one. Exit code 1: something did not hold; the table says what was expected and what
was seen, and is written to attack.txt or attack-quick.txt in the folder, too; or no cgroup can be made here,
for which it needs root. All of it takes under eight minutes on two cores, --quick under three;
the first time a kube-apiserver is built before that, in ten minutes.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import click

from tests.cluster import assets
from tools.attack import (
    beside,
    bodies,
    clocks,
    connections,
    deployment,
    families,
    proofs,
    refused,
    report,
    too_long,
)
from tools.attack.cgroup import CgroupError, cgroup
from tools.attack.table import SERVER, Result, Row, Run, to_its_end
from tools.processes import interrupt_by_signals

TABLE: Final = (
    *families.ROWS,
    *connections.ROWS,
    *bodies.ROWS,
    *beside.ROWS,
    *refused.ROWS,
    *too_long.ROWS,
    *clocks.ROWS,
    *proofs.ROWS,
)
_BUILD: Final = Path(__file__).parents[2] / "build"
_OPEN_FILES: Final = 16_384  # of this process: all kinds of connections at once, and room


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--quick", is_flag=True, help="The short rows, and fewer families.")
@click.option("--seed", default=0, help="Picks the families of --quick, and how each is reviewed.")
@click.option("--only", multiple=True, metavar="ROW", help="Rows whose names begin like this.")
@click.option("--folder", type=Path, default=_BUILD, show_default="build", help="Of the table.")
@click.option("--program", default=SERVER, hidden=True)
def main(quick: bool, seed: int, only: tuple[str, ...], folder: Path, program: str) -> None:
    """Run it."""
    rows = [row for row in TABLE if _is_wanted(row, only, quick=quick)]
    if not rows:
        raise click.UsageError(f"no row begins so: {', '.join(row.name for row in TABLE)}")
    interrupt_by_signals()
    _raise_open_files()
    try:
        with cgroup(deployment.read().memory):
            pass  # whether it can be made, before anything else
        if any(row.needs_api_server for row in rows):
            assets.find_or_build(say)
        say(f"{len(rows)} rows, seed {seed}")
        began = time.monotonic()
        results = run_rows(rows, Run(quick, seed, say, program))
    except (CgroupError, assets.AssetsError) as error:
        print(f"attack: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    text = "\n".join(report.lines(results, time.monotonic() - began))
    folder.mkdir(exist_ok=True)
    name = "attack-quick.txt" if quick else "attack.txt"
    (folder / name).write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{text}")
    sys.exit(0 if all(result.is_well for result in results) else 1)


def say(line: str) -> None:
    """Tell where things stand."""
    print(f"attack: {line}", file=sys.stderr, flush=True)


def run_rows(rows: Sequence[Row], run: Run) -> list[Result]:
    """Look at all of them, and return what was seen in their order."""
    with ThreadPoolExecutor(1) as executor:
        beside = {row.name: executor.submit(run_row, row, run) for row in rows if row.is_beside}
        alone = {row.name: run_row(row, run) for row in rows if not row.is_beside}
        return [beside[row.name].result() if row.is_beside else alone[row.name] for row in rows]


def run_row(row: Row, run: Run) -> Result:
    """Look at one row to its end."""
    began = time.monotonic()
    say(f"{row.name}: {row.sent}")
    seen = list(to_its_end(row.look(run), run))
    result = Result(row, seen, time.monotonic() - began)
    say(f"{row.name}: {'well' if result.is_well else 'MISS'}, {result.seconds:.0f} s")
    return result


def _is_wanted(row: Row, only: tuple[str, ...], *, quick: bool) -> bool:
    if only:
        return any(row.name.startswith(name) for name in only)
    return row.is_quick or not quick


def _raise_open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, most), most))


if __name__ == "__main__":
    main()
