"""People who may label namespaces, and of them one who may hand out shared daemons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.cluster.api import Answer, Api, Cluster, Object
from tests.cluster.control_plane import user_token
from tests.cluster.processes import wait_until
from webhook.asking import rules

NAMESPACES: Final = "/api/v1/namespaces"
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_ROLE: Final = {
    "apiGroups": [""],
    "resources": ["namespaces", "namespaces/status", "namespaces/finalize"],
    "verbs": ["get", "create", "update", "patch"],
}


@dataclass(frozen=True)
class People:
    """Their connections; `granter` is a labeller who may use shareddaemons.dinp.io, too."""

    admin: Api
    labeller: Api
    granter: Api


@contextmanager
def people(cluster: Cluster) -> Iterator[People]:
    """Give them their permissions; return when the API server and the policy go by them.

    ClusterRole and policy of manifests/base/shared-daemon-grants.yaml have to be there.
    """
    token = cluster.token
    with (
        closing(Api(cluster)) as admin,
        closing(Api(cluster, user_token(token, "labeller"))) as labeller,
        closing(Api(cluster, user_token(token, "granter"))) as granter,
    ):
        admin.must("POST", f"{RBAC}/clusterroles", named("labels-namespaces", rules=[_ROLE]))
        for role, user in (
            ("labels-namespaces", "labeller"),
            ("labels-namespaces", "granter"),
            ("dinp-shared-daemons", "granter"),
        ):
            group = "rbac.authorization.k8s.io"
            reference = {"apiGroup": group, "kind": "ClusterRole", "name": role}
            subject = {"apiGroup": group, "kind": "User", "name": user}
            binding = named(f"{role}-{user}", roleRef=reference, subjects=[subject])
            admin.must("POST", f"{RBAC}/clusterrolebindings", binding)
        known = People(admin, labeller, granter)
        wait_until(lambda: _are_granted(known), "the API server knows what they may")
        yield known


def _are_granted(known: People) -> bool:
    """Whether labels are both users' to give, and grants only one's."""
    team, grant = {"team": "build"}, {rules.SHARED_DAEMON: "allowed"}
    asked = (
        *((known.labeller, team), (known.granter, team)),
        *((known.granter, grant), (known.labeller, grant)),
    )
    answers = [create(api, named("new", labels)).status for api, labels in asked]
    return answers == [201, 201, 201, 403]


def named(name: str, labels: Mapping[str, str] | None = None, **fields: Any) -> Object:
    """An object of this name."""
    metadata: Object = {"name": name}
    if labels is not None:
        metadata["labels"] = dict(labels)
    return {"metadata": metadata, **fields}


def create(api: Api, body: Object) -> Answer:
    """Create a namespace, without keeping it."""
    return api.request("POST", f"{NAMESPACES}?dryRun=All", body)
