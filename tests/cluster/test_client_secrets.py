"""Where `dinp certs run-shared` may write client certificates: as the API server itself judges the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final

import pytest

from tests.cluster.api import Api, Cluster, Object
from tests.cluster.installation import OLDER_NAMESPACES, RULE_NAMESPACES, apply_base, apply_shared
from tests.cluster.processes import wait_until
from webhook.asking import rules

pytestmark = pytest.mark.cluster

NAME: Final = "dinp-client-tls"
# Both labels at once, beside each rule's own and the typos that are older than the policy.
BOTH: Final[Mapping[str, Mapping[str, str]]] = {
    f"both-{inject}-{migrate}{shared}": {
        rules.INJECT: inject,
        rules.MIGRATE: migrate,
        **({rules.SHARED_DAEMON: "allowed"} if shared else {}),
    }
    for inject in rules.MODES
    for migrate in rules.MODES
    for shared in ("", "-shared")
}
NAMESPACES: Final = {**RULE_NAMESPACES, **OLDER_NAMESPACES, **BOTH}


def written(api: Api, namespace: str) -> int:
    """Create the Secret as certs does, but for keeps; the status of the answer."""
    keys = ("ca.pem", "cert.pem", "key.pem")
    whole: Object = {"metadata": {"name": NAME}, "type": "Opaque", "data": dict.fromkeys(keys, "")}
    path = f"/api/v1/namespaces/{namespace}/secrets?dryRun=All"
    return api.request("POST", path, whole).status


@pytest.fixture(scope="module")
def admin(own_cluster: Cluster) -> Iterator[Api]:
    """The manifests, and a namespace for whatever labels say; typos are older than the policies."""
    with closing(Api(own_cluster)) as api:
        for name, labels in OLDER_NAMESPACES.items():
            assert api.create_namespace(name, labels).status == 201
        apply_base(own_cluster, api)
        apply_shared(own_cluster)
        for name, labels in BOTH.items():
            assert api.create_namespace(name, labels).status == 201
        yield api


@pytest.fixture(scope="module")
def certs(admin: Api) -> Iterator[Api]:
    """The API as `dinp certs run-shared` sees it, with the policy in force."""
    token = admin.service_account_token("dinp-system", "dinp-certs-docker")
    with closing(Api(admin.cluster, token)) as api:
        wait_until(lambda: written(api, "default") == 403, "the policy is in force")
        yield api


@pytest.mark.parametrize("name", NAMESPACES)
def test_where_the_labels_allow_shared_daemons(certs: Api, name: str) -> None:
    """In a namespace whose rule lets Pods ask for a shared daemon, and in no other."""
    rule = rules.for_namespace(name, NAMESPACES[name])
    assert rule is not None
    assert (201 if rule.allows_shared else 403) == written(certs, name)


def test_a_label_that_goes_takes_the_permission_along(admin: Api, certs: Api) -> None:
    """What was allowed is refused as soon as the label is gone, and what is there can be deleted."""
    path = "/api/v1/namespaces/loses-its-label"
    labels = {rules.SHARED_DAEMON: "allowed"}
    assert admin.create_namespace("loses-its-label", labels).status == 201
    wait_until(lambda: written(certs, "loses-its-label") == 201, "the label is seen")
    whole: Object = {"metadata": {"name": NAME}, "type": "Opaque"}
    certs.must("POST", f"{path}/secrets", whole)
    gone: Object = {"metadata": {"labels": {rules.SHARED_DAEMON: None}}}
    merge = "application/merge-patch+json"
    admin.must("PATCH", path, gone, media_type=merge)
    wait_until(lambda: written(certs, "loses-its-label") == 403, "the label's end is seen")
    renewal: Object = {"data": {"cert.pem": "YQ=="}}
    secret = f"{path}/secrets/{NAME}"
    assert certs.request("PATCH", secret, renewal, media_type=merge).status == 403
    certs.must("DELETE", secret)
