"""What the ServiceAccounts of dinp may do, and what whoever has one of their tokens tries in vain.

The API server is one of this module's own, with the manifests applied and each attempt real.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.cluster.api import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Answer,
    Api,
    Cluster,
    Object,
)
from tests.cluster.installation import CONFIGURATION, REGISTRATION, apply_base, kustomization
from tests.cluster.processes import wait_until
from tests.cluster.test_certs import RBAC, Site, installed_site, writes
from tests.terminal import teller

pytestmark = pytest.mark.cluster

NAMESPACE: Final = "dinp-system"
DAEMONS: Final = "dinp-daemons"
# Every ServiceAccount of dinp's namespaces: name in the tests -> namespace, name.
ACCOUNTS: Final = {
    "dinp": (NAMESPACE, "dinp"),
    "dinp-certs": (NAMESPACE, "dinp-certs"),
    "dinp-certs-docker": (NAMESPACE, "dinp-certs-docker"),
    "default": (NAMESPACE, "default"),
    "dinp-docker-daemonset": (DAEMONS, "dinp-docker-daemonset"),
    "dinp-docker-service": (DAEMONS, "dinp-docker-service"),
    "default of dinp-daemons": (DAEMONS, "default"),
}
SHARED: Final = ("dinp-docker-daemonset", "dinp-docker-service")  # those of the shared daemons
STRANGER: Final = "stranger"  # a namespace whose ServiceAccount nobody gave anything
CORE: Final = "/api/v1/namespaces"
HERE: Final = f"{CORE}/{NAMESPACE}"
SECRETS: Final = f"{HERE}/secrets"
ALLOWED: Final = "annotated-shared"  # a namespace that may use shared daemons
CLIENT_SECRET: Final = "dinp-client-tls"
SHARED_CA: Final = "dinp-docker-server-ca"
CA_CONFIG_MAP: Final = "dinp-docker-ca"
SIGNER: Final = "dinp.io/docker-server"
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
CERTIFICATES: Final = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
TOKEN_TYPE: Final = "kubernetes.io/service-account-token"
ELSEWHERE: Final = "https://127.0.0.1/"

# Who refuses.
BY_RBAC: Final = "RBAC"
BY_SECRETS: Final = "dinp-certs-secrets"
BY_REGISTRATION: Final = "dinp-certs-registration"
BY_SHARED_SECRETS: Final = "dinp-certs-docker-secrets"
BY_SHARED_REQUESTS: Final = "dinp-certs-docker"
BY_REQUESTS: Final = "dinp-docker-requests"
BY_SIGNER: Final = "the signer"
BY_VALIDATION: Final = "the field is immutable"

Permission = tuple[str, str, str]  # verb, resource or path, name ("*": any)

READING: Final = ("get", "list", "watch")
REQUESTS: Final = "certificatesigningrequests.certificates.k8s.io"
OF_CERTS: Final = {
    (verb, "mutatingwebhookconfigurations.admissionregistration.k8s.io", "zz-dinp")
    for verb in (*READING, "patch")
}
OF_CERTS_HERE: Final = {
    ("create", "secrets", "*"),
    *((verb, "secrets", name) for verb in (*READING, "patch") for name in ("dinp-ca", "dinp-tls")),
}
OF_SHARED: Final = {
    ("create", "secrets", "*"),
    *((verb, "secrets", CLIENT_SECRET) for verb in (*READING, "patch", "delete")),
    *((verb, "namespaces", "*") for verb in READING),
    ("get", "nodes", "*"),
    *((verb, REQUESTS, "*") for verb in READING),
    ("update", "certificatesigningrequests/approval.certificates.k8s.io", "*"),
    ("update", "certificatesigningrequests/status.certificates.k8s.io", "*"),
    *((verb, "signers.certificates.k8s.io", SIGNER) for verb in ("approve", "sign")),
}
OF_SHARED_HERE: Final = {
    (verb, "secrets", name)
    for verb in (*READING, "patch")
    for name in ("dinp-docker-server-ca", "dinp-docker-client-ca")
}
OF_SHARED_THERE: Final = {
    ("get", "pods", "*"),
    *((verb, "configmaps", CA_CONFIG_MAP) for verb in (*READING, "patch")),
}
OF_DAEMONS: Final = {("create", REQUESTS, "*"), ("get", REQUESTS, "*")}
# Beside what every ServiceAccount may: ServiceAccount -> permissions in all namespaces.
EVERYWHERE: Final[Mapping[str, set[Permission]]] = {
    "dinp": set(),
    "dinp-certs": OF_CERTS,
    "dinp-certs-docker": OF_SHARED,
    "default": set(),
    "dinp-docker-daemonset": OF_DAEMONS,
    "dinp-docker-service": OF_DAEMONS,
    "default of dinp-daemons": set(),
}
# And in these.
INSIDE: Final[Mapping[tuple[str, str], set[Permission]]] = {
    ("dinp-certs", NAMESPACE): OF_CERTS_HERE,
    ("dinp-certs-docker", NAMESPACE): OF_SHARED_HERE,
    ("dinp-certs-docker", DAEMONS): OF_SHARED_THERE,
}


@dataclass(frozen=True)
class Attempt:
    """A request that must be refused: by whom if it is certs', the shared daemons' certs' or a daemon's.

    By RBAC if it is anybody else's.
    """

    method: str
    path: str
    body: Any = None
    media_type: str = "application/json"
    by: str = BY_RBAC
    by_shared: str = BY_RBAC
    by_daemon: str = BY_RBAC
    headers: Mapping[str, str] = field(default_factory=dict)

    def made(self, api: Api) -> Answer:
        """Try it."""
        return api.request(
            self.method, self.path, self.body, media_type=self.media_type, headers=self.headers
        )


def secret(name: str, kind: str = "Opaque", **metadata: Any) -> Object:
    """A Secret that, if it is of that type, a controller fills with a token."""
    named = {"generateName": name} if name.endswith("-") else {"name": name}
    account = {"kubernetes.io/service-account.name": "dinp-certs"}
    keys = ("ca.pem", "cert.pem", "key.pem") if CLIENT_SECRET in name else ("tls.crt", "tls.key")
    data = dict.fromkeys(keys, "")
    metadata = {**named, "annotations": account, **metadata}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": data}


def owner() -> list[Object]:
    """Of an object that does not exist: the garbage collector deletes what it owns."""
    return [{"apiVersion": "v1", "kind": "Node", "name": "none", "uid": "none"}]


EVERYTHING: Final[Object] = {
    "apiGroups": ["*"],
    "apiVersions": ["*"],
    "operations": ["*"],
    "resources": ["*/*"],
    "scope": "*",
}
SPY: Final[Object] = {
    "name": "spy.dinp.io",
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "clientConfig": {"url": ELSEWHERE},
    "rules": [EVERYTHING],
}


def operation(op: str, path: str, value: Any = None) -> Object:
    return {"op": op, "path": path, **({} if op == "remove" else {"value": value})}


def replaced(path: str, value: Any) -> list[Object]:
    return [operation("replace", f"/webhooks/0/{path}", value)]


# What could be done to zz-dinp by who may patch it.
TAMPERING: Final[Mapping[str, list[Object]]] = {
    "reviews go to a URL": [
        operation("remove", "/webhooks/0/clientConfig/service"),
        operation("add", "/webhooks/0/clientConfig/url", ELSEWHERE),
    ],
    "reviews go to another namespace": replaced("clientConfig/service/namespace", "default"),
    "reviews go to another Service": replaced("clientConfig/service/name", "other"),
    "reviews go to another port": replaced("clientConfig/service/port", 444),
    "reviews go to another path": replaced("clientConfig/service/path", "/pods/inject/service"),
    "every object is sent": replaced("rules", [EVERYTHING]),
    "one resource more is sent": [
        operation("add", "/webhooks/0/rules/0/resources/-", "pods/ephemeralcontainers")
    ],
    "one operation more is sent": [operation("add", "/webhooks/0/rules/0/operations/-", "UPDATE")],
    "every namespace is in": replaced("namespaceSelector", {}),
    "kube-system is in": [
        operation("remove", "/webhooks/0/namespaceSelector/matchExpressions/0/values/0")
    ],
    "some Pods are left out": replaced("objectSelector", {"matchLabels": {"a": "b"}}),
    "no conditions": [operation("remove", "/webhooks/0/matchConditions")],
    "another condition": replaced("matchConditions/0/expression", "false"),
    "failures are ignored": replaced("failurePolicy", "Ignore"),
    "a long timeout": replaced("timeoutSeconds", 30),
    "no reinvocation": replaced("reinvocationPolicy", "Never"),
    "exact matches only": replaced("matchPolicy", "Exact"),
    "other side effects": replaced("sideEffects", "NoneOnDryRun"),
    "another name": replaced("name", "other.dinp.io"),
    "an entry more": [operation("add", "/webhooks/-", SPY)],
    "an entry less": [operation("remove", "/webhooks/9")],
    "another entry in the place of one": [operation("replace", "/webhooks/9", SPY)],
    "an owner": [operation("add", "/metadata/ownerReferences", owner())],
    "a finalizer": [operation("add", "/metadata/finalizers", ["dinp.test/never"])],
    "another label": [operation("replace", "/metadata/labels/app.kubernetes.io~1part-of", "x")],
    "no labels": [operation("remove", "/metadata/labels")],
    "an annotation": [operation("add", "/metadata/annotations/dinp.test~1a", "b")],
}
BESIDE: Final = replaced("clientConfig/caBundle", "")
WHOLE: Final[Object] = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingWebhookConfiguration",
    "metadata": {"name": "zz-dinp"},
    "webhooks": [SPY],
}


def of_registration() -> Iterator[tuple[str, Attempt]]:
    for what, operations in TAMPERING.items():
        changes = [*operations, *([] if "entry" in what else BESIDE)]
        yield what, Attempt("PATCH", CONFIGURATION, changes, JSON_PATCH, BY_REGISTRATION)
    for kind, media_type in (("merge", MERGE_PATCH), ("strategic merge", STRATEGIC_PATCH)):
        body = {"webhooks": [SPY]}
        yield (
            f"an entry by {kind} patch",
            Attempt("PATCH", CONFIGURATION, body, media_type, BY_REGISTRATION),
        )
    applied = f"{CONFIGURATION}?fieldManager=dinp-certs&force=true"
    yield (
        "an entry by server-side apply",
        Attempt("PATCH", applied, WHOLE, APPLY_PATCH, BY_REGISTRATION),
    )
    yield "replace zz-dinp", Attempt("PUT", CONFIGURATION, WHOLE)
    yield "delete zz-dinp", Attempt("DELETE", CONFIGURATION)
    yield "create zz-dinp", Attempt("POST", REGISTRATION, WHOLE)


def of_admission() -> Iterator[tuple[str, Attempt]]:
    """Every other configuration and policy."""
    for resource, name in (
        ("mutatingwebhookconfigurations", "other"),
        ("validatingwebhookconfigurations", "zz-dinp"),
        ("validatingadmissionpolicies", BY_SECRETS),
        ("validatingadmissionpolicies", BY_REGISTRATION),
        ("validatingadmissionpolicies", BY_SHARED_SECRETS),
        ("validatingadmissionpolicies", BY_SHARED_REQUESTS),
        ("validatingadmissionpolicies", BY_REQUESTS),
        ("validatingadmissionpolicybindings", BY_SECRETS),
        ("validatingadmissionpolicybindings", BY_REGISTRATION),
        ("validatingadmissionpolicybindings", BY_SHARED_SECRETS),
        ("validatingadmissionpolicybindings", BY_SHARED_REQUESTS),
    ):
        path = f"{ADMISSION}/{resource}"
        labels = {"metadata": {"name": name, "labels": {"a": "b"}}}
        applied = f"{path}/{name}?fieldManager=dinp-certs"
        title = f"{resource} {name}"
        yield f"list {title}", Attempt("GET", path)
        yield f"create {title}", Attempt("POST", path, labels)
        yield f"patch {title}", Attempt("PATCH", f"{path}/{name}", labels, MERGE_PATCH)
        yield f"apply {title}", Attempt("PATCH", applied, labels, APPLY_PATCH)
        yield f"delete {title}", Attempt("DELETE", f"{path}/{name}")
        yield f"delete all {title}", Attempt("DELETE", path)


def creating(place: str, body: Object) -> Attempt:
    """Neither certs may create it, and where: that of the webhook only in dinp-system by RBAC."""
    by = BY_SECRETS if place == SECRETS else BY_RBAC
    return Attempt("POST", place, body, by=by, by_shared=BY_SHARED_SECRETS)


def of_secrets() -> Iterator[tuple[str, Attempt]]:
    for name in ("dinp-ca", "dinp-tls", "dinp-docker-server-ca", CLIENT_SECRET, "other", "dinp-"):
        body = secret(name, TOKEN_TYPE)
        yield f"a token named {name}", creating(SECRETS, body)
    for name in ("other", "dinp-", "dinp-ca-", "dinp-certs-token"):
        yield f"a Secret named {name}", creating(SECRETS, secret(name))
    bootstrap = secret("bootstrap-token-abcdef", "bootstrap.kubernetes.io/token")
    for namespace in ("kube-system", "default", STRANGER):
        path = f"{CORE}/{namespace}/secrets"
        for what, body in (
            ("a token", secret("dinp-ca", TOKEN_TYPE)),
            ("dinp-ca", secret("dinp-ca")),
            ("dinp-docker-client-ca", secret("dinp-docker-client-ca")),
            (CLIENT_SECRET, secret(CLIENT_SECRET)),
            ("a bootstrap token", bootstrap),
        ):
            yield f"{what} in {namespace}", creating(path, body)
        yield f"dinp-ca of {namespace}", Attempt("GET", f"{path}/dinp-ca")
    yield "read another Secret", Attempt("GET", f"{SECRETS}/other")
    yield "list Secrets", Attempt("GET", SECRETS)
    yield "list another Secret", Attempt("GET", f"{SECRETS}?fieldSelector=metadata.name%3Dother")
    yield "watch Secrets", Attempt("GET", f"{SECRETS}?watch=true&timeoutSeconds=1")
    yield "list everybody's Secrets", Attempt("GET", "/api/v1/secrets")
    yield "delete all Secrets", Attempt("DELETE", SECRETS)
    for name in ("dinp-ca", "dinp-tls", SHARED_CA):
        yield from of_secret(SECRETS, name)
        yield f"delete {name}", Attempt("DELETE", f"{SECRETS}/{name}")


def of_client_secrets() -> Iterator[tuple[str, Attempt]]:
    """Where the labels allow shared daemons: certs may write one Secret, and nothing else."""
    place = f"{CORE}/{ALLOWED}/secrets"
    yield from of_secret(place, CLIENT_SECRET)
    for name in ("other", f"{CLIENT_SECRET}-", "dinp-ca", "dinp-tls"):
        yield f"{name} of a tenant", creating(place, secret(name))
        yield f"read {name} of a tenant", Attempt("GET", f"{place}/{name}")
        yield f"delete {name} of a tenant", Attempt("DELETE", f"{place}/{name}")
    yield "list a tenant's Secrets", Attempt("GET", place)
    yield "delete a tenant's Secrets", Attempt("DELETE", place)
    for kind in (TOKEN_TYPE, "kubernetes.io/tls", "a.b/c"):
        body = secret(CLIENT_SECRET, kind)
        body["data"] = {"tls.crt": "", "tls.key": ""}
        yield f"{CLIENT_SECRET} of type {kind}", creating(place, body)
    more = {"data": {"config.json": ""}}
    yield (
        f"a key more in {CLIENT_SECRET}",
        Attempt(
            "PATCH",
            f"{place}/{CLIENT_SECRET}",
            more,
            MERGE_PATCH,
            by_shared=BY_SHARED_SECRETS,
        ),
    )


def of_secret(place: str, name: str) -> Iterator[tuple[str, Attempt]]:
    """Of one that one certs has made, and that the other has no business with."""
    path, owned, kept = f"{place}/{name}", {"ownerReferences": owner()}, {"finalizers": ["a.b/c"]}
    applied = f"{path}?fieldManager=dinp-certs&force=true"
    to_token = {"type": TOKEN_TYPE}
    is_shared = name in (SHARED_CA, CLIENT_SECRET)
    policy: dict[str, Any] = {"by_shared": BY_SHARED_SECRETS} if is_shared else {"by": BY_SECRETS}
    validation: dict[str, Any] = dict.fromkeys(policy, BY_VALIDATION)
    yield f"replace {name}", Attempt("PUT", path, secret(name))
    for what, metadata in (("owner", owned), ("finalizer", kept)):
        body = secret(name, **metadata)
        yield f"{name} with {what}", creating(place, body)
        changed = {"metadata": metadata}
        yield (
            f"{what} of {name} patched",
            Attempt("PATCH", path, changed, MERGE_PATCH, **policy),
        )
        yield (
            f"{what} of {name} applied",
            Attempt("PATCH", applied, without_type(body), APPLY_PATCH, **policy),
        )
    for kind in (MERGE_PATCH, STRATEGIC_PATCH):
        yield f"type of {name} by {kind}", Attempt("PATCH", path, to_token, kind, **validation)
    operations = [operation("replace", "/type", TOKEN_TYPE)]
    yield f"type of {name} by JSON", Attempt("PATCH", path, operations, JSON_PATCH, **validation)
    body = secret(name, TOKEN_TYPE)
    yield f"type of {name} applied", Attempt("PATCH", applied, body, APPLY_PATCH, **validation)


def without_type(body: Object) -> Object:
    return {key: value for key, value in body.items() if key != "type"}


def of_tokens() -> Iterator[tuple[str, Attempt]]:
    request: Object = {"spec": {}}
    for namespace, name in (
        (NAMESPACE, "dinp-certs"),
        (NAMESPACE, "dinp-certs-docker"),
        (NAMESPACE, "dinp"),
        (NAMESPACE, "default"),
        (DAEMONS, "dinp-docker-daemonset"),
        ("kube-system", "default"),
    ):
        path = f"{CORE}/{namespace}/serviceaccounts/{name}/token"
        yield f"token of {namespace}/{name}", Attempt("POST", path, request)
    account = {"metadata": {"name": "other"}}
    yield "a ServiceAccount", Attempt("POST", f"{HERE}/serviceaccounts", account)
    for user, groups in (
        ("admin", "system:masters"),
        ("system:admin", ""),
        ("system:serviceaccount:kube-system:default", ""),
        ("system:serviceaccount:dinp-system:default", ""),
        ("system:kube-controller-manager", ""),
    ):
        headers = {"Impersonate-User": user, **({"Impersonate-Group": groups} if groups else {})}
        yield f"as {user}", Attempt("GET", SECRETS, headers=headers)


def request_for(signer: str, **metadata: Any) -> Object:
    """A CertificateSigningRequest, named after who is to sign it."""
    name = signer.rpartition("/")[2]
    usage = "server auth" if "serv" in signer else "client auth"
    spec = {"request": csr(), "usages": [usage], "signerName": signer}
    return {"metadata": {"name": name, **metadata}, "spec": spec}


@cache
def csr() -> str:
    """A request in PEM, in base64."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return b64encode(made.sign(key, SHA256()).public_bytes(Encoding.PEM)).decode()


