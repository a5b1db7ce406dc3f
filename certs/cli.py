"""`dinp certs run`, `run-shared` and `issue`. The Kubernetes client is imported by what runs alone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from certs import commands, issuance, logs
from certs.commands import FILE, CommandError
from certs.durations import Duration
from certs.errors import StoreError
from certs.policy import Policy
from certs.shared.policy import Policy as DockerPolicy
from certs.shared.requests import Daemons

_option = commands.option
_R = TypeVar("_R")

_common = commands.together(
    _option("--leaf-lifetime", type=Duration(), default="30d", help="Of the certificate."),
    _option("--ca-lifetime", type=Duration(), default="365d", help="Of the CA."),
    _option("--tls-secret", default="dinp-tls", help="Secret that the webhook serves with."),
    _option("--service", default="dinp", help="The webhook's Service."),
    _option("--namespace", default="dinp-system", help="Where Service and Secrets are."),
)
"""Options of both commands for the webhook's certificates."""

_cluster = commands.together(
    commands.LOG_FORMAT,
    _option(
        "--health-port",
        type=click.IntRange(0, 65535),
        default=8081,
        help="HTTP port of /healthz, /readyz, /metrics; 0: any free one.",
    ),
    _option(
        "--bind-address",
        default="0.0.0.0",  # noqa: S104 - the kubelet comes from outside
        help="Address of the health port; 0.0.0.0 and :: mean every interface, IPv4 and IPv6.",
    ),
    commands.KUBECONFIG,
)
"""Options of both commands that run in a cluster."""


@click.group(short_help="Issue and rotate certificates of the webhook and of shared daemons.")
def certs() -> None:
    """Issue and rotate certificates: the webhook's, those of shared daemons and of their clients."""


@certs.command(short_help="Keep the webhook's certificates right.")
@_common
@_option("--ca-secret", default="dinp-ca", help="Secret that holds the CA and its key.")
@_option("--configuration", default="zz-dinp", help="The MutatingWebhookConfiguration.")
@_option(
    "--propagation",
    type=Duration(),
    default="10s",
    help="Until every API server goes by a changed caBundle.",
)
@_option(
    "--delivery",
    type=Duration(),
    default="5m",
    help="Until every replica of the webhook serves a changed Secret.",
)
@_cluster
def run(**options: Any) -> None:
    """Keep CA, serving certificate and every caBundle right until SIGTERM.

    Everything is renewed after two thirds of its lifetime, a CA in steps, so that the API
    server accepts the webhook at every moment. Any number of replicas may run.
    """
    logs.configure(options["log_format"])
    policy = _policy(**options)
    from certs import running  # noqa: PLC0415 - 1.2 s, which --help and issue do without

    _finished(running.run(policy, options))


@certs.command("run-shared", short_help="Keep the certificates of shared daemons right.")
@_option("--namespace", default="dinp-system", help="Where the Secrets of both CAs are.")
@_option("--docker-namespace", default="dinp-daemons", help="Where the shared daemons are.")
@_option("--docker-service", default="dinp-docker", help="The Service of those in mode service.")
@_option(
    "--client-secret", default="dinp-client-tls", help="Secret of clients, in their namespaces."
)
@_option("--ca-lifetime", type=Duration(), default="1825d", help="Of the CAs of both.")
@_option("--server-lifetime", type=Duration(), default="365d", help="Of a daemon's certificate.")
@_option(
    "--client-lifetime",
    type=Duration(),
    default="24h",
    help="Of a client's certificate: how long a namespace that is no longer allowed goes on.",
)
@_option(
    "--delivery", type=Duration(), default="5m", help="Until every Pod reads a changed Secret."
)
@_option(
    "--daemon-restart-within",
    type=Duration(),
    default="60d",
    help="Until every shared daemon has started again since the CA of clients changed.",
)
@_option(
    "--policies-within",
    type=Duration(),
    default="60s",
    help="Until every API server goes by a policy that was just applied.",
)
@_cluster
def run_shared(**options: Any) -> None:
    """Sign for shared Docker daemons, and give their clients certificates, until SIGTERM.

    It tries what ValidatingAdmissionPolicies have to forbid to it, as dry runs: before it writes
    anything, and every ten minutes. Where one of them does not hold, it ends with exit code 2 and
    says which. Any number of replicas may run.
    """
    logs.configure(options["log_format"])
    policy = _docker_policy(options)
    from certs import running  # noqa: PLC0415 - as above

    problem = _finished(running.run_shared(policy, options))
    if problem is not None:
        raise CommandError(problem)


def _finished(running: Coroutine[Any, Any, _R]) -> _R:
    from certs import health  # noqa: PLC0415 - as above

    try:
        return asyncio.run(running)
    except (StoreError, health.ListenError) as error:
        raise CommandError(str(error)) from error


@certs.command(short_help="Issue a CA and a certificate once, without a cluster.")
@_common
@_option("--output-dir", type=FILE, help="Write ca.crt, tls.crt and tls.key here.")
@_option("--with-ca-key", is_flag=True, help="Write ca.key, too.")
@_option(
    "--configuration-file",
    type=click.File(encoding="utf-8"),
    help="YAML with the MutatingWebhookConfiguration: print it with its caBundles filled in.",
)
def issue(
    output_dir: Path | None,
    with_ca_key: bool,
    configuration_file: IO[str] | None,
    **options: Any,
) -> None:
    """Issue a CA and a serving certificate once: files, or without --output-dir manifests.

    For clusters where `dinp certs run` does not run. The manifests hold a private key: seal
    them before they go to Git. Nobody renews what is issued here.
    """
    if with_ca_key and output_dir is None:
        raise click.UsageError("--with-ca-key needs --output-dir")
    policy = _policy(**options)
    issued = issuance.issue(policy, datetime.now(UTC))
    try:
        documents = _documents(issued, configuration_file, options)
        if output_dir is not None:
            for file in issuance.write_files(issued, output_dir, with_ca_key=with_ca_key):
                click.echo(f"wrote {file}", err=True)
            documents = documents[1:]
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    if documents:
        click.echo(issuance.to_yaml(documents), nl=False)


def _documents(
    issued: issuance.Issued, configuration_file: IO[str] | None, options: dict[str, Any]
) -> list[dict[str, Any]]:
    secret = issuance.secret_manifest(
        issued, name=options["tls_secret"], namespace=options["namespace"]
    )
    if configuration_file is None:
        return [secret]
    configuration = issuance.read_configuration(configuration_file.read())
    return [secret, issuance.with_bundle(configuration, issued)]


def _policy(**options: Any) -> Policy:
    chosen = {
        name: options[name]
        for name in ("ca_lifetime", "leaf_lifetime", "propagation", "delivery")
        if name in options
    }
    try:
        return Policy(names=(f"{options['service']}.{options['namespace']}.svc",), **chosen)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _docker_policy(options: dict[str, Any]) -> DockerPolicy:
    try:
        return DockerPolicy(
            daemons=Daemons(options["docker_namespace"], options["docker_service"]),
            ca_lifetime=options["ca_lifetime"],
            server_lifetime=options["server_lifetime"],
            client_lifetime=options["client_lifetime"],
            delivery=options["delivery"],
            daemon_restart=options["daemon_restart_within"],
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
