"""The soak: its table and its parts, and one short run of all of it by a real API server."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509

from tests.cluster.api import Cluster
from tools.serving import serving
from tools.soak import __main__ as soak
from tools.soak import certificates, network, report
from tools.soak.certificates import Volume
from tools.soak.creates import Create, Creates, kind_of
from tools.soak.phases import Phase

ROOT = Path(__file__).parent.parent.parent
CLUSTER = Cluster("", 0, Path(), "", Path(), Path(), Path())  # none: nothing is sent here
REFUSED = (
    'Internal error occurred: failed calling webhook "inject-sidecar.dinp.io": failed to call '
    'webhook: Post "https://dinp.dinp-system.svc:443/pods/inject/sidecar?timeout=5s": '
    "dial tcp 10.211.1.4:8443: connect: connection refused"
)


def phase(*failures: str | None, must_not_fail: bool = True) -> Phase:
    """A phase of creates that took 10 ms, 20 ms and so on."""
    made = Phase("(x)", Creates(CLUSTER, 1.0), must_not_fail=must_not_fail)
    made.creates.done = [
        Create(number, number, number + number / 100, failure)
        for number, failure in enumerate(failures, start=1)
    ]
    return made


def test_failures_are_counted_by_kind() -> None:
    """Failures that differ only in webhook, path and address are one line with their number."""
    other = REFUSED.replace("inject-sidecar", "annotated").replace("1.4:", "1.5:")
    assert kind_of(REFUSED) == kind_of(other)
    lines = report.lines([phase(None, kind_of(REFUSED), kind_of(other))], Counter())
    (line,) = [line for line in lines if "connection refused" in line]
    assert line.startswith("  2 x Internal error occurred: failed calling webhook: ")


@pytest.mark.parametrize(
    ("failures", "must_not_fail", "expected"),
    [
        ((None, None), True, True),
        ((None, "500"), True, False),
        ((None, "500"), False, True),
    ],
)
def test_judgement(failures: tuple[str | None, ...], must_not_fail: bool, expected: bool) -> None:
    """One failed create is too many where none may fail, and is only counted elsewhere."""
    assert expected == report.is_well(phase(*failures, must_not_fail=must_not_fail))


def test_problem_fails_a_phase_without_failed_creates() -> None:
    """A server that does not end well is no success."""
    made = phase(None)
    made.problems.append("a replaced server did not end well")
    assert not report.is_well(made)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile(share: float, expected: float) -> None:
    """The value that this share of all does not exceed."""
    assert expected == report.percentile(list(range(1, 101)), share)


def test_volume_is_swapped_whole(tmp_path: Path) -> None:
    """A write renames one link: through it the files of one generation are seen, and no other is left."""
    first, second = certificates.issue(), certificates.issue()
    volume = Volume(tmp_path / "volume", first.leaf)
    assert first.leaf.certificate == volume.certificate.read_bytes()
    volume.write(second.leaf)
    assert second.leaf.certificate == volume.certificate.read_bytes()
    assert second.leaf.key == volume.key.read_bytes()
    names = {path.name for path in (tmp_path / "volume").iterdir()}
    assert {"tls.crt", "tls.key", "..data", "..2"} == names


def test_new_ca_is_another_one() -> None:
    """A leaf by the same CA or by a new one of the same name, always with a new serial."""
    first = certificates.issue()
    second, third = certificates.issue(first.ca), certificates.issue()
    assert len({first.serial, second.serial, third.serial}) == 3
    assert first.ca == second.ca != third.ca
    names = {x509.load_pem_x509_certificate(each.ca.certificate).subject for each in (first, third)}
    assert len(names) == 1


def test_serial_that_is_served(tmp_path: Path) -> None:
    """What is seen is what a real `dinp serve` serves, and only to one who trusts its CA."""
    issued = certificates.issue()
    volume = Volume(tmp_path / "volume", issued.leaf)
    files = ("--tls-cert-file", str(volume.certificate), "--tls-private-key-file", str(volume.key))
    with serving(*files) as server:
        address = ("127.0.0.1", server.port)
        assert issued.serial == certificates.seen(*address, issued.ca.certificate)
        with pytest.raises(OSError, match="certificate verify failed"):
            certificates.seen(*address, certificates.issue().ca.certificate)


def test_addresses() -> None:
    """Each replica has an address of its own, in the network and never its first."""
    addresses = [network.address(number) for number in range(1200)]
    assert len(set(addresses)) == 1200
    assert "10.211.1.1" == addresses[0]


def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without unshare it ends with 2 before anything is built, and names the package."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "")
    result = CliRunner().invoke(soak.main, [])
    assert 2 == result.exit_code
    assert "there is no program unshare (package util-linux)" in result.stderr


@pytest.mark.cluster
def test_short_run() -> None:
    """One rotation and one replacement under load fail no create; a kill is only counted."""
    command = [sys.executable, "-m", "tools.soak", "--rounds", "1", "--rate", "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "1 new serials seen at every replica, 1 by new CAs" in done.stdout
    assert "1 of 1 replaced servers ended by themselves, exit code 0" in done.stdout