# Kubernetes' own, and one that is nobody's; of each there is a request.
SIGNERS: Final = (
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "dinp.io/docker-client",
)


def of_requests() -> Iterator[tuple[str, Attempt]]:
    for signer in SIGNERS:
        body = request_for(signer)
        path = f"{CERTIFICATES}/{body['metadata']['name']}"
        condition = {"type": "Approved", "status": "True", "reason": "a", "message": "b"}
        approval: Object = {**body, "status": {"conditions": [condition]}}
        failure: Object = {**body, "status": {"conditions": [{**condition, "type": "Failed"}]}}
        asked = {**body, "metadata": {"generateName": "a-"}}
        yield f"a request to {signer}", Attempt("POST", CERTIFICATES, asked, by_daemon=BY_REQUESTS)
        yield (
            f"approve for {signer}",
            Attempt("PUT", f"{path}/approval", approval, by_shared=BY_SIGNER),
        )
        yield f"sign for {signer}", Attempt("PUT", f"{path}/status", failure, by_shared=BY_SIGNER)
        yield (
            f"take note for {signer}",
            Attempt("PUT", f"{path}/status", body, by_shared=BY_SHARED_REQUESTS),
        )
        yield f"delete a request to {signer}", Attempt("DELETE", path)
    own, path = request_for(SIGNER), f"{CERTIFICATES}/docker-server"
    for what, metadata in (
        ("an owner", {"ownerReferences": owner()}),
        ("a finalizer", {"finalizers": ["a.b/c"]}),
    ):
        asked = {**own, "metadata": {"generateName": "a-", **metadata}}
        changed = {**own, "metadata": {**own["metadata"], **metadata}}
        yield f"a request with {what}", Attempt("POST", CERTIFICATES, asked, by_daemon=BY_REQUESTS)
        for subresource in ("approval", "status"):
            yield (
                f"{what} by {subresource}",
                Attempt("PUT", f"{path}/{subresource}", changed, by_shared=BY_SHARED_REQUESTS),
            )
    yield "replace a request", Attempt("PUT", path, own)
    yield "delete a request", Attempt("DELETE", path)
    yield "delete all requests", Attempt("DELETE", CERTIFICATES)
    clients = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles"
    yield "trust everywhere", Attempt("POST", clients, {"metadata": {"name": "a"}})


