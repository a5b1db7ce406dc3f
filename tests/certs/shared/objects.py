"""What the API server says of a daemon's request, its Pod and its Node; and the PEM of requests."""

from __future__ import annotations

import ipaddress
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.shared.requests import SIGNER

Object = dict[str, Any]

EXTRA: Final = "authentication.kubernetes.io/"
HEADLESS: Final = "dinp-docker-0.dinp-docker-headless.dinp-daemons.svc"
SERVICE_NAMES: Final = ("dinp-docker.dinp-daemons.svc", HEADLESS)
_KEY: Final = ec.generate_private_key(ec.SECP256R1())


def pem(
    names: Sequence[str],
    *others: x509.ExtensionType,
    key: CertificateIssuerPrivateKeyTypes = _KEY,
    general_names: Sequence[x509.GeneralName] = (),
) -> bytes:
    """A request for these names, in subjectAltName, and with other extensions."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    alternatives = [*map(general_name, names), *general_names]
    extensions = [x509.SubjectAlternativeName(alternatives), *others] if alternatives else others
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def general_name(name: str) -> x509.GeneralName:
    """An address or a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def request(
    csr: bytes, *, account: str = "dinp-docker-daemonset", pod: str = "dinp-docker-0", **spec: Any
) -> Object:
    """A CertificateSigningRequest as the API server keeps it."""
    extra = {"pod-name": [pod], "pod-uid": ["uid"], "node-name": ["one"]}
    whole = {
        "signerName": SIGNER,
        "request": b64encode(csr).decode(),
        "usages": ["digital signature", "server auth"],
        "username": f"system:serviceaccount:dinp-daemons:{account}",
        "extra": {f"{EXTRA}{key}": value for key, value in extra.items()},
        **spec,
    }
    return {"metadata": {"name": "dinp-docker-x"}, "spec": whole}


def pod(
    *addresses: str,
    account: str = "dinp-docker-daemonset",
    kind: str = "DaemonSet",
    metadata: Object | None = None,
    **spec: Any,
) -> Object:
    """A Pod of ours that runs on node `one`."""
    owner = {"kind": kind, "name": "dinp-docker", "uid": "1", "controller": True}
    about = {"name": "dinp-docker-0", "uid": "uid", "ownerReferences": [owner], **(metadata or {})}
    whole = {"serviceAccountName": account, "nodeName": "one", **spec}
    status = {"phase": "Pending", "hostIPs": [{"ip": address} for address in addresses]}
    return {"metadata": about, "spec": whole, "status": status}


def service_pod(**spec: Any) -> Object:
    """A Pod of the StatefulSet."""
    names = {"hostname": "dinp-docker-0", "subdomain": "dinp-docker-headless", **spec}
    return pod("192.0.2.1", account="dinp-docker-service", kind="StatefulSet", **names)


def node(*addresses: str, kind: str = "InternalIP") -> Object:
    """Node `one`."""
    found = [{"type": "Hostname", "address": "one"}]
    found += [{"type": kind, "address": address} for address in addresses]
    return {"metadata": {"name": "one"}, "status": {"addresses": found}}
