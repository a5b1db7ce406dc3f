"""`make soak`: no create may fail while certificates rotate and servers are replaced.

    python -m tools.soak [--rounds 20] [--rate 60] [--shutdown-delay SECONDS]

A real API server with manifests/base as it is, and dinp serving behind its Service. While
Pods are created at a steady rate in namespaces where dinp decides (failurePolicy: Fail):
(a) the serving certificate rotates, every second time by a new CA;
(b) the server is replaced, and the old one gets SIGTERM;
(c) one of two replicas is SIGKILLed.
Exit code 1: a create failed in (a) or (b); in (c) they are only counted. 2: it could not be run.
Takes four minutes, and needs root (a network namespace), util-linux and iproute2.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

import click

from tests.cluster import assets
from tests.cluster.api import Api
from tests.cluster.assets import Assets, AssetsError
from tests.cluster.control_plane import control_plane
from tests.cluster.installation import apply_base
from tests.cluster.processes import StartError
from tools.processes import interrupt_by_signals
from tools.soak import network, registration, report
from tools.soak.network import NetworkError
from tools.soak.phases import Phase, Soak
from tools.soak.registration import Trust
from tools.soak.replicas import Replicas

_ROUTING = {"enable-aggregator-routing": "true"}  # Services by their endpoints: no kube-proxy


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(1, 500), default=20, help="Rotations, replacements.")
@click.option("--rate", type=click.FloatRange(1, 500), default=60.0, help="Creates a second.")
@click.option("--shutdown-delay", type=float, help="Of dinp serve; without it, its default.")
@click.option(network.INSIDE, is_flag=True, hidden=True)
def main(rounds: int, rate: float, shutdown_delay: float | None, inside: bool) -> None:
    """Run it."""
    flags = () if shutdown_delay is None else ("--shutdown-delay", str(shutdown_delay))
    interrupt_by_signals()
    try:
        network.check()
        programs = assets.find_or_build(_say)  # may build, which takes the real network
        if not inside:
            network.enter(sys.argv[1:])
        network.prepare()
        sys.exit(_run(programs, rounds, rate, flags))
    except KeyboardInterrupt:
        sys.exit(130)
    except (AssetsError, NetworkError, StartError) as error:
        print(f"soak: {error}", file=sys.stderr)
        sys.exit(2)


def _say(line: str) -> None:
    print(f"soak: {line}", file=sys.stderr, flush=True)


def _run(programs: Assets, rounds: int, rate: float, flags: tuple[str, ...]) -> int:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dinp-soak-")))
        cluster = stack.enter_context(control_plane(programs, directory, flags=_ROUTING))
        api = stack.enter_context(closing(Api(cluster)))
        apply_base(cluster, api)
        replicas = Replicas(api, directory, stack, flags)
        soak = Soak(cluster, replicas, Trust(api), _say)
        soak.start()
        registration.wait_until_called(api)
        _say(f"dinp is called; {rate:g} creates a second from here on")
        phases = [
            soak.rotate(rounds, rate),
            soak.replace(rounds, rate),
            soak.kill(max(1, rounds // 4), rate),
        ]
        complaints = replicas.complaints()
    print("\n".join(report.lines(phases, complaints)))
    return _judge(phases)


def _judge(phases: list[Phase]) -> int:
    well = all(report.is_well(phase) for phase in phases)
    print("\nNo create failed in (a) and (b)." if well else "\nNOT AS IT MUST BE: see above.")
    return 0 if well else 1


if __name__ == "__main__":
    main()
