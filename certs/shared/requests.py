"""What becomes of a daemon's request for a server certificate. Pure.

A request says nothing that is believed: who sent it, from which Pod and node, is the API
server's word (the extras of a bound ServiceAccount token, KEP-4193, Kubernetes 1.32), and which
names that Pod may have is read from the Pod and its Node.

| ServiceAccount in dinp-daemons | its Pods are of a | names, all of them and no others |
|---|---|---|
| `dinp-docker-daemonset` | DaemonSet | the Pod's hostIPs, each an address of its Node |
| `dinp-docker-service` | StatefulSet | `<service>.<namespace>.svc` and `<Pod>.<subdomain>.<namespace>.svc` |
"""

from __future__ import annotations

import ipaddress
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs import inspection

Object = Mapping[str, Any]

SIGNER: Final = "dinp.io/docker-server"
_EXTRA: Final = "authentication.kubernetes.io/"
_OWNERS: Final = {"dinp-docker-daemonset": "DaemonSet", "dinp-docker-service": "StatefulSet"}
_USAGES: Final = frozenset({"digital signature", "key encipherment", "server auth"})
_CURVES: Final = ("secp256r1", "secp384r1")
_RSA_BITS: Final = 2048
_LISTED: Final = 8
_LISTED_CHARACTERS: Final = 64


class Reason(Enum):
    """Why a request is denied, as its condition has it."""

    REQUESTER = "NotASharedDaemon"
    TOKEN = "TokenNotBound"  # noqa: S105 - no secret
    POD = "PodNotOurs"
    USAGE = "UsageNotAllowed"
    REQUEST = "RequestNotUsable"
    KEY = "KeyNotAllowed"
    NAMES = "NamesNotAllowed"


class State(Enum):
    """How far a request is."""

    PENDING = "nobody has decided"
    APPROVED = "somebody has approved it, and it is not signed"
    ANSWERED = "signed, denied or failed"


@dataclass(frozen=True, slots=True)
class Approval:
    """It may be signed: for this key and these names, to the Pod of this name."""

    pod: str
    names: tuple[str, ...]
    csr: x509.CertificateSigningRequest