def of_daemons() -> Iterator[tuple[str, Attempt]]:
    """What else is in dinp-daemons."""
    there = f"{CORE}/{DAEMONS}"
    maps = f"{there}/configmaps"
    path = f"{maps}/{CA_CONFIG_MAP}"
    for what, metadata in (
        ("owner", {"ownerReferences": owner()}),
        ("finalizer", {"finalizers": ["a.b/c"]}),
        ("label", {"labels": {"app.kubernetes.io/part-of": "x"}}),
    ):
        changed = {"metadata": metadata}
        by = BY_SHARED_REQUESTS
        yield f"{what} of the CAs", Attempt("PATCH", path, changed, MERGE_PATCH, by_shared=by)
    emptied: Object = {"metadata": {"name": CA_CONFIG_MAP}}
    yield "replace the CAs", Attempt("PUT", path, emptied)
    yield "delete the CAs", Attempt("DELETE", path)
    yield "another ConfigMap", Attempt("POST", maps, {"metadata": {"name": "other"}})
    yield "read daemon.json", Attempt("GET", maps)
    yield "apply another", Attempt("PATCH", f"{maps}/other?fieldManager=a", emptied, APPLY_PATCH)
    yield "a Secret there", creating(f"{there}/secrets", secret("dinp-ca"))
    yield "Secrets there", Attempt("GET", f"{there}/secrets")
    yield "the daemons' Pods", Attempt("GET", f"{there}/pods")
    yield "end a daemon", Attempt("DELETE", f"{there}/pods/dinp-docker-0")
    yield "be in a daemon", Attempt("POST", f"{there}/pods/dinp-docker-0/exec", {})
    sets = f"/apis/apps/v1/namespaces/{DAEMONS}"
    image: Object = {"metadata": {"labels": {"a": "b"}}}
    for name in ("daemonsets", "statefulsets"):
        yield name, Attempt("PATCH", f"{sets}/{name}/dinp-docker", image, MERGE_PATCH)
    yield (
        "a daemon's token",
        Attempt("POST", f"{there}/serviceaccounts/dinp-docker-service/token", {"spec": {}}),
    )


