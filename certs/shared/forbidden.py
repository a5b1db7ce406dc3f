"""What the policies of manifests/shared forbid to the ServiceAccount of the shared daemons' certs. Pure.

RBAC lets it create Secrets anywhere, which would be the cluster (a Secret of type service-account-token is a
token), and write to the requests of anybody. Policies alone narrow that. Each of their validations has a row here
that it alone refuses, so that whatever is taken away is seen:

| policy | validation | tried |
|---|---|---|
| secrets | names and types of the CAs' Secrets, their namespace | another name, another type, another namespace |
| | where and as what clients' Secrets may be | a namespace that is not allowed; a token in one that is |
| | their keys | another key |
| | owners and finalizers | either of both, by create and by update |
| requests | metadata of requests and of the ConfigMap | a label on the ConfigMap, and by either subresource |
| | no request but to our signer | the status of another's, unchanged |

What there is nothing to try on (no namespace is allowed, there is no request) is left out, and tried later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from certs.records import Metadata
from certs.shared import clients
from certs.shared.names import Names
from certs.shared.requests import Object

Write = Literal["create Secret", "patch Secret", "patch ConfigMap", "approve", "update status of"]

_OTHER: Final = "dinp-self-check"
_TOKEN: Final = "kubernetes.io/service-account-token"  # noqa: S105 - a type, no secret
# Without it the API server refuses the type before any policy is asked.
_OF_ACCOUNT: Final = {"kubernetes.io/service-account.name": "default"}
_LABEL: Final = {"labels": {f"dinp.io/{_OTHER}": "true"}}
# Of an object that does not exist: the garbage collector would delete what it owns.
_OWNED: Final = {
    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": _OTHER, "uid": _OTHER}]
}
_KEPT: Final = {"finalizers": [f"dinp.io/{_OTHER}"]}


@dataclass(frozen=True, slots=True)
class There:
    """What a cluster has to try it on. `has_ca`: whether the Secret of the server CA is there."""

    namespaces: Sequence[Metadata] = ()
    has_ca: bool = False
    request: Object | None = None  # to our signer
    foreign_request: Object | None = None  # to another


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write that `policy` has to refuse: of which object, and what would be written."""

    policy: str
    write: Write
    name: str
    body: Mapping[str, Any]
    namespace: str = ""
    why: str = ""

    def __str__(self) -> str:
        """As words of a sentence: "create Secret a in namespace b, of type c"."""
        place = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.write} {self.name}{place}{self.why and ', '}{self.why}"


@dataclass(frozen=True, slots=True)
class _Secret:
    """A Secret that is not to be, in a namespace."""

    namespace: str
    name: str
    why: str
    kind: str = "Opaque"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)


def attempts(names: Names, there: There) -> Iterator[Attempt]:
    """Everything that can be tried now; each has to be refused by the policy that it names."""
    for it in _secrets(names, there):
        metadata = {"name": it.name, "annotations": _OF_ACCOUNT, **it.metadata}
        body = {"metadata": metadata, "type": it.kind, "data": it.data}
        yield Attempt(names.secrets_policy, "create Secret", it.name, body, it.namespace, it.why)
    if there.has_ca:
        where = (names.server_ca, {"metadata": _KEPT}, names.system, "with a finalizer")
        yield Attempt(names.secrets_policy, "patch Secret", *where)
    labelled = {"metadata": _LABEL}
    policy = names.requests_policy
    yield Attempt(
        policy, "patch ConfigMap", names.published, labelled, names.daemons, "with a label"
    )
    if there.request is not None:
        name, changed = there.request["metadata"]["name"], _with_label(there.request)
        yield Attempt(policy, "approve", name, changed, why="with a label")
        yield Attempt(policy, "update status of", name, changed, why="with a label")
    if there.foreign_request is not None:
        name, signer = (
            there.foreign_request["metadata"]["name"],
            there.foreign_request["spec"]["signerName"],
        )
        same = _unconditional(there.foreign_request)
        yield Attempt(policy, "update status of", name, same, why=f"a request to {signer}")


def _secrets(names: Names, there: There) -> Iterator[_Secret]:
    here, ca, client = names.system, names.server_ca, names.client_secret
    yield _Secret(here, _OTHER, "by another name")
    yield _Secret(here, ca, "of another type", kind=_TOKEN)
    yield _Secret(names.daemons, ca, "in another namespace")
    yield _Secret(here, ca, "with an owner", metadata=_OWNED)
    yield _Secret(here, ca, "with a finalizer", metadata=_KEPT)
    stays = [it for it in there.namespaces if not it.is_ending]
    allowed = [it.name for it in stays if clients.is_allowed(it.labels)]
    others = [it.name for it in stays if not clients.is_allowed(it.labels)]
    for namespace in sorted(others, key=lambda name: (name != here, name))[:1]:
        yield _Secret(namespace, client, "whose labels do not allow it")
    for namespace in sorted(allowed)[:1]:
        yield _Secret(namespace, client, "of another type", kind=_TOKEN)
        yield _Secret(namespace, client, "with another key", data={_OTHER: ""})


def _with_label(request: Object) -> Object:
    same = _unconditional(request)
    labels = {**(same["metadata"].get("labels") or {}), **_LABEL["labels"]}
    return {**same, "metadata": {**same["metadata"], "labels": labels}}


def _unconditional(request: Object) -> Object:
    """Without its version: that somebody else has written it meanwhile is no answer to this."""
    metadata = {key: it for key, it in request["metadata"].items() if key != "resourceVersion"}
    return {**request, "metadata": metadata}
