"""etcd and kube-apiserver on loopback: up in seconds, gone without a trace."""

from __future__ import annotations

import ipaddress
import json
import random
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs import authority
from tests.cluster.api import Api, Cluster
from tests.cluster.assets import Assets
from tests.cluster.processes import StartError, free_ports, running, wait_until
from tools.certificates import DAY, write_secret, write_server_pair

# Users beside the administrator; their permissions are what a test gives them.
USERS: Final = ("labeller", "granter", "tenant")
_SYSTEM_NAMESPACES: Final = ("default", "kube-system", "kube-node-lease", "kube-public")
# Metadata says who did what and which annotations admission left; the bodies stay out.
_AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "resources": [{"group": "", "resources": ["pods"]}]},
        {"level": "None"},
    ],
}


@contextmanager
def control_plane(
    assets: Assets,
    directory: Path,
    address: str = "127.0.0.1",
    flags: Mapping[str, object] | None = None,
) -> Iterator[Cluster]:
    """Run both in `directory`, until the end of the `with`.

    The API server is at `address`, etcd always on loopback. `flags` of kube-apiserver are
    added to those below, or replace them.

    Raises:
        StartError: one of them did not come up.
    """
    client, peer, port = free_ports(3)
    etcd_url, peer_url = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    own = _service_address(flags or {})
    cluster = _write_files(assets, directory, (address, *own), port)
    etcd = [str(assets.etcd), "--unsafe-no-fsync", f"--data-dir={directory / 'etcd'}"]
    etcd += [f"--listen-client-urls={etcd_url}", f"--advertise-client-urls={etcd_url}"]
    etcd += [f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"]
    etcd += [f"--initial-cluster=default={peer_url}"]
    log = directory / "kube-apiserver.log"
    command = _api_server(assets, directory, etcd_url, cluster, flags or {})
    with running(etcd, directory / "etcd.log"), running(command, log) as process:
        with closing(Api(cluster)) as api:
            try:
                wait_until(
                    lambda: process.poll() is not None or _is_up(api), "kube-apiserver is ready"
                )
            except StartError as error:
                raise StartError(f"{error}\n{_end(log)}") from error
            if process.poll() is not None:
                raise StartError(f"kube-apiserver ended:\n{_end(log)}")
            for namespace in _SYSTEM_NAMESPACES:
                api.create_service_account(namespace, "default")
        yield cluster


def _is_up(api: Api) -> bool:
    try:
        return api.get("/readyz").status == 200 and all(
            api.get(f"/api/v1/namespaces/{name}").status == 200 for name in _SYSTEM_NAMESPACES
        )
    except OSError:
        return False


def _end(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _api_server(
    assets: Assets, directory: Path, etcd_url: str, cluster: Cluster, more: Mapping[str, object]
) -> list[str]:
    flags: dict[str, object] = {
        "etcd-servers": etcd_url,
        "bind-address": cluster.address,
        "advertise-address": cluster.address,
        "secure-port": cluster.port,
        "tls-cert-file": directory / "tls.crt",
        "tls-private-key-file": directory / "tls.key",
        "token-auth-file": directory / "tokens.csv",
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "service-account-issuer": "https://dinp.test",
        "service-account-key-file": directory / "service-accounts.key",
        "service-account-signing-key-file": directory / "service-accounts.key",
        # Services have loopback addresses, so whoever listens there is the Service: no kube-proxy.
        **({} if "service-cluster-ip-range" in more else _service_network()),
        "endpoint-reconciler-type": "none",
        "audit-policy-file": directory / "audit-policy.json",
        "audit-log-path": directory / "audit.log",
        "audit-log-mode": "blocking",  # an event is in the file before its answer is sent
        "enable-priority-and-fairness": "false",
        "profiling": "false",
        **more,
    }
    return [str(assets.kube_apiserver), *(f"--{name}={value}" for name, value in flags.items())]


def _service_network() -> dict[str, str]:
    """A loopback network on whose addresses nobody listens: runs may go on side by side."""
    for _ in range(20):
        prefix = f"127.{random.randint(64, 250)}.{random.randint(0, 250)}"  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind((f"{prefix}.10", 443))
            except PermissionError as error:
                raise StartError(
                    "the tests with a real API server stand in for a Service on port 443, which "
                    "takes root (or sysctl net.ipv4.ip_unprivileged_port_start=443)"
                ) from error
            except OSError:
                continue
            return {"service-cluster-ip-range": f"{prefix}.0/24"}
    raise StartError("found no loopback network whose port 443 is free")


def _service_address(flags: Mapping[str, object]) -> tuple[str, ...]:
    """By which Pods call it, and check its certificate: the first of the Services' network."""
    services = flags.get("service-cluster-ip-range")
    return () if services is None else (str(ipaddress.ip_network(str(services))[1]),)


def _write_files(assets: Assets, directory: Path, addresses: tuple[str, ...], port: int) -> Cluster:
    """Write what the API server reads; it listens at the first of its addresses."""
    address = addresses[0]
    now = datetime.now(UTC)
    ca = authority.issue_ca("test cluster", now=now, lifetime=DAY)
    (directory / "ca.crt").write_bytes(ca.certificate)
    write_server_pair(directory, ca, (*addresses, "localhost", "kubernetes.default.svc"))
    write_secret(directory / "service-accounts.key", _service_account_key())
    token = secrets.token_hex(16)
    users = [f'{token},admin,admin,"system:masters"']
    users += [f"{user_token(token, name)},{name},{name}" for name in USERS]
    write_secret(directory / "tokens.csv", "\n".join(users).encode())
    (directory / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY), encoding="utf-8")
    kubeconfig = directory / "kubeconfig"
    write_secret(kubeconfig, json.dumps(_kubeconfig(directory, address, port, token)).encode())
    return Cluster(
        address=address,
        port=port,
        ca_file=directory / "ca.crt",
        token=token,
        kubeconfig=kubeconfig,
        kubectl_program=assets.kubectl,
        audit_log=directory / "audit.log",
    )


def user_token(token: str, name: str) -> str:
    """The token of one of USERS."""
    return f"{token}-{name}"


def _service_account_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _kubeconfig(directory: Path, address: str, port: int, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "dinp",
        "clusters": [
            {
                "name": "dinp",
                "cluster": {
                    "server": f"https://{address}:{port}",
                    "certificate-authority": str(directory / "ca.crt"),
                },
            }
        ],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "dinp", "context": {"cluster": "dinp", "user": "admin"}}],
    }