def of_roles() -> Iterator[tuple[str, Attempt]]:
    rule = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    subject = {"kind": "ServiceAccount", "name": "dinp-certs", "namespace": NAMESPACE}
    admin = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "cluster-admin",
    }
    grant: Object = {"metadata": {"name": "other"}, "roleRef": admin, "subjects": [subject]}
    role: Object = {"metadata": {"name": "other"}, "rules": [rule]}
    inside = f"{RBAC}/namespaces/{NAMESPACE}"
    for path, body in (
        (f"{inside}/roles", role),
        (f"{inside}/rolebindings", grant),
        (f"{RBAC}/namespaces/kube-system/rolebindings", grant),
        (f"{RBAC}/clusterroles", role),
        (f"{RBAC}/clusterrolebindings", grant),
    ):
        title = path.removeprefix(f"{RBAC}/")
        yield f"create {title}", Attempt("POST", path, body)
        yield f"patch {title}", Attempt("PATCH", f"{path}/dinp-certs", body, MERGE_PATCH)
        yield f"delete {title}", Attempt("DELETE", f"{path}/dinp-certs")


def of_workloads() -> Iterator[tuple[str, Attempt]]:
    container = {"name": "a", "image": "a"}
    pod: Object = {"metadata": {"name": "a"}, "spec": {"containers": [container]}}
    scaled = {"spec": {"replicas": 0}}
    for namespace in (NAMESPACE, "kube-system", "default"):
        path = f"{CORE}/{namespace}/pods"
        yield f"a Pod in {namespace}", Attempt("POST", path, pod)
        yield f"Pods of {namespace}", Attempt("GET", path)
    for resource in ("exec", "attach", "portforward", "proxy", "eviction", "ephemeralcontainers"):
        yield f"pods/{resource}", Attempt("POST", f"{HERE}/pods/a/{resource}", {})
    deployments = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    for name in ("dinp", "dinp-certs", "dinp-certs-docker"):
        yield f"deployment {name}", Attempt("PATCH", f"{deployments}/{name}", scaled, MERGE_PATCH)
        yield f"delete {name}", Attempt("DELETE", f"{deployments}/{name}")
    for title, path in (
        ("config maps", f"{HERE}/configmaps"),
        ("services", f"{HERE}/services"),
        ("the API server's settings", f"{CORE}/kube-system/configmaps"),
        ("nodes", "/api/v1/nodes"),
        ("a kubelet", "/api/v1/nodes/a/proxy/pods"),
        ("leases", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"),
        ("metrics", "/metrics"),
        ("logs", "/logs/"),
    ):
        yield f"read {title}", Attempt("GET", path)
    labels = {"metadata": {"labels": {"dinp.io/shared-daemon": "allowed"}}}
    yield "grant a daemon", Attempt("PATCH", f"{CORE}/default", labels, MERGE_PATCH)
    endpoints: Object = {"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": []}
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
    yield "endpoints of the Service", Attempt("POST", slices, endpoints)


ATTEMPTS: Final[Mapping[str, Attempt]] = dict(
    [
        *of_registration(),
        *of_admission(),
        *of_secrets(),
        *of_client_secrets(),
        *of_tokens(),
        *of_requests(),
        *of_daemons(),
        *of_roles(),
        *of_workloads(),
    ]
)


@pytest.fixture(scope="module")
def admin(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The manifests in a cluster where certs has work to do, and the policies are in force."""
    with closing(Api(own_cluster)) as api:
        apply_base(own_cluster, api)
        more = kustomization(tmp_path_factory.mktemp("more"), "shared", "daemonset", "service")
        done = own_cluster.kubectl("apply", "--kustomize", str(more))
        assert done.code == 0, done.err
        for namespace in (NAMESPACE, DAEMONS):
            api.create_service_account(namespace, "default")
        assert api.create_namespace(STRANGER).status == 201
        for signer in (*SIGNERS, SIGNER):
            api.must("POST", CERTIFICATES, request_for(signer))
        with (
            as_account(api, NAMESPACE, "dinp-certs") as certs,
            as_account(api, NAMESPACE, "dinp-certs-docker") as shared,
            as_account(api, DAEMONS, SHARED[0]) as daemon,
        ):
            wait_until(lambda: _are_in_force(certs, shared, daemon), "the policies are in force")
            # As certs does it. (It does not run here: whoever has its token may write this, too.)
            shared.must("POST", f"{CORE}/{ALLOWED}/secrets", secret(CLIENT_SECRET))
            shared.must("POST", SECRETS, secret(SHARED_CA))
        yield api


def _are_in_force(certs: Api, shared: Api, daemon: Api) -> bool:
    """Ask for what, were it allowed, would change nothing."""
    labels = {"metadata": {"labels": {"a": "b"}}}
    ca = f"{CORE}/{DAEMONS}/configmaps/{CA_CONFIG_MAP}?dryRun=All"
    other = request_for(SIGNERS[0])
    secrets = Attempt("POST", f"{SECRETS}?dryRun=All", secret("other"))
    configuration = Attempt("PATCH", f"{CONFIGURATION}?dryRun=All", labels, MERGE_PATCH)
    for api, by, attempt in (
        (certs, BY_SECRETS, secrets),
        (certs, BY_REGISTRATION, configuration),
        (shared, BY_SHARED_SECRETS, secrets),
        (shared, BY_SHARED_REQUESTS, Attempt("PATCH", ca, labels, MERGE_PATCH)),
        (daemon, BY_REQUESTS, Attempt("POST", f"{CERTIFICATES}?dryRun=All", other)),
    ):
        if refused_by(attempt.made(api)) != by:
            return False
    return True


@pytest.fixture(scope="module")
def site(admin: Api, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """dinp-certs itself, as it runs in its Deployment; it has done its first pass."""
    made = installed_site(admin, tmp_path_factory.mktemp("certs"))
    assert 3 == asyncio.run(writes(made))
    return made


@contextmanager
def as_account(admin: Api, namespace: str, name: str) -> Iterator[Api]:
    """The API as this ServiceAccount sees it, by a token as its Pods have it."""
    token = admin.service_account_token(namespace, name)
    with closing(Api(admin.cluster, token)) as api:
        yield api


@pytest.fixture(scope="module")
def accounts(site: Site) -> Iterator[Mapping[str, Api]]:
    """One connection for each ServiceAccount."""
    apis = {
        name: Api(site.cluster, site.api.service_account_token(*account))
        for name, account in ACCOUNTS.items()
    }
    yield apis
    for api in apis.values():
        api.close()


@pytest.fixture(scope="module")
def refusals(request: pytest.FixtureRequest) -> Iterator[dict[str, Counter[str]]]:
    """How many attempts of each account were refused, and by whom: printed at the end."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    yield counted
    for account, by in counted.items():
        details = ", ".join(f"{count} by {who}" for who, count in by.most_common())
        teller(request)(f"{account}: {by.total()} attempts refused ({details})")


def refused_by(answer: Answer) -> str:
    """Whose refusal it is, by its sentence."""
    policy = re.search(r"ValidatingAdmissionPolicy '([^']+)' with binding", answer.message)
    if answer.status == 403 and policy:
        return policy[1]
    if answer.status == 403 and re.search(r" cannot \S+ (resource|path) ", answer.message):
        return BY_RBAC
    if answer.status == 403 and "user not permitted to" in answer.message:
        return BY_SIGNER
    if answer.status == 422 and "field is immutable" in answer.message:
        return BY_VALIDATION
    return f"nobody: {answer.status} {answer.message}"


def permissions(api: Api, namespace: str) -> set[Permission]:
    """What `kubectl auth can-i --list` prints, a line for each verb, resource and name."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    status = api.must("POST", path, {"spec": {"namespace": namespace}})["status"]
    assert status["incomplete"] is False
    found = {
        (verb, f"{resource}.{group}".rstrip("."), name)
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for group in rule.get("apiGroups") or [""]
        for resource in rule.get("resources") or [""]
        for name in rule.get("resourceNames") or ["*"]
    }
    paths = {
        (verb, path, "*")
        for rule in status["nonResourceRules"]
        for verb in rule["verbs"]
        for path in rule["nonResourceURLs"]
    }
    return found | paths


@pytest.mark.parametrize("namespace", [NAMESPACE, DAEMONS, ALLOWED, "kube-system", "default"])
@pytest.mark.parametrize("name", ACCOUNTS)
def test_permissions_are_the_table(
    admin: Api, accounts: Mapping[str, Api], name: str, namespace: str
) -> None:
    """Exactly these, beside what a ServiceAccount has that nobody gave anything."""
    with as_account(admin, STRANGER, "default") as stranger:
        everybodys = permissions(stranger, namespace)
    assert everybodys
    expected = EVERYWHERE[name] | INSIDE.get((name, namespace), set())
    assert expected == permissions(accounts[name], namespace) - everybodys


def test_the_table_has_every_account(admin: Api) -> None:
    """No ServiceAccount is left out, those that Kubernetes itself makes included."""
    found = {
        (namespace, account["metadata"]["name"])
        for namespace in (NAMESPACE, DAEMONS)
        for account in admin.must("GET", f"{CORE}/{namespace}/serviceaccounts")["items"]
    }
    assert set(ACCOUNTS.values()) == found
    assert EVERYWHERE.keys() == ACCOUNTS.keys()


@pytest.mark.parametrize("what", ATTEMPTS)
@pytest.mark.parametrize("name", ACCOUNTS)
def test_refused(
    accounts: Mapping[str, Api], refusals: dict[str, Counter[str]], name: str, what: str
) -> None:
    """Whoever has a token of dinp's gets no further: by RBAC, and where that has no word, by policy."""
    attempt = ATTEMPTS[what]
    by = refused_by(attempt.made(accounts[name]))
    expected = {
        "dinp-certs": attempt.by,
        "dinp-certs-docker": attempt.by_shared,
        **dict.fromkeys(SHARED, attempt.by_daemon),
    }
    assert expected.get(name, BY_RBAC) == by
    refusals[name][by] += 1


@contextmanager
def absent(api: Api, path: str) -> Iterator[None]:
    """Be without this object for a while."""
    whole = api.must("GET", path)
    api.must("DELETE", path)
    try:
        yield
    finally:
        for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
            whole["metadata"].pop(key, None)
        api.must("POST", path.rpartition("/")[0], whole)


@pytest.mark.parametrize(
    ("name", "path", "body", "by"),
    [
        ("dinp-certs", f"{SECRETS}/dinp-ca", secret("dinp-ca", TOKEN_TYPE), BY_SECRETS),
        ("dinp-certs", f"{SECRETS}/dinp-tls", secret("dinp-tls", TOKEN_TYPE), BY_SECRETS),
        (
            "dinp-certs",
            f"{SECRETS}/dinp-tls",
            secret("dinp-tls", ownerReferences=owner()),
            BY_SECRETS,
        ),
        ("dinp-certs", CONFIGURATION, WHOLE, BY_RBAC),
        (
            "dinp-certs-docker",
            f"{SECRETS}/{SHARED_CA}",
            secret(SHARED_CA, TOKEN_TYPE),
            BY_SHARED_SECRETS,
        ),
        (
            "dinp-certs-docker",
            f"{CORE}/{ALLOWED}/secrets/{CLIENT_SECRET}",
            secret(CLIENT_SECRET, TOKEN_TYPE),
            BY_SHARED_SECRETS,
        ),
        (
            "dinp-certs-docker",
            f"{CORE}/{DAEMONS}/configmaps/{CA_CONFIG_MAP}",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CA_CONFIG_MAP}},
            BY_RBAC,
        ),
    ],
)
def test_what_is_gone_does_not_come_back_as_another(
    site: Site, accounts: Mapping[str, Api], name: str, path: str, body: Object, by: str
) -> None:
    """Where somebody deleted one of its objects, certs may not make it as it likes."""
    applied = f"{path}?fieldManager=dinp-certs&force=true"
    with absent(site.api, path):
        for attempt in (
            Attempt("PATCH", applied, body, APPLY_PATCH),
            Attempt("POST", path.rpartition("/")[0], body),
        ):
            assert by == refused_by(attempt.made(accounts[name]))


