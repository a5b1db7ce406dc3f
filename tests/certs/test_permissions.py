"""Each request that certs and a shared daemon's keeper can make, and the rule of the manifests that allows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import aclosing
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from certs import calls, store
from certs.records import Authorities, Configuration, Metadata
from certs.shared import store as shared
from certs.shared.dry_runs import DryRuns
from certs.shared.forbidden import Attempt, There, attempts
from certs.shared.names import Names
from keeper import api as keeper_api
from tests.certs.recorder import Attributes, Sent, recording

MANIFESTS: Final = Path(__file__).parents[2] / "manifests"
CONFIGURATIONS: Final = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
REQUESTS: Final = "certificatesigningrequests.certificates.k8s.io"
APPROVAL: Final = "certificatesigningrequests/approval.certificates.k8s.io"
STATUS: Final = "certificatesigningrequests/status.certificates.k8s.io"
SYSTEM: Final = "dinp-system"
DAEMONS: Final = "dinp-daemons"
TENANT: Final = "tenant"
REQUEST: Final = {"request": "YQ==", "signerName": "a", "usages": ["server auth"]}

WEBHOOKS: Final = {
    *((verb, "secrets", SYSTEM, "dinp-ca") for verb in ("get", "watch", "patch")),
    *((verb, "secrets", SYSTEM, "dinp-tls") for verb in ("get", "watch", "patch")),
    ("create", "secrets", SYSTEM, ""),
    *((verb, CONFIGURATIONS, "", "zz-dinp") for verb in ("get", "watch", "patch")),
}
SHARED: Final = {
    *((verb, "secrets", SYSTEM, "dinp-docker-server-ca") for verb in ("get", "watch", "patch")),
    *((verb, "secrets", SYSTEM, "dinp-docker-client-ca") for verb in ("get", "watch", "patch")),
    ("create", "secrets", SYSTEM, ""),
    *((verb, "secrets", TENANT, "dinp-client-tls") for verb in ("get", "patch", "delete")),
    ("create", "secrets", TENANT, ""),
    *((verb, "secrets", "", "dinp-client-tls") for verb in ("list", "watch")),
    *((verb, "namespaces", "", "") for verb in ("list", "watch")),
    *((verb, "configmaps", DAEMONS, "dinp-docker-ca") for verb in ("get", "patch")),
    *((verb, REQUESTS, "", "") for verb in ("list", "watch")),
    ("get", REQUESTS, "", "request"),
    ("update", APPROVAL, "", "request"),
    ("update", STATUS, "", "request"),
    ("get", "pods", DAEMONS, "pod"),
    ("get", "nodes", "", "node"),
}
# What the policies have to refuse is asked for by the same rules, in these namespaces beside them.
DRY_RUNS: Final = {("create", "secrets", place, "") for place in (DAEMONS, "other")}
KEEPER: Final = {("create", REQUESTS, "", ""), ("get", REQUESTS, "", "x")}

Sends = Mapping[str, Callable[[], Awaitable[Any] | AsyncGenerator[Any]]]


@pytest.fixture
async def sent_by_webhooks(tmp_path: Path) -> list[Sent]:
    """All that `dinp certs run` can send."""
    async with recording(tmp_path) as (api, file), calls.connected(file) as connection:
        made = store.Store(connection, store.Names())
        read = Configuration({"one": b""}, "1")
        sends: Sends = {
            "read": made.read,
            "write_secret": lambda: _each(
                made.write_secret(what, {"a": b"a", "b": None}, version)
                for what in ("ca", "leaf")
                for version in (None, "1")
            ),
            "write_bundle": lambda: made.write_bundle(b"ca", read),
            "watch": lambda: _all(made.watch(what) for what in ("ca", "leaf", "configuration")),
        }
        await _send(store.Store, sends)
        return api.sent


@pytest.fixture
async def sent_by_shared(tmp_path: Path) -> list[Sent]:
    """All that `dinp certs run-shared` can send to do its work."""
    async with recording(tmp_path) as (api, file), calls.connected(file) as connection:
        made = shared.Store(connection, Names())
        request = {"metadata": {"name": "request"}, "spec": REQUEST, "status": {"conditions": []}}
        sends: Sends = {
            "read_authorities": lambda: _each(
                made.read_authorities(which) for which in ("server", "client")
            ),
            "write_authorities": lambda: _each(
                made.write_authorities(which, Authorities(old=(b"old",)), version)
                for which in ("server", "client")
                for version in (None, "1")
            ),
            "publish": lambda: made.publish({"server-ca.pem": b"ca"}),
            "namespaces": made.namespaces,
            "client_secrets": made.client_secrets,
            "read_client": lambda: made.read_client(TENANT),
            "write_client": lambda: _each(
                made.write_client(TENANT, {"key.pem": b"key"}, version) for version in (None, "1")
            ),
            "delete_client": lambda: made.delete_client(TENANT),
            "requests": made.requests,
            "requests_by": lambda: made.requests_by("spec.signerName!=a"),
            "request": lambda: made.request("request"),
            "pod": lambda: made.pod("pod"),
            "node": lambda: made.node("node"),
            "decide": lambda: made.decide(request),
            "answer": lambda: made.answer(request),
            "watch": lambda: _all(
                made.watch(what)
                for what in ("namespaces", "secrets", "requests", "server", "client")
            ),
        }
        await _send(shared.Store, sends, but={"foreign"})
        return api.sent


@pytest.fixture
async def sent_by_dry_runs(tmp_path: Path) -> list[Sent]:
    """All that it sends to see whether the policies hold."""
    async with recording(tmp_path) as (api, file), calls.connected(file) as connection:
        made = DryRuns(connection, shared.Store(connection, Names()))
        await made.there()
        api.sent.clear()
        for attempt in _attempts():
            await made.dry_run(attempt)
        return api.sent


@pytest.fixture
async def sent_by_keeper(tmp_path: Path) -> list[Sent]:
    """All that a shared daemon's keeper sends."""
    async with recording(tmp_path) as (api, file):
        await keeper_api.signed(["localhost"], pod="pod", lifetime=None, kubeconfig=file)
        return api.sent


