"""`dinp serve`: options, the process and its signals."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import signal
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import click
import msgspec
import structlog

from webhook.asking.config import Config, ConfigError, parse
from webhook.serving import logs
from webhook.serving.listening import ListenError
from webhook.serving.server import Server, Settings
from webhook.serving.tls import CertificateError, Files, ServingCertificate

_option = partial(click.option, show_envvar=True)
_FILE = click.Path(path_type=Path)
_PORT = click.IntRange(0, 65535)
_SECONDS = click.FloatRange(min=0)


class StartError(click.ClickException):
    """What keeps the server from starting: one line, exit code 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"dinp: {self.format_message()}", file=file, err=file is None)


@click.command(short_help="Serve the admission webhook.")
@_option(
    "--bind-address",
    default="0.0.0.0",  # noqa: S104 - as Kubernetes components: the API server comes from outside
    help="Address to listen on; 0.0.0.0 and :: mean every interface, IPv4 and IPv6.",
)
@_option(
    "--secure-port",
    type=_PORT,
    default=8443,
    help="HTTPS port of the webhook; 0 takes any free port.",
)
@_option(
    "--tls-cert-file",
    type=_FILE,
    required=True,
    help="PEM file with the serving certificate and its chain.",
)
@_option(
    "--tls-private-key-file",
    type=_FILE,
    required=True,
    help="PEM file with the key of the serving certificate.",
)
@_option(
    "--client-ca-file",
    type=_FILE,
    help="PEM file with CAs; only clients with a certificate of one of them are served.",
)
@_option(
    "--health-port", type=_PORT, default=8081, help="HTTP port of /healthz, /readyz and /metrics."
)
@_option("--config", type=_FILE, help="Config file in YAML; without it the defaults are used.")
@_option(
    "--host-ip",
    help="Address of the node (status.hostIP); it tells whether nodes have IPv6 addresses.",
)
@_option(
    "--shutdown-delay",
    type=_SECONDS,
    default=10,
    help="Seconds for which the server goes on after SIGTERM.",
)
@_option(
    "--shutdown-timeout",
    type=_SECONDS,
    default=10,
    help="Seconds after that delay in which open requests may end.",
)
@_option(
    "--log-format",
    type=click.Choice(["json", "console"]),
    default="json",
    help="Format of the log.",
)
def serve(config: Path | None, host_ip: str | None, log_format: str, **options: Any) -> None:
    """Serve the admission webhook until SIGTERM.

    When the files of the certificate change, it is read again within 5 seconds.
    """
    logs.configure(cast("logs.Format", log_format))
    files = Files(
        *(options.pop(name) for name in ("tls_cert_file", "tls_private_key_file", "client_ca_file"))
    )
    try:
        _raise_descriptors()
        settled = with_host_ip(read_config(config), host_ip)
        certificate = ServingCertificate(files, now=datetime.now(UTC))
        asyncio.run(_run(settled, certificate, Settings(**options)))
    except (ConfigError, CertificateError, ListenError) as error:
        raise StartError(str(error)) from error


def read_config(path: Path | None) -> Config:
    """Read the config file, or have the defaults.

    Raises:
        ConfigError: it cannot be read or used; names the file and the YAML path.
    """
    if path is None:
        return Config()
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def with_host_ip(config: Config, host_ip: str | None) -> Config:
    """Take the nodes' IP family from the node's address where the config file leaves it open.

    Raises:
        ConfigError: `host_ip` is no IP address.
    """
    if not host_ip or config.daemonset.ip_family is not None:
        return config
    try:
        version = ipaddress.ip_address(host_ip).version
    except ValueError as error:
        raise ConfigError(f"--host-ip: {error}") from error
    daemonset = msgspec.structs.replace(
        config.daemonset, ip_family="IPv6" if version == 6 else "IPv4"
    )
    return msgspec.structs.replace(config, daemonset=daemonset)


def _raise_descriptors() -> None:
    """Allow as many open files as the machine lets: containerd starts Pods with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(config: Config, certificate: ServingCertificate, settings: Settings) -> None:
    server = Server(config, certificate, settings)
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()  # the second one cuts the delay short

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await server.start()
    structlog.get_logger().info("serving", port=server.port, health_port=server.health_port)
    await server.prepare()
    await stop.wait()
    await server.drain(hurry)