@pytest.mark.parametrize(
    ("name", "others", "by"),
    [
        ("dinp-certs", (SHARED_CA, "dinp-docker-client-ca", CLIENT_SECRET), BY_SECRETS),
        ("dinp-certs-docker", ("dinp-ca", "dinp-tls"), BY_SHARED_SECRETS),
    ],
)
def test_each_certs_has_its_own(
    accounts: Mapping[str, Api], name: str, others: tuple[str, ...], by: str
) -> None:
    """Who has the token of one gets nothing of the other's: neither to read nor to write nor to make."""
    for other in others:
        path = f"{SECRETS}/{other}"
        made = Attempt("POST", f"{SECRETS}?dryRun=All", secret(other))
        assert by == refused_by(made.made(accounts[name]))
        for attempt in (Attempt("GET", path), Attempt("PATCH", path, {"data": {}}, MERGE_PATCH)):
            assert BY_RBAC == refused_by(attempt.made(accounts[name]))


def test_the_administrator_may(site: Site) -> None:
    """All that certs may not do to zz-dinp is valid, and done by others: it is certs that is held."""
    path = f"{CONFIGURATION}?dryRun=All"
    for what, operations in TAMPERING.items():
        answer = site.api.request("PATCH", path, operations, media_type=JSON_PATCH)  # type: ignore[arg-type]  # a JSON patch is a list
        assert answer.status == 200, f"{what}: {answer.message}"


