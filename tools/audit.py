"""Ask a vulnerability database about every package that the locks name, by pip-audit.

    make audit [ARGS="--osv-url URL"]

Asked are PyPI's own database and OSV, until one answers; with --osv-url that alone, by OSV's API.
pip-audit says "No known vulnerabilities found" also where an index serves packages and no database,
as mirrors do: it has skipped every package then. So what counts here is which packages were asked
about.

Exit code 0: a database answered for all packages, and knows of nothing. 1: it knows of something.
3: no database can be reached, or it did not answer for some packages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
SHIPPED: Final = (
    "requirements.lock"  # the first one asked about; the others build, check and release it
)
_SERVICES: Final = (("--vulnerability-service=pypi",), ("--vulnerability-service=osv",))
_PIP_AUDIT: Final = Path(sys.executable).parent / "pip-audit"


@dataclass(frozen=True, slots=True)
class Report:
    """What a database said of one lock; `skipped` are the packages that it was not asked about."""

    lock: str
    known: int
    found: tuple[str, ...]
    skipped: tuple[str, ...]


class NoDatabaseError(Exception):
    """No database has answered; the message says what happened to each."""


def main() -> int:
    """Ask about all locks, and say what is known."""
    parser = argparse.ArgumentParser(
        prog="make audit", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--osv-url", help="a database with OSV's API, such as a mirror's")
    parser.add_argument("locks", nargs="*", type=Path, help="other locks than the project's")
    given = parser.parse_args()
    others = sorted(set(ROOT.glob("requirements-*.lock")))
    services: Sequence[Sequence[str]] = _SERVICES
    if given.osv_url:
        services = (("--vulnerability-service=osv", f"--osv-url={given.osv_url}"),)
    try:
        reports = audited(given.locks or [ROOT / SHIPPED, *others], services)
    except NoDatabaseError as error:
        print(error, file=sys.stderr)
        print(
            "No vulnerability database can be reached: nothing is known of any package.",
            file=sys.stderr,
        )
        return 3
    for report in reports:
        print("\n".join(said(report)))
    if any(report.found for report in reports):
        return 1
    return 3 if any(report.skipped for report in reports) else 0


def said(report: Report) -> list[str]:
    """A report in words."""
    counted = f"{report.lock}: {report.known} packages asked about"
    lines = [f"{counted}, {len(report.found)} vulnerabilities known"]
    lines += [f"  {sentence}" for sentence in report.found]
    if report.skipped:
        lines += [f"  incomplete, the database has no answer for: {', '.join(report.skipped)}"]
    return lines


def audited(locks: Sequence[Path], services: Sequence[Sequence[str]]) -> list[Report]:
    """What the first database that answers says of each lock.

    Raises:
        NoDatabaseError: none does.
    """
    failures = []
    for service in services:
        try:
            return [_asked(lock, service) for lock in locks]
        except NoDatabaseError as error:
            failures.append(f"{' '.join(service)}: {error}")
    raise NoDatabaseError("\n".join(failures))


def _asked(lock: Path, service: Sequence[str]) -> Report:
    """What one database says of one lock.

    Raises:
        NoDatabaseError: it does not answer.
    """
    # The locks are whole and have hashes, so nothing needs to be resolved or downloaded.
    fixed = ("--disable-pip", "--require-hashes", "--format=json", "--progress-spinner=off")
    done = subprocess.run(  # noqa: S603 - our own command
        [str(_PIP_AUDIT), *fixed, *service, f"--requirement={lock}"],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return reported(lock.name, json.loads(done.stdout)["dependencies"])
    except ValueError:  # it is an exit code of 1 as well where something is found
        said_last = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        raise NoDatabaseError(said_last) from None


def reported(lock: str, dependencies: Sequence[dict[str, Any]]) -> Report:
    """pip-audit's dependencies as a report.

    Raises:
        NoDatabaseError: it has not asked about a single one.
    """
    asked = [each for each in dependencies if "skip_reason" not in each]
    if dependencies and not asked:
        raise NoDatabaseError(f"not one package of {lock}: {dependencies[0]['skip_reason']}")
    return Report(
        lock,
        known=len(asked),
        found=tuple(
            f"{each['name']} {each['version']}: {known['id']}"
            f" (fixed in {', '.join(known['fix_versions']) or 'no version'})"
            for each in asked
            for known in each["vulns"]
        ),
        skipped=tuple(each["name"] for each in dependencies if "skip_reason" in each),
    )


if __name__ == "__main__":
    sys.exit(main())
