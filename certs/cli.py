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
    _option("--leaf-lifetime", type=Duration(), default="30d", help="Lifetime of the certificate."),
    _option("--ca-lifetime", type=Duration(), default="365d", help="Lifetime of the CA."),
    _option(
        "--tls-secret", default="dinp-tls", help="Secret with the webhook's serving certificate."
    ),
    _option("--service", default="dinp", help="Service of the webhook."),
    _option("--namespace", default="dinp-system", help="Namespace of the Service and the Secrets."),
)
"""Options of both commands for the webhook's certificates."""

_cluster = commands.together(
    commands.LOG_FORMAT,
    _option(
        "--health-port",
        type=click.IntRange(0, 65535),
        default=8081,
        help="HTTP port of /healthz, /readyz and /metrics; 0 takes any free port.",
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
    """Issue and rotate certificates of the webhook, of shared daemons and of their clients."""


@certs.command(short_help="Issue and renew the webhook's certificates, in a cluster.")
@_common
@_option("--ca-secret", default="dinp-ca", help="Secret with the CA and its key.")
@_option("--configuration", default="zz-dinp", help="Name of the MutatingWebhookConfiguration.")
@_option(
    "--propagation",
    type=Duration(),
    default="10s",
    help="Time until every API server uses a changed caBundle.",
)
@_option(
    "--delivery",
    type=Duration(),
    default="5m",
    help="Time until every replica of the webhook serves with a changed Secret.",
)
@_cluster
def run(**options: Any) -> None:
    """Issue and renew the CA, the serving certificate and every caBundle until SIGTERM.

    Each certificate is renewed after two thirds of its lifetime, and a CA in steps, so that the
    API server accepts the webhook at every moment. Any number of replicas may run.
    """
    logs.configure(options["log_format"])
    policy = _policy(**options)
    from certs import running  # noqa: PLC0415 - 1.2 s, which --help and issue do without

    _finished(running.run(policy, options))


@certs.command("run-shared", short_help="Issue certificates of shared daemons and their clients.")
@_option("--namespace", default="dinp-system", help="Namespace of the Secrets of both CAs.")
@_option("--docker-namespace", default="dinp-daemons", help="Namespace of the shared daemons.")
@_option("--docker-service", default="dinp-docker", help="Service of the daemons of mode service.")
@_option(
    "--client-secret",
    default="dinp-client-tls",
    help="Secret with a client certificate, in each allowed namespace.",
)
@_option("--ca-lifetime", type=Duration(), default="1825d", help="Lifetime of both CAs.")
@_option(
    "--server-lifetime", type=Duration(), default="365d", help="Lifetime of a daemon's certificate."
)
@_option(
    "--client-lifetime",
    type=Duration(),
    default="24h",
    help="Lifetime of a client certificate; a namespace that is no longer allowed keeps its last one.",
)
@_option(
    "--delivery", type=Duration(), default="5m", help="Time until every Pod reads a changed Secret."
)
@_option(
    "--daemon-restart-within",
    type=Duration(),
    default="60d",
    help="Time until every shared daemon has started again after a change of the clients' CA.",
)
@_option(
    "--policies-within",
    type=Duration(),
    default="60s",
    help="Time until every API server enforces a policy that was just applied.",
)
@_cluster
def run_shared(**options: Any) -> None:
    """Issue certificates of shared Docker daemons and of their clients until SIGTERM.

    Before its first write, and then every ten minutes, the command sends dry runs of requests that
    ValidatingAdmissionPolicies have to refuse. If a policy does not hold, the command names it and
    ends with exit code 2. Any number of replicas may run.
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
@_option("--output-dir", type=FILE, help="Write ca.crt, tls.crt and tls.key to this directory.")
@_option("--with-ca-key", is_flag=True, help="Also write ca.key.")
@_option(
    "--configuration-file",
    type=click.File(encoding="utf-8"),
    help="YAML file with the MutatingWebhookConfiguration; it is printed with its caBundles filled in.",
)
def issue(
    output_dir: Path | None,
    with_ca_key: bool,
    configuration_file: IO[str] | None,
    **options: Any,
) -> None:
    """Issue a CA and a serving certificate once, as files, or without --output-dir as manifests.

    This is for clusters where `dinp certs run` does not run. The manifests hold a private key:
    seal them before they go to Git. Nobody renews these certificates.
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