def test_certs_may_do_its_work(site: Site) -> None:
    """Within all that: what others emptied, deleted or applied without caBundle is right again."""
    assert site.is_right()
    site.patch_bundles(None, range(10))
    assert 1 == asyncio.run(writes(site))
    site.api.must("DELETE", site.secret_path("dinp-tls"))
    assert 1 == asyncio.run(writes(site))
    assert site.is_right()
    assert 0 == asyncio.run(writes(site))


def test_owners_and_finalizers_of_others_stay(site: Site) -> None:
    """Who put an owner or a finalizer on a Secret of certs' does not stop its renewal."""
    path = site.secret_path("dinp-tls")
    owned = {"metadata": {"ownerReferences": [{**owner()[0], "uid": "1"}], "finalizers": ["a.b/c"]}}
    site.api.must("PATCH", path, owned, media_type=MERGE_PATCH)
    try:
        site.patch_secret("dinp-tls", {"tls.crt": b""})
        assert 1 == asyncio.run(writes(site))
        assert site.is_right()
    finally:
        free = {"metadata": {"ownerReferences": None, "finalizers": None}}
        site.api.must("PATCH", path, free, media_type=MERGE_PATCH)


def test_a_daemon_and_certs_may_do_their_work(accounts: Mapping[str, Api]) -> None:
    """Within all that: a daemon asks for its certificate, certs decides and answers, it reads."""
    certs = accounts["dinp-certs-docker"]
    for name in SHARED:
        asked = {**request_for(SIGNER), "metadata": {"generateName": f"{name}-"}}
        path = (
            f"{CERTIFICATES}/{accounts[name].must('POST', CERTIFICATES, asked)['metadata']['name']}"
        )
        for subresource, kind in (("approval", "Approved"), ("status", "Failed")):
            found = certs.must("GET", path)
            conditions = found.setdefault("status", {}).setdefault("conditions", [])
            conditions.append({"type": kind, "status": "True", "reason": "a", "message": "b"})
            certs.must("PUT", f"{path}/{subresource}", found)
        answered = accounts[name].must("GET", path)["status"]["conditions"]
        assert ["Approved", "Failed"] == sorted(condition["type"] for condition in answered)