def test_the_webhooks_certs(sent_by_webhooks: list[Sent]) -> None:
    """It sends these, and manifests/base allows each of them."""
    found = {sent.attributes for sent in sent_by_webhooks}
    assert WEBHOOKS == found
    assert set() == found - _granted(found, "base/certs-permissions.yaml")


def test_the_shared_daemons_certs(sent_by_shared: list[Sent]) -> None:
    """It sends these, and manifests/shared allows each of them."""
    found = {sent.attributes for sent in sent_by_shared}
    assert SHARED == found
    assert set() == found - _granted(found, "shared/certs-permissions.yaml")


def test_dry_runs(sent_by_dry_runs: list[Sent]) -> None:
    """What policies have to refuse is allowed by RBAC, or nobody knew who refused; none of it is done."""
    found = {sent.attributes for sent in sent_by_dry_runs}
    assert found <= SHARED | DRY_RUNS
    assert found >= DRY_RUNS
    assert set() == found - _granted(found, "shared/certs-permissions.yaml")
    assert [{"dryRun": "All"}] * len(sent_by_dry_runs) == [sent.query for sent in sent_by_dry_runs]


def test_the_keeper(sent_by_keeper: list[Sent]) -> None:
    """It sends these, and manifests/shared allows each of them."""
    found = {sent.attributes for sent in sent_by_keeper}
    assert KEEPER == found
    assert set() == found - _granted(found, "shared/daemons-permissions.yaml")


def test_how_each_is_sent(
    sent_by_webhooks: list[Sent], sent_by_shared: list[Sent], sent_by_keeper: list[Sent]
) -> None:
    """By the kubeconfig's token, as JSON; a patch of a part merges, and conflicts by resourceVersion.

    A list comes in pages and a watch ends; either has metadata alone, and so has what a write answers of a Secret.
    """
    for sent in (*sent_by_webhooks, *sent_by_shared, *sent_by_keeper):
        verb, resource, _, _ = sent.attributes
        assert "Bearer secret" == sent.headers["authorization"]
        is_patch = verb == "patch"
        kind = "application/strategic-merge-patch+json" if is_patch else "application/json"
        assert kind == sent.headers["Content-Type"]
        accepted = sent.headers["Accept"].partition(";as=")[2].partition(";")[0]
        if verb == "list":
            assert ("500", "PartialObjectMetadataList") == (sent.query["limit"], accepted)
        elif verb == "watch":
            assert ("true", "240") == (sent.query["watch"], sent.query["timeoutSeconds"])
        written = resource == "secrets" and verb in ("create", "patch")
        if verb != "list" and resource != CONFIGURATIONS:
            assert ("PartialObjectMetadata" if written or verb == "watch" else "") == accepted
        if is_patch:
            assert "1" == sent.body["metadata"]["resourceVersion"]
        if is_patch or written:
            assert "dinp-certs" == sent.query["fieldManager"]


async def test_names_are_quoted(tmp_path: Path) -> None:
    """Whatever stands in a request of a daemon's, it is one part of a path."""
    async with recording(tmp_path) as (api, file), calls.connected(file) as connection:
        await shared.Store(connection, Names()).node("a/b?c=d#e%2f é")
        assert ["/api/v1/nodes/a%2Fb%3Fc=d%23e%252f%20%C3%A9"] == [it.path for it in api.sent]


async def _send(kind: type, sends: Sends, but: set[str] = frozenset()) -> None:  # type: ignore[assignment]  # never written to
    """Call each; all public methods of `kind` are among them."""
    assert {
        name for name, _ in getmembers(kind, isfunction) if name[0] != "_"
    } - but == sends.keys()
    for send in sends.values():
        sending = send()
        if isinstance(sending, AsyncGenerator):
            async with aclosing(sending):
                async for _ in sending:
                    pass
        else:
            await sending


async def _each(several: Iterator[Coroutine[Any, Any, Any]]) -> None:
    for one in several:
        await one


async def _all(watches: Iterator[AsyncGenerator[None]]) -> None:
    for watch in watches:
        async with aclosing(watch):
            async for _ in watch:
                pass


def _attempts() -> Iterator[Attempt]:
    """What is tried in a cluster that has everything to try it on."""
    request = {"metadata": {"name": "request"}, "spec": REQUEST}
    namespaces = [Metadata("tenant", labels={"dinp.io/inject": "service"}), Metadata("other")]
    yield from attempts(Names(), There(namespaces, True, request, request))


def _granted(found: set[Attributes], file: str) -> set[Attributes]:
    """Those that a Role in their namespace or a ClusterRole allows."""
    roles = [
        it
        for it in yaml.safe_load_all((MANIFESTS / file).read_text(encoding="utf-8"))
        if it["kind"] in ("Role", "ClusterRole")
    ]
    return {one for one in found if any(_allows(role, one) for role in roles)}


def _allows(role: Mapping[str, Any], wanted: Attributes) -> bool:
    verb, resource, namespace, name = wanted
    where = role["metadata"].get("namespace")
    return where in (None, namespace) and any(
        verb in rule["verbs"]
        and resource
        in {f"{it}.{group}".rstrip(".") for it in rule["resources"] for group in rule["apiGroups"]}
        and name in rule.get("resourceNames", [name])
        for rule in role["rules"]
    )
