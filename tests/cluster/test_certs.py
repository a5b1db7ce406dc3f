"""`dinp certs run` at a real API server: as a ServiceAccount that may do no more than it needs."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
import yaml

from certs import calls, issuance, passes, records, rotation, store
from certs.errors import ConflictError, StoreError
from certs.policy import Policy
from tests.certs.openssl import is_verified
from tests.cluster.api import JSON_PATCH, MERGE_PATCH, Api, Cluster, Object
from tests.cluster.installation import BASE, REGISTRATION, SERVICE_NAME, write_kubeconfig
from tests.cluster.processes import PATIENCE, wait_until
from tests.terminal import teller

pytestmark = pytest.mark.cluster

RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
Tell = Callable[[str], None]
ACCOUNT: Final = "dinp-certs"
HEAL_SECONDS: Final = 5.0
_numbers = count()


@dataclass(frozen=True)
class Site:
    """A namespace, a configuration and a ServiceAccount of a test's own."""

    api: Api
    cluster: Cluster
    namespace: str
    configuration: str
    kubeconfig: Path
    policy: Policy

    @property
    def names(self) -> store.Names:
        return store.Names(namespace=self.namespace, configuration=self.configuration)

    def secret_path(self, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets/{name}".rstrip("/")

    @property
    def configuration_path(self) -> str:
        return f"{REGISTRATION}/{self.configuration}"

    def secret(self, name: str) -> dict[str, bytes]:
        """The data of a Secret; empty where there is none."""
        body = self.api.get(self.secret_path(name)).body
        return {key: b64decode(value) for key, value in (body.get("data") or {}).items()}

    def bundles(self) -> list[bytes]:
        """Every caBundle."""
        body = self.api.must("GET", self.configuration_path)
        return [
            b64decode(webhook["clientConfig"].get("caBundle", "")) for webhook in body["webhooks"]
        ]

    def versions(self) -> list[str]:
        """The resourceVersion of every object."""
        paths = [self.secret_path("dinp-ca"), self.secret_path("dinp-tls"), self.configuration_path]
        return [self.api.must("GET", path)["metadata"]["resourceVersion"] for path in paths]

    def history(self, path: str, name: str, since: str) -> list[Object]:
        """Every version of an object after the resourceVersion `since`: none gets lost."""
        now = self.api.must("GET", f"{path}/{name}")["metadata"]["resourceVersion"]
        for seconds in (1, 5, 25):  # a watch of a busy API server may end before the last
            query = f"watch=true&resourceVersion={since}&timeoutSeconds={seconds}"
            answer = self.api.get(f"{path}?{query}&fieldSelector=metadata.name%3D{name}")
            # Several lines of JSON come as they are, one comes decoded.
            text = answer.body.get("message")
            events = [answer.body] if text is None else map(json.loads, text.splitlines())
            versions = [event["object"] for event in events if event]
            if now in [version["metadata"]["resourceVersion"] for version in versions]:
                return versions
        raise AssertionError(f"no watch of {path}/{name} brings it as it is")

    def is_right(self) -> bool:
        """Whether the served certificate is whole, and every caBundle verifies it."""
        secret = self.secret("dinp-tls")
        snapshot = records.Snapshot(records.Secret(secret, ""), None, None)
        seen = records.seen(snapshot)
        signing = records.read_authorities(self.secret("dinp-ca")).signing
        return (
            seen.leaf is not None
            and signing is not None
            and all(
                is_verified(secret["tls.crt"], bundle) and signing.certificate in bundle
                for bundle in set(self.bundles())
            )
        )

    def patch_bundles(self, value: str | None, entries: range) -> None:
        """Overwrite or remove the caBundle of some entries, as somebody else."""
        path = "/webhooks/{}/clientConfig/caBundle"
        operations: list[Object] = [
            {"op": "remove", "path": path.format(entry)}
            if value is None
            else {"op": "replace", "path": path.format(entry), "value": value}
            for entry in entries
        ]
        self.api.must("PATCH", self.configuration_path, operations, media_type=JSON_PATCH)  # type: ignore[arg-type]  # a JSON patch is a list

    def patch_secret(self, name: str, data: dict[str, bytes | None]) -> None:
        """Overwrite keys of a Secret, as somebody else."""
        encoded = {
            key: None if value is None else b64encode(value).decode() for key, value in data.items()
        }
        path = self.secret_path(name)
        self.api.must("PATCH", path, {"data": encoded}, media_type=MERGE_PATCH)


def documents(file: str, namespace: str) -> list[Object]:
    """A file of manifests/base for another namespace, and with other names where there is none."""
    text = (BASE / file).read_text(encoding="utf-8")
    text = text.replace("dinp-system", namespace).replace("zz-dinp", f"zz-{namespace}")
    found: list[Object] = list(yaml.safe_load_all(text))
    own = f"zz-{namespace}"
    for document in found:
        if "namespace" not in document["metadata"]:
            document["metadata"]["name"] = own
            if "roleRef" in document:
                document["roleRef"]["name"] = own
    return found


def webhook_configuration(namespace: str) -> Object:
    """The one of manifests/base, for no namespace's Pods at all."""
    (whole,) = documents("webhook.yaml", namespace)
    nowhere = {"matchLabels": {"dinp.test/never": "true"}}
    for webhook in whole["webhooks"]:
        webhook["namespaceSelector"] = nowhere
    return whole


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Print a measured figure."""
    return teller(request)


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    """An empty one."""
    name = f"certs-{next(_numbers)}"
    with closing(Api(cluster)) as api:
        yield make_site(api, cluster, name, tmp_path)
        api.request("DELETE", f"{REGISTRATION}/zz-{name}")


def make_site(api: Api, cluster: Cluster, name: str, directory: Path) -> Site:
    """Make namespace, configuration, ServiceAccount and its kubeconfig."""
    assert api.create_namespace(name).status == 201
    api.must("POST", REGISTRATION, webhook_configuration(name))
    api.create_service_account(name, "dinp-certs")
    policy = Policy(names=(f"dinp.{name}.svc",))
    made = Site(api, cluster, name, f"zz-{name}", directory / f"{name}.kubeconfig", policy)
    grant(made)
    write_kubeconfig(api, ACCOUNT, made.kubeconfig, name)
    return made


def installed_site(api: Api, directory: Path) -> Site:
    """That of manifests/base, where they are applied."""
    policy = Policy(names=(SERVICE_NAME,))
    file = directory / "kubeconfig"
    write_kubeconfig(api, ACCOUNT, file)
    return Site(api, api.cluster, "dinp-system", "zz-dinp", file, policy)


def grant(site: Site) -> None:
    """Give its ServiceAccount the permissions of the manifests."""
    for document in documents("certs-permissions.yaml", site.namespace):
        namespace = document["metadata"].get("namespace")
        inside = f"/namespaces/{namespace}" if namespace else ""
        site.api.must("POST", f"{RBAC}{inside}/{document['kind'].lower()}s", document)
    wait_until(
        lambda: (
            may(site, "get", "secrets/dinp-ca")
            and may(site, "create", "secrets/dinp-ca")
            and may(site, "patch", "mutatingwebhookconfigurations")
        ),
        "the API server knows",
    )


def may(site: Site, verb: str, resource: str) -> bool:
    """Whether its ServiceAccount may, as the API server knows it by now; the errors' words."""
    kind, _, name = resource.partition("/")
    group = "" if kind == "secrets" else "admissionregistration.k8s.io"
    what = {"group": group, "resource": kind, "name": name or site.configuration}
    return site.api.may(site.namespace, "dinp-certs", namespace=site.namespace, verb=verb, **what)


@asynccontextmanager
async def connected(site: Site) -> AsyncIterator[store.Store]:
    """As its ServiceAccount."""
    async with calls.connected(site.kubeconfig) as connection:
        yield store.Store(connection, site.names)


async def writes(site: Site) -> int:
    """Do one pass; return how much it wrote."""
    async with connected(site) as made:
        return (await rotation.Rotation(made, site.policy).run_pass()).writes


@asynccontextmanager
async def running(site: Site, replicas: int = 1) -> AsyncIterator[None]:
    """Run the loop of so many replicas, each with its own connection."""
    stop = asyncio.Event()

    async def one() -> None:
        async with connected(site) as made:
            await rotation.loop(made, site.policy).run(stop)

    async with asyncio.TaskGroup() as group:
        for _ in range(replicas):
            group.create_task(one())
        yield
        stop.set()


async def within(
    seconds: float, right: Callable[[], bool], what: str, *, interval: float = 0.02
) -> float:
    """Ask until it is right; return the seconds it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(right):
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(interval)
    return time.monotonic() - began


async def test_one_pass_on_an_empty_cluster(site: Site) -> None:
    """One pass makes both Secrets and fills in every caBundle; the next one writes nothing."""
    async with connected(site) as made:
        one = rotation.Rotation(made, site.policy)
        assert 3 == (await one.run_pass()).writes
        assert site.is_right()
        versions = site.versions()
        for _ in range(5):
            assert 0 == (await one.run_pass()).writes
    assert versions == site.versions()
    secret = site.api.must("GET", site.secret_path("dinp-tls"))
    assert "kubernetes.io/tls" == secret["type"]
    assert "dinp" == secret["metadata"]["labels"]["app.kubernetes.io/part-of"]


async def test_secrets_made_empty_before(site: Site) -> None:
    """Secrets without data, as manifests may hold them, are filled in and keep their labels."""
    for name in ("dinp-ca", "dinp-tls"):
        metadata = {"name": name, "labels": {"team": "ci"}}
        site.api.must("POST", site.secret_path(), {"metadata": metadata, "type": "Opaque"})
    async with connected(site) as made:
        await rotation.Rotation(made, site.policy).run_pass()
    assert site.is_right()
    metadata = site.api.must("GET", site.secret_path("dinp-ca"))["metadata"]
    assert {"team": "ci"} == metadata["labels"]


async def test_two_replicas_at_once(cluster: Cluster, tmp_path: Path, tell: Tell) -> None:
    """Started together on an empty cluster, 20 times: one CA wins, and every caBundle has it."""
    took = []
    with closing(Api(cluster)) as api:
        for _ in range(20):
            name = f"certs-{next(_numbers)}"
            site = make_site(api, cluster, name, tmp_path)
            took.append(await _start_together(site))
            api.request("DELETE", site.configuration_path)
    tell(f"two replicas, 20 times: right after {_spread(took)}, one CA each")


async def _start_together(site: Site) -> float:
    """Start two replicas, and look at every version of every object; return the seconds."""
    before = site.api.must("GET", site.configuration_path)["metadata"]["resourceVersion"]
    async with running(site, replicas=2):
        took = await within(PATIENCE, site.is_right, "right")
        await asyncio.sleep(0.5)
    (authority,) = site.history(site.secret_path(), "dinp-ca", before)
    (_leaf,) = site.history(site.secret_path(), "dinp-tls", before)
    (configuration,) = site.history(REGISTRATION, site.configuration, before)
    bundles = {webhook["clientConfig"]["caBundle"] for webhook in configuration["webhooks"]}
    assert {authority["data"]["ca.crt"]} == bundles
    return took


def _spread(took: list[float]) -> str:
    ordered = sorted(took)
    return f"{ordered[len(ordered) // 2]:.2f} s (median), {ordered[-1]:.2f} s (longest)"


def _delete(name: str) -> Callable[[Site], None]:
    def delete(site: Site) -> None:
        site.api.must("DELETE", site.secret_path(name))

    return delete


def _damage(name: str, key: str, value: bytes | None) -> Callable[[Site], None]:
    return lambda site: site.patch_secret(name, {key: value})


def _key_of_another(site: Site) -> None:
    site.patch_secret("dinp-tls", {"tls.key": site.secret("dinp-ca")["ca.key"]})


def _leaf_of_another(site: Site) -> None:
    issued = issuance.issue(site.policy, passes.Clock().now())
    data = records.write_leaf(issued.leaf, issued.ca.certificate)
    site.patch_secret("dinp-tls", data)


def _foreign_ca(site: Site) -> None:
    other = issuance.issue(site.policy, passes.Clock().now()).ca.certificate
    site.patch_bundles(b64encode(other).decode(), range(10))


def _reapply(site: Site) -> None:
    """As a GitOps tool that replaces."""
    whole = webhook_configuration(site.namespace)
    version = site.api.must("GET", site.configuration_path)["metadata"]["resourceVersion"]
    whole["metadata"]["resourceVersion"] = version
    site.api.must("PUT", site.configuration_path, whole)


def _make_anew(site: Site) -> None:
    site.api.must("DELETE", site.configuration_path)
    site.api.must("POST", REGISTRATION, webhook_configuration(site.namespace))


DAMAGE: dict[str, Callable[[Site], None]] = {
    "caBundle of all webhooks removed": lambda site: site.patch_bundles(None, range(10)),
    "caBundle of one webhook removed": lambda site: site.patch_bundles(None, range(3, 4)),
    "caBundle of another CA": _foreign_ca,
    "caBundle that is no PEM": lambda site: site.patch_bundles(
        b64encode(b"nonsense").decode(), range(10)
    ),
    "configuration replaced, without caBundle": _reapply,
    "configuration deleted and created": _make_anew,
    "serving Secret deleted": _delete("dinp-tls"),
    "serving certificate that is no PEM": _damage("dinp-tls", "tls.crt", b"nonsense"),
    "serving certificate emptied": _damage("dinp-tls", "tls.crt", b""),
    "serving key of another certificate": _key_of_another,
    "serving certificate of another CA": _leaf_of_another,
}


@pytest.mark.parametrize("case", DAMAGE)
async def test_healing(site: Site, case: str, tell: Tell) -> None:
    """Whatever somebody else damages is right again within 5 s, with few writes."""
    async with running(site, replicas=2):
        await within(PATIENCE, site.is_right, "right at first")
        await asyncio.sleep(0.5)
        DAMAGE[case](site)
        took = await within(HEAL_SECONDS + 5, site.is_right, case)
        await asyncio.sleep(1)
        settled = site.versions()
        await asyncio.sleep(1)
        assert settled == site.versions()
        assert site.is_right()
    tell(f"healed after {took:.2f} s: {case}")


def _damage_key(site: Site) -> None:
    site.patch_secret("dinp-ca", {"ca.key": b"nonsense"})


LOST: dict[str, Callable[[Site], None]] = {
    "CA Secret deleted": _delete("dinp-ca"),
    "CA key damaged": _damage_key,
    "CA certificate damaged": _damage("dinp-ca", "ca.crt", b"nonsense"),
    "CA Secret emptied": lambda site: site.patch_secret(
        "dinp-ca", {"ca.crt": None, "ca.key": None}
    ),
}


@pytest.mark.parametrize("case", LOST)
async def test_lost_ca(site: Site, case: str, tell: Tell) -> None:
    """A lost CA is replaced in the order of a rotation: no moment without a caBundle that fits."""
    quick, told = timedelta(seconds=2), list[str]()
    site = replace(site, policy=replace(site.policy, propagation=quick, delivery=2 * quick))
    async with running(site, replicas=2):
        await within(PATIENCE, site.is_right, "right at first")
        old = site.bundles()[0]
        leaves: list[bytes] = []

        def look() -> set[bytes]:
            leaf, bundles = site.secret("dinp-tls")["tls.crt"], set(site.bundles())
            assert all(is_verified(leaf, bundle) for bundle in bundles)
            leaves.append(leaf)
            return bundles

        look()
        began = time.monotonic()
        LOST[case](site)
        for right, what in (
            (lambda: b"" != site.secret("dinp-ca").get("next.crt", b""), "the new CA is stored"),
            (lambda: bool(look()) and leaves[0] != leaves[-1], "the new CA serves"),
            (lambda: all(old not in bundle for bundle in look()), "the old CA is gone"),
        ):
            await within(HEAL_SECONDS * 4, right, what)
            told.append(f"{time.monotonic() - began:.2f} s {what}")
    assert 2 == len(set(leaves))
    tell(f"{case} (propagation 2 s, delivery 4 s): {', '.join(told)}")


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("create", "secrets/dinp-ca"),
        ("get", "secrets/dinp-tls"),
        ("patch", "mutatingwebhookconfigurations"),
    ],
)
async def test_missing_permission(site: Site, verb: str, resource: str, tell: Tell) -> None:
    """The error is one line that names the verb and the resource."""
    inside = resource.startswith("secrets/")
    path = (
        f"{RBAC}/namespaces/{site.namespace}/roles/dinp-certs"
        if inside
        else f"{RBAC}/clusterroles/{site.configuration}"
    )
    role = site.api.must("GET", path)
    for rule in role["rules"]:
        rule["verbs"] = [known for known in rule["verbs"] if known != verb] or ["none"]
    site.api.must("PUT", path, role)
    wait_until(lambda: not may(site, verb, resource), "the API server knows")
    async with connected(site) as made:
        with pytest.raises(StoreError) as caught:
            await rotation.Rotation(made, site.policy).run_pass()
    line = str(caught.value)
    assert f"not allowed to {verb} {resource}" in line
    assert "\n" not in line
    tell(line)


async def test_permission_comes_later(site: Site, lines: list[Any]) -> None:
    """Without permissions the loop goes on asking, says so once a try, and succeeds in the end."""
    path = f"{RBAC}/namespaces/{site.namespace}/roles/dinp-certs"
    role = site.api.must("GET", path)
    site.api.must("PUT", path, role | {"rules": []})
    wait_until(lambda: not may(site, "get", "secrets/dinp-tls"), "the API server knows")
    async with running(site):
        await within(PATIENCE, lambda: bool(_warnings(lines)), "a warning")
        given = site.api.must("GET", path)
        site.api.must("PUT", path, given | {"rules": role["rules"]})
        await within(PATIENCE, site.is_right, "right in the end")
        await asyncio.sleep(0.5)
    assert "not allowed to get secrets/dinp-tls" in _warnings(lines)[0]["error"]
    assert "certificates checked again" in [line["event"] for line in lines]


def _warnings(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["event"] == "certificates not checked"]


async def test_stale_writes_are_conflicts(site: Site) -> None:
    """What was read before somebody else wrote is never written over it."""
    async with connected(site) as made:
        await rotation.Rotation(made, site.policy).run_pass()
        stale = await made.read()
        assert stale.configuration is not None
        assert stale.ca is not None
        site.patch_bundles(b64encode(b"other").decode(), range(1))
        site.patch_secret("dinp-ca", {"other": b"other"})
        attempts: list[Callable[[], Awaitable[None]]] = [
            lambda: made.write_bundle(b"x", stale.configuration),  # type: ignore[arg-type]  # checked above
            lambda: made.write_secret("ca", {"ca.crt": b"x"}, stale.ca.version),  # type: ignore[union-attr]  # likewise
            lambda: made.write_secret("ca", {"ca.crt": b"x"}, None),
        ]
        for attempt in attempts:
            with pytest.raises(ConflictError):
                await attempt()
        site.api.must("DELETE", site.secret_path("dinp-ca"))
        with pytest.raises(ConflictError):
            await made.write_secret("ca", {"ca.crt": b"x"}, stale.ca.version)


async def test_no_api_server(site: Site, tmp_path: Path, lines: list[Any]) -> None:
    """An API server that is not there: it goes on trying, later and later, and says so."""
    known = json.loads(site.kubeconfig.read_text(encoding="utf-8"))
    known["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    nowhere = tmp_path / "nowhere"
    nowhere.write_text(json.dumps(known), encoding="utf-8")
    async with running(replace(site, kubeconfig=nowhere)):
        await within(PATIENCE, lambda: len(_warnings(lines)) >= 3, "three tries")
    assert "cannot get secrets/dinp-tls" in _warnings(lines)[0]["error"]
    delays = [line["retry_s"] for line in _warnings(lines)]
    assert delays[0] < delays[2]