def test_certs_may_publish_the_cas(site: Site, accounts: Mapping[str, Api]) -> None:
    """Of the ConfigMap that the manifests bring empty it may write the data, also by an apply."""
    path = f"{CORE}/{DAEMONS}/configmaps/{CA_CONFIG_MAP}"
    assert "data" not in site.api.must("GET", path)
    data = {"data": {"client-ca.pem": "a", "server-ca.pem": "b"}}
    answer = accounts["dinp-certs-docker"].must("PATCH", path, data, media_type=MERGE_PATCH)
    assert data["data"] == answer["data"]


def test_certs_renews_beside_the_keys_of_others(site: Site, accounts: Mapping[str, Api]) -> None:
    """What somebody else added to a namespace's client certificate does not stop certs; it stays."""
    path = f"{CORE}/{ALLOWED}/secrets/{CLIENT_SECRET}"
    site.api.must("PATCH", path, {"data": {"other": "YQ=="}}, media_type=MERGE_PATCH)
    try:
        renewed = {"data": {"cert.pem": "Yg=="}}
        answer = accounts["dinp-certs-docker"].must("PATCH", path, renewed, media_type=MERGE_PATCH)
        assert ("YQ==", "Yg==") == (answer["data"]["other"], answer["data"]["cert.pem"])
        changed = Attempt("PATCH", path, {"data": {"other": "Yg=="}}, MERGE_PATCH)
        assert BY_SHARED_SECRETS == refused_by(changed.made(accounts["dinp-certs-docker"]))
    finally:
        site.api.must("PATCH", path, {"data": {"other": None}}, media_type=MERGE_PATCH)
