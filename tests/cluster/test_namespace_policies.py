"""Who may give a namespace which of our labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Literal

import pytest

from tests.cluster import labellers
from tests.cluster.api import MERGE_PATCH, Answer, Api
from tests.cluster.installation import OLDER_NAMESPACES, Installation
from tests.cluster.labellers import named
from tests.cluster.processes import wait_until

pytestmark = pytest.mark.cluster

GRANTS = [
    ("dinp.io/inject", "daemonset"),
    ("dinp.io/inject", "service"),
    ("dinp.io/migrate", "daemonset"),
    ("dinp.io/migrate", "service"),
    ("dinp.io/shared-daemon", "allowed"),
]
TYPOS = [
    ("dinp.io/inject", "sidcar"),
    ("dinp.io/inject", "false"),
    ("dinp.io/inject", ""),
    ("dinp.io/migrate", "Sidecar"),
    ("dinp.io/migrate", "true"),
    ("dinp.io/shared-daemon", "true"),
    ("dinp.io/shared-daemon", "Allowed"),
]


@pytest.fixture(scope="module")
def users(dinp: Installation) -> Iterator[Mapping[str, Api]]:
    """Two who may label namespaces; `granter` may also use shareddaemons.dinp.io."""
    with labellers.people(dinp.cluster) as known:
        yield {"labeller": known.labeller, "granter": known.granter, "admin": known.admin}


def label(
    api: Api,
    namespace: str,
    labels: Mapping[str, str | None],
    subresource: Literal["", "/status"] = "",
) -> Answer:
    """Change labels, without keeping the change."""
    path = f"/api/v1/namespaces/{namespace}{subresource}?dryRun=All"
    patch = {"metadata": {"labels": dict(labels)}}
    return api.request("PATCH", path, patch, media_type=MERGE_PATCH)


@pytest.mark.parametrize(("key", "value"), TYPOS)
def test_unknown_values_are_refused(users: Mapping[str, Api], key: str, value: str) -> None:
    """At creation and later, for admins too: the refusal names label, value and the valid ones."""
    path = "/api/v1/namespaces?dryRun=All"
    created = users["admin"].request("POST", path, named("new", {key: value}))
    for answer in (created, label(users["admin"], "default", {key: value})):
        assert answer.status == 422
        assert f"label {key}: '{value}'" in answer.message
        assert "expected " in answer.message


@pytest.mark.parametrize("namespace", OLDER_NAMESPACES)
def test_older_typos_block_nothing_else(users: Mapping[str, Api], namespace: str) -> None:
    """A typo that is older than the policy may stay, be removed or be corrected."""
    labels = OLDER_NAMESPACES[namespace]
    corrected = {
        "dinp.io/inject": "sidecar",
        "dinp.io/migrate": "sidecar",
        "dinp.io/shared-daemon": "allowed",
    }
    changes: list[Mapping[str, str | None]] = [
        {"team": "build"},
        dict.fromkeys(labels),
        {key: corrected[key] for key in labels},
    ]
    for change in changes:
        answer = label(users["admin"], namespace, change)
        assert answer.status == 200, answer.message


@pytest.mark.parametrize(("key", "value"), GRANTS)
def test_grants_take_the_permission(users: Mapping[str, Api], key: str, value: str) -> None:
    """Labelling namespaces does not include handing out shared daemons."""
    refused = label(users["labeller"], "annotated", {key: value})
    assert refused.status == 403
    assert f"label {key}: '{value}'" in refused.message
    assert "shareddaemons.dinp.io" in refused.message
    for user in ("granter", "admin"):
        assert label(users[user], "annotated", {key: value}).status == 200


@pytest.mark.parametrize(("key", "value"), GRANTS)
def test_grants_at_creation(users: Mapping[str, Api], key: str, value: str) -> None:
    """A new namespace is no way around it."""
    path = "/api/v1/namespaces?dryRun=All"
    body = named("new", {key: value})
    assert users["labeller"].request("POST", path, body).status == 403
    assert users["granter"].request("POST", path, body).status == 201


@pytest.mark.parametrize(("key", "value"), [*GRANTS, *TYPOS])
def test_no_way_around_by_the_status(users: Mapping[str, Api], key: str, value: str) -> None:
    """An update of the status can change labels; the policies see it."""
    plain = label(users["labeller"], "annotated", {"team": "build"}, "/status")
    assert "build" == plain.body["metadata"]["labels"]["team"]
    answer = label(users["labeller"], "annotated", {key: value}, "/status")
    assert answer.status in (403, 422)


@pytest.mark.parametrize("key", ["dinp.io/inject", "dinp.io/migrate"])
def test_a_sidecar_is_no_grant(users: Mapping[str, Api], key: str) -> None:
    """Pod Security judges sidecars, so who labels namespaces may have them."""
    assert label(users["labeller"], "annotated", {key: "sidecar"}).status == 200


@pytest.mark.parametrize("namespace", ["annotated-shared", "inject-daemonset", "migrate-service"])
def test_granted_namespaces_stay_editable(users: Mapping[str, Api], namespace: str) -> None:
    """Others may go on labelling a namespace that has its grant, and may take the grant away."""
    labeller = users["labeller"]
    ours: dict[str, str | None] = dict.fromkeys(
        ("dinp.io/inject", "dinp.io/migrate", "dinp.io/shared-daemon")
    )
    assert label(labeller, namespace, {"team": "build"}).status == 200
    assert label(labeller, namespace, ours).status == 200


def test_pod_security_is_kubernetes_to_guard(users: Mapping[str, Api]) -> None:
    """Who may label a namespace may set its Pod Security level, too: no policy of dinp's is about that."""
    level = {"pod-security.kubernetes.io/enforce": "privileged"}
    answer = label(users["labeller"], "annotated", level)
    assert answer.status == 200, answer.message
    assert level.items() <= answer.body["metadata"]["labels"].items()


