"""Parts 7 and 8: what is shown by tests that have what it takes: a store of objects, a real API server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tools.attack.table import Figure, Row, Run

_ROOT: Final = Path(__file__).parents[2]
_SECONDS: Final = 240.0
_SAID: Final = re.compile(r"^(?:E   |ERROR |FAILED ).*$", re.MULTILINE)

# By node id, as pytest has them. A row without one is a miss: nothing shows it.
FUTURE: Final = (
    "tests/certs/shared/test_authorities.py::test_signing_from_the_future",
    "tests/certs/shared/test_clients.py::test_from_the_future",
    "tests/certs/test_clocks.py::test_clients_and_daemons",
)
POLICIES: Final = (
    "tests/cluster/test_self_check.py::test_it_ends",
    "tests/cluster/test_self_check.py::test_both_are_named",
    "tests/cluster/test_self_check.py::test_a_weaker_policy_is_seen",
)


def look(tests: tuple[str, ...], _run: Run) -> Iterator[Figure]:
    """Run them in one pytest."""
    named = ", ".join(test.rpartition("/")[2] for test in tests) or "tests"
    if not tests:
        yield Figure(named, "none is named in tools/attack/proofs.py", "they pass", is_well=False)
        return
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, cwd=_ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        yield Figure(named, f"still running after {_SECONDS:g} s", "they pass", is_well=False)
        return
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]])[-1].strip("= ")
    said = _SAID.search(done.stdout + done.stderr)
    seen = last if done.returncode == 0 or said is None else f"{last}; {said[0][:200]}"
    yield Figure(named, seen, "they pass", is_well=done.returncode == 0)


ROWS: Final = (
    Row(
        "clock ahead, shared daemons",
        "certificates of clients and daemons that begin in the future",
        "renewed in the next pass",
        partial(look, FUTURE),
    ),
    Row(
        "policies",
        "each policy of dinp's removed or weakened, at a real API server",
        "the shared daemons' certs ends with a sentence that names it; the webhook's goes on",
        partial(look, POLICIES),
        is_quick=False,
        is_beside=True,
        needs_api_server=True,
    ),
)
