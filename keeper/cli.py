"""`dinp daemon prepare` and `dinp daemon keep`: beside dockerd in a shared daemon's Pod."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import structlog

import scripts
from certs import commands, logs
from certs.commands import FILE, CommandError
from certs.durations import Duration
from keeper.errors import SigningError

if TYPE_CHECKING:
    from keeper import certificates

_option = commands.option
_SCRIPTS: Final = ("start.sh", "dind.sh")
_LEAST_LIFETIME: Final = timedelta(seconds=600)
_TERMINATED: Final = 128 + signal.SIGTERM


_common = commands.together(
    commands.LOG_FORMAT,
    commands.KUBECONFIG,
    _option("--pod", help="Part of the request's name.  [default: the host name]"),
    _option(
        "--lifetime",
        type=Duration(),
        help="Lifetime of the certificate, 10m or more; without it the signer decides.",
    ),
    _option(
        "--ca-directory",
        type=FILE,
        default="/ca",
        help="Mounted directory of ConfigMap dinp-docker-ca.",
    ),
    _option(
        "--directory",
        type=FILE,
        default="/daemon",
        help="Directory that the daemon's container shares.",
    ),
    _option("--tls/--no-tls", default=True, help="Whether the daemon has a certificate."),
    _option("--names", default="", help="DNS names and addresses of the daemon, as in a,b,c."),
)
"""Options of both commands."""


@click.group(short_help="Run beside dockerd in a shared daemon's Pod.")
def daemon() -> None:
    """Run beside dockerd in the Pod of a shared daemon."""


@daemon.command(short_help="Write start scripts, key and certificate for the daemon.")
@_common
@_option("--timeout", type=Duration(), default="5m", help="Time to wait for the certificate.")
def prepare(**options: Any) -> None:
    """Write the start scripts, and with TLS a key and its certificate, then end."""
    logs.configure(options["log_format"])
    settings = _settings(options) if options["tls"] else None
    try:
        _write_scripts(options["directory"])
        if settings is not None:
            from keeper import certificates  # noqa: PLC0415 - aiohttp, which --no-tls does without

            _run(certificates.prepare(settings, options["timeout"]), terminated=_TERMINATED)
    except (OSError, SigningError) as error:
        raise CommandError(str(error)) from error


@daemon.command(short_help="Renew the daemon's certificate, and remove leftovers.")
@_common
@_option("--socket", default="/dinp/docker.sock", help="Socket of the daemon.")
@_option(
    "--restart-within",
    type=Duration(),
    default="30d",
    help="Time after which a daemon that is never idle is restarted for a new CA of clients.",
)
@_option(
    "--check-interval",
    type=Duration(),
    default="10s",
    help="Time between two checks of the certificates.",
)
@_option("--prune/--no-prune", default=True, help="Whether to remove leftovers of finished Pods.")
@_option("--prune-interval", type=Duration(), default="10m", help="Time between two removals.")
@_option(
    "--container-age",
    type=Duration(),
    default="1h",
    help="Age at which unused containers, anonymous volumes and networks are removed.",
)
@_option(
    "--image-age", type=Duration(), default="7d", help="Age at which unused images are removed."
)
def keep(**options: Any) -> None:
    """Renew a running daemon's certificate, and remove leftovers of finished Pods, until SIGTERM.

    dockerd reads its certificate only when it starts. So dockerd is restarted for a new one: when
    nobody uses it, or when the old certificate is about to end, or when a CA is revoked. Running
    containers survive that. Named volumes and the build cache are never removed.
    """
    from keeper.certificates import Renewal  # noqa: PLC0415 - aiohttp, which --help does without
    from keeper.keeper import Keeper  # noqa: PLC0415
    from keeper.leftovers import Ages  # noqa: PLC0415
    from keeper.prune import Prune  # noqa: PLC0415

    logs.configure(options["log_format"])
    renewal = (
        Renewal(_settings(options), options["socket"], options["restart_within"])
        if options["tls"]
        else None
    )
    ages = Ages(options["container_age"], options["image_age"])
    prune = Prune(ages) if options["prune"] else None
    structlog.get_logger().info("keeping the daemon", tls=options["tls"], prune=options["prune"])
    keeper = Keeper(options["socket"], renewal, prune)
    _run(keeper.run(options["check_interval"], options["prune_interval"]), terminated=0)


def _settings(options: dict[str, Any]) -> certificates.Settings:
    from keeper.certificates import Settings  # noqa: PLC0415

    names = tuple(name.strip() for name in options["names"].split(",") if name.strip())
    if not names:
        raise click.UsageError("--names: a certificate needs a DNS name or an address")
    lifetime: timedelta | None = options["lifetime"]
    if lifetime is not None and lifetime < _LEAST_LIFETIME:
        raise click.UsageError("--lifetime: the API server takes no request for less than 10m")
    return Settings(
        names,
        options["pod"] or socket.gethostname(),
        options["directory"],
        options["ca_directory"],
        lifetime,
        options["kubeconfig"],
    )


def _write_scripts(directory: Path) -> None:
    from keeper import files  # noqa: PLC0415

    for name in _SCRIPTS:
        # With its comments: a file has room, and who looks into the container finds the reasons.
        files.write_script(directory, name, scripts.source(name))


def _run(work: Coroutine[Any, Any, None], *, terminated: int) -> None:
    """Run it until its end, or at once to SIGTERM, which PID 1 of a container would not notice."""
    try:
        asyncio.run(_cancellable(work))
    except asyncio.CancelledError:
        sys.exit(terminated)


async def _cancellable(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    commands.when_terminated(task.cancel)
    await task