@pytest.fixture(scope="module")
def owner(dinp: Installation) -> Iterator[Api]:
    """Who has Kubernetes' role `admin` in a namespace, and nothing outside."""
    # By its parts: it is a controller that adds them up, and none runs here.
    for role in ("admin", "edit", "view"):
        reference = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": f"system:aggregate-to-{role}",
        }
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}
        binding = named(f"owner-{role}", roleRef=reference, subjects=[subject])
        dinp.api.must("POST", f"{labellers.RBAC}/namespaces/annotated/rolebindings", binding)
    with closing(dinp.user("tenant")) as api:
        wait_until(lambda: _may_write_secrets(api), "the API server knows what it may")
        yield api


def _may_write_secrets(api: Api) -> bool:
    path = "/api/v1/namespaces/annotated/secrets?dryRun=All"
    return api.request("POST", path, named("any")).status == 201


@pytest.mark.parametrize(("key", "value"), [*GRANTS, ("dinp.io/inject", "sidecar")])
def test_who_owns_a_namespaces_objects_does_not_label_it(owner: Api, key: str, value: str) -> None:
    """Role `admin` of a namespace is all that is in it, and no label of it, by no subresource."""
    for answer in (
        label(owner, "annotated", {key: value}),
        label(owner, "annotated", {key: value}, "/status"),
    ):
        assert answer.status == 403
        assert "cannot patch resource" in answer.message


def test_one_grant_is_not_another(users: Mapping[str, Api]) -> None:
    """A namespace with one shared mode may not be moved to the other without the permission."""
    answer = label(users["labeller"], "inject-daemonset", {"dinp.io/inject": "service"})
    assert answer.status == 403


def test_kubectl_says_why(dinp: Installation) -> None:
    """What a person reads who mistypes a label."""
    done = dinp.cluster.kubectl("label", "namespace", "default", "dinp.io/inject=sidcar")
    assert done.code == 1
    sentence = (
        "label dinp.io/inject: 'sidcar' is not a mode, expected sidecar, daemonset or service"
    )
    assert sentence in done.err