@dataclass(frozen=True, slots=True)
class Denial:
    """It may not: the sentence says what is wrong, and what would be right."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Daemons:
    """Where the shared daemons are, and the Service of those in mode `service`."""

    namespace: str = "dinp-daemons"
    service: str = "dinp-docker"


@dataclass(frozen=True, slots=True)
class Requester:
    """The Pod that a token is bound to."""

    account: str
    pod: str
    uid: str
    node: str


def requester(request: Object, daemons: Daemons) -> Requester | Denial:
    """Who has sent a CertificateSigningRequest, by what the API server says of it."""
    spec = request["spec"]
    username = str(spec.get("username", ""))
    accounts = {f"system:serviceaccount:{daemons.namespace}:{name}": name for name in _OWNERS}
    if username not in accounts:
        expected = " or ".join(accounts)
        return Denial(Reason.REQUESTER, f"'{username}' has sent it; only {expected} may")
    extra = spec.get("extra") or {}
    values = []
    for key in ("pod-name", "pod-uid", "node-name"):
        found = extra.get(f"{_EXTRA}{key}") or []
        if len(found) != 1:
            return Denial(
                Reason.TOKEN,
                f"the token that it was sent with has no {_EXTRA}{key}: it has to be that of "
                "a Pod that runs on a node (Kubernetes 1.32 or later)",
            )
        values.append(str(found[0]))
    return Requester(accounts[username], *values)


def judge(
    request: Object, sender: Requester, pod: Object | None, node: Object | None, daemons: Daemons
) -> Approval | Denial:
    """Decide by the Pod and the Node of the sender; None: there is no such object."""
    if pod is None:
        return Denial(Reason.POD, f"Pod {daemons.namespace}/{sender.pod} does not exist")
    csr = _pod_problem(sender, pod, daemons) or _usage_problem(request) or _parse(request)
    if isinstance(csr, Denial):
        return csr
    names = _names(csr)
    if isinstance(names, Denial):
        return names
    expected = _expected(sender, pod, node, daemons)
    if isinstance(expected, Denial):
        return expected
    if set(names) != set(expected) or len(set(names)) != len(names):
        return Denial(
            Reason.NAMES,
            f"it asks for {_listed(names)}; Pod {daemons.namespace}/{sender.pod} on node "
            f"{sender.node} may have {_listed(expected)}",
        )
    return Approval(sender.pod, tuple(expected), csr)


def state(request: Object) -> State:
    """By the conditions and the certificate of a CertificateSigningRequest."""
    status = request.get("status") or {}
    types = {condition["type"] for condition in status.get("conditions") or ()}
    if status.get("certificate") or types & {"Denied", "Failed"}:
        return State.ANSWERED
    return State.APPROVED if "Approved" in types else State.PENDING


def with_condition(request: Object, kind: str, reason: str, message: str) -> dict[str, Any]:
    """The request with one more condition, of type `kind`."""
    status = dict(request.get("status") or {})
    condition = {"type": kind, "status": "True", "reason": reason, "message": message}
    status["conditions"] = [*(status.get("conditions") or ()), condition]
    return {**request, "status": status}


def with_certificate(request: Object, certificate: bytes) -> dict[str, Any]:
    """The request with its answer, PEM."""
    answered = {**(request.get("status") or {}), "certificate": b64encode(certificate).decode()}
    return {**request, "status": answered}


def wanted_lifetime(request: Object) -> timedelta | None:
    """What it asks for by expirationSeconds, which the API server takes from 600 on."""
    seconds = request["spec"].get("expirationSeconds")
    return None if seconds is None else timedelta(seconds=seconds)


def _pod_problem(sender: Requester, pod: Object, daemons: Daemons) -> Denial | None:
    described = f"Pod {daemons.namespace}/{sender.pod}"
    metadata, spec = pod["metadata"], pod["spec"]
    kind = _OWNERS[sender.account]
    owners = metadata.get("ownerReferences") or []
    checks = {
        f"has uid {sender.uid}, that of the token": metadata.get("uid") == sender.uid,
        f"runs as ServiceAccount {sender.account}": spec.get("serviceAccountName")
        == sender.account,
        f"runs on node {sender.node}, that of the token": spec.get("nodeName") == sender.node,
        f"is of a {kind}": any(
            owner.get("controller") and owner.get("kind") == kind for owner in owners
        ),
        "is not about to end": "deletionTimestamp" not in metadata
        and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"),
    }
    wrong = [what for what, is_so in checks.items() if not is_so]
    return Denial(Reason.POD, f"it is not so that {described} {wrong[0]}") if wrong else None


def _usage_problem(request: Object) -> Denial | None:
    usages = set(request["spec"].get("usages") or ())
    if "server auth" in usages and usages <= _USAGES:
        return None
    return Denial(
        Reason.USAGE,
        f"it asks for the usages {_listed(sorted(usages))}; only a server's are signed: "
        f"{_listed(sorted(_USAGES))}",
    )


def _parse(request: Object) -> x509.CertificateSigningRequest | Denial:
    try:
        csr = x509.load_pem_x509_csr(b64decode(request["spec"].get("request") or ""))
        is_signed = csr.is_signature_valid
        key = csr.public_key()
        extensions = list(csr.extensions)
    except inspection.UNUSABLE as error:
        return Denial(Reason.REQUEST, f"it holds no certificate request that can be used: {error}")
    if not is_signed:
        return Denial(Reason.REQUEST, "it is not signed by the key that it is for")
    if not _is_good(key):
        return Denial(
            Reason.KEY, "its key is neither ECDSA P-256 or P-384 nor RSA of 2048 bits or more"
        )
    others = [
        extension.oid.dotted_string
        for extension in extensions
        if extension.oid != x509.SubjectAlternativeName.oid
    ]
    if others:
        return Denial(
            Reason.REQUEST,
            f"it asks for the extensions {_listed(others)}; only subjectAltName is signed",
        )
    return csr


def _is_good(key: object) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in _CURVES
    return isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS


def _names(csr: x509.CertificateSigningRequest) -> Sequence[str] | Denial:
    try:
        extension = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return Denial(Reason.NAMES, "it asks for no name: subjectAltName is missing")
    names = []
    for name in extension.value:
        if not isinstance(name, x509.DNSName | x509.IPAddress):
            kind = type(name).__name__
            return Denial(Reason.NAMES, f"it asks for a {kind}; only DNS names and addresses exist")
        names.append(str(name.value))
    return names


def _expected(
    sender: Requester, pod: Object, node: Object | None, daemons: Daemons
) -> Sequence[str] | Denial:
    if _OWNERS[sender.account] == "StatefulSet":
        return _service_names(pod, daemons)
    return _node_addresses(sender, pod, node)


def _service_names(pod: Object, daemons: Daemons) -> Sequence[str]:
    spec = pod["spec"]
    names = [f"{daemons.service}.{daemons.namespace}.svc"]
    if spec.get("subdomain"):
        host = spec.get("hostname") or pod["metadata"]["name"]
        names.append(f"{host}.{spec['subdomain']}.{daemons.namespace}.svc")
    return names


def _node_addresses(sender: Requester, pod: Object, node: Object | None) -> Sequence[str] | Denial:
    wanted = [_address(entry["ip"]) for entry in (pod.get("status") or {}).get("hostIPs") or ()]
    if node is None:
        return Denial(Reason.POD, f"Node {sender.node} does not exist")
    has = {
        _address(entry["address"])
        for entry in (node.get("status") or {}).get("addresses") or ()
        if entry.get("type") in ("InternalIP", "ExternalIP")
    }
    foreign = [address for address in wanted if address not in has]
    if not wanted or foreign:
        return Denial(
            Reason.NAMES,
            f"the hostIPs {_listed(wanted)} of the Pod are not addresses of Node {sender.node}, "
            f"which has {_listed(sorted(has))}",
        )
    return wanted


def _address(text: str) -> str:
    """Written the one way: an IPv6 address has many."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _listed(names: Iterable[str]) -> str:
    """As a sentence has them: only as many, and as much of each, as fit into a condition."""
    known = list(names)
    shown = [name[:_LISTED_CHARACTERS] for name in known[:_LISTED]]
    more = [f"{len(known) - _LISTED} more"] if len(known) > _LISTED else []
    return ", ".join([*shown, *more]) or "none"
