"""certs.store and the loop, at an API server of a few lines."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from certs import calls, passes, rotation, store
from certs.errors import ConflictError, StoreError
from certs.passes import backoff
from certs.policy import Policy
from tests.certs.fake_api import CONFIGURATION, SECRETS, FakeApi, fake_api, kept_port

POLICY = Policy(names=("dinp.dinp-system.svc",))
NAMES = store.Names()


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    """The API server."""
    async with fake_api() as running:
        yield running


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of the loop, and its waits after failures, are a hundredth of what they are."""
    monkeypatch.setattr(passes, "_PAUSE_SECONDS", (0.001, 0.04))
    monkeypatch.setattr(passes, "backoff", lambda failures: backoff(failures) / 100)


@asynccontextmanager
async def store_by(kubeconfig: Path | None) -> AsyncIterator[store.Store]:
    """The store at the API server that it leads to."""
    async with calls.connected(kubeconfig) as connection:
        yield store.Store(connection, NAMES)


@pytest.fixture
async def connected(api: FakeApi, tmp_path: Path) -> AsyncIterator[store.Store]:
    """The store at this API server."""
    async with store_by(api.kubeconfig(tmp_path)) as made:
        yield made


@asynccontextmanager
async def looping(made: store.Store) -> AsyncIterator[None]:
    """The loop, until the end of the `with`."""
    stop = asyncio.Event()
    running = asyncio.create_task(rotation.loop(made, POLICY).run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 60)


async def eventually(right: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(60):
        while not right():  # noqa: ASYNC110 - what is asked has no event
            await asyncio.sleep(0.01)


def reads_since_the_last_write(api: FakeApi) -> int:
    """How often all objects have been read since: the CA's Secret is the last of them."""
    last = max(at for at, (method, _) in enumerate(api.requests) if method != "GET")
    return api.requests[last:].count(("GET", f"{SECRETS}/dinp-ca"))


async def test_a_pass(api: FakeApi, connected: store.Store) -> None:
    """A pass creates the CA, fills in caBundle, then creates the leaf, and then leaves it be."""
    one = rotation.Rotation(connected, POLICY)
    assert 3 == (await one.run_pass()).writes
    assert [("POST", SECRETS), ("PATCH", CONFIGURATION), ("POST", SECRETS)] == api.writes
    bundles = {hook["clientConfig"]["caBundle"] for hook in api.objects[CONFIGURATION]["webhooks"]}
    assert {api.objects[f"{SECRETS}/dinp-ca"]["data"]["ca.crt"]} == bundles
    assert "kubernetes.io/tls" == api.objects[f"{SECRETS}/dinp-tls"]["type"]
    assert 0 == (await one.run_pass()).writes
    assert 3 == len(api.writes)


async def test_read_order(api: FakeApi, connected: store.Store) -> None:
    """The CA Secret is read last: decisions go by it."""
    await connected.read()
    expected = [f"{SECRETS}/dinp-tls", CONFIGURATION, f"{SECRETS}/dinp-ca"]
    assert expected == [path for _, path in api.requests]


async def test_keys_are_removed(api: FakeApi, connected: store.Store) -> None:
    """None removes a key of a Secret; keys that are not ours stay."""
    path = f"{SECRETS}/dinp-ca"
    made = api.put(path, {"data": {"a": "YQ==", "b": "Yg=="}})
    await connected.write_secret("ca", {"a": None, "c": b"c"}, made["metadata"]["resourceVersion"])
    assert {"b": "Yg==", "c": "Yw=="} == api.objects[path]["data"]


async def test_conflicts(api: FakeApi, connected: store.Store) -> None:
    """Something new since the read, or there already, or gone: a conflict each."""
    path = f"{SECRETS}/dinp-ca"
    with pytest.raises(ConflictError):
        await connected.write_secret("ca", {"a": b"a"}, "1")
    api.put(path, {"data": {}})
    for version in (None, "1"):
        with pytest.raises(ConflictError):
            await connected.write_secret("ca", {"a": b"a"}, version)
    snapshot = await connected.read()
    assert snapshot.configuration is not None
    api.put(CONFIGURATION, api.objects[CONFIGURATION])
    with pytest.raises(ConflictError):
        await connected.write_bundle(b"x", snapshot.configuration)


@pytest.mark.parametrize(
    ("method", "status", "message", "expected"),
    [
        (
            "GET",
            403,
            "no\nway",
            "not allowed to get secrets/dinp-tls in namespace dinp-system: no way",
        ),
        ("GET", 401, "who?", "not allowed to get secrets/dinp-tls in namespace dinp-system: who?"),
        ("GET", 500, "", "cannot get secrets/dinp-tls in namespace dinp-system: HTTP 500"),
        ("POST", 403, "no", "not allowed to create secrets/dinp-ca in namespace dinp-system: no"),
        (
            "PATCH",
            403,
            "no",
            "not allowed to patch mutatingwebhookconfigurations.admissionregistration.k8s.io/zz-dinp: no",
        ),
    ],
)
async def test_refusals(
    api: FakeApi, connected: store.Store, method: str, status: int, message: str, expected: str
) -> None:  # fmt: skip
    """The error is one line: the verb, the resource, and what the API server says."""
    api.refusals[method] = [(status, message)]
    with pytest.raises(StoreError) as caught:
        await rotation.Rotation(connected, POLICY).run_pass()
    assert expected == str(caught.value)


async def test_odd_status(api: FakeApi, connected: store.Store) -> None:
    """A body that is no Status is an error with a line, too."""
    api.refusals["GET"] = [(502, ["a"])]  # type: ignore[list-item]  # on purpose
    with pytest.raises(StoreError, match="cannot get"):
        await connected.read()


async def test_nobody_there(tmp_path: Path, api: FakeApi) -> None:
    """No connection is an error with a line."""
    kubeconfig = api.kubeconfig(tmp_path, "http://127.0.0.1:1")
    async with store_by(kubeconfig) as made:
        with pytest.raises(StoreError, match="cannot get secrets/dinp-tls"):
            await made.read()
        with pytest.raises(StoreError, match="cannot watch secrets/dinp-ca"):
            async with aclosing(made.watch("ca")) as changes:
                await anext(changes)


@pytest.mark.parametrize("text", [None, "no: kubeconfig", "{", "- 1"])
async def test_no_kubeconfig(tmp_path: Path, text: str | None) -> None:
    """A kubeconfig that is missing or of no use is an error that says so."""
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match="no access to a cluster"):
        async with store_by(file):
            pass


async def test_not_in_a_cluster() -> None:
    """Outside of a Pod and without a kubeconfig there is no cluster."""
    with pytest.raises(StoreError, match="no access to a cluster"):
        async with store_by(None):
            pass


async def test_the_loop_heals(api: FakeApi, connected: store.Store) -> None:
    """What the watch tells of is made right, and what it tells of own writes is found to be right.

    That no further pass comes of it is shown in test_passes.py.
    """
    async with looping(connected):
        await eventually(lambda: len(api.writes) == 3)
        del api.objects[f"{SECRETS}/dinp-tls"]
        api.change()
        await eventually(lambda: f"{SECRETS}/dinp-tls" in api.objects)
        await eventually(lambda: 2 <= reads_since_the_last_write(api))  # one by the same pass
    assert 4 == len(api.writes)


async def test_the_loop_goes_on(api: FakeApi, connected: store.Store, lines: list[Any]) -> None:
    """Refused, it says so, tries again later, and says when it is over."""
    api.refusals["POST"] = [(403, "no")] * 2
    async with looping(connected):
        await eventually(lambda: len(api.writes) == 5)
        await eventually(lambda: "certificates checked again" in [line["event"] for line in lines])
    warned = [line for line in lines if line["event"] == "certificates not checked"]
    assert 2 == len(warned)
    assert "not allowed to create secrets/dinp-ca" in warned[0]["error"]


async def test_the_api_server_is_away(tmp_path: Path, lines: list[Any]) -> None:
    """It says so, tries later and later, and heals what happened meanwhile when it is back."""
    with kept_port() as port:
        async with fake_api(port=port) as api:
            kubeconfig = api.kubeconfig(tmp_path)
            running = store_by(kubeconfig)
            made = await running.__aenter__()
            loop = looping(made)
            await loop.__aenter__()
            await eventually(lambda: len(api.writes) == 3)
        del api.objects[f"{SECRETS}/dinp-tls"]
        await eventually(lambda: "watch lost" in [line["event"] for line in lines])
        async with fake_api(api, port):
            await eventually(lambda: f"{SECRETS}/dinp-tls" in api.objects)
            await loop.__aexit__(None, None, None)
            await running.__aexit__(None, None, None)


async def test_a_watch_is_refused(api: FakeApi, connected: store.Store, lines: list[Any]) -> None:
    """Without a watch it is said once, and what is due is done all the same."""
    api.refusals["GET"] = [(403, "no watch")] * 3
    async with looping(connected):
        await eventually(lambda: len(api.writes) == 3)
    assert [line for line in lines if line["event"] in ("watch lost", "certificates not checked")]


async def test_without_a_configuration(
    api: FakeApi, connected: store.Store, lines: list[Any]
) -> None:
    """Where no configuration is, the Secrets are made, and it is said once."""
    del api.objects[CONFIGURATION]
    one = rotation.Rotation(connected, POLICY)
    assert 2 == (await one.run_pass()).writes
    await one.run_pass()
    assert 1 == len([line for line in lines if "no MutatingWebhookConfiguration" in line["event"]])


async def test_others_write_all_the_time(connected: store.Store, api: FakeApi) -> None:
    """A pass that comes to no end gives up, for the loop to try later."""
    api.refusals["POST"] = [(409, "exists")] * 100
    with pytest.raises(StoreError, match="others write all the time"):
        await rotation.Rotation(connected, POLICY).run_pass()


def test_backoff() -> None:
    """It doubles up to 15 s, and half of it is random."""
    for failures, most in ((1, 0.5), (2, 1), (3, 2), (6, 15), (1000, 15)):
        assert most / 2 <= backoff(failures) <= most


async def test_a_bundle_with_a_comment_is_right(api: FakeApi, connected: store.Store) -> None:
    """The same certificates written another way are no reason to write."""
    one = rotation.Rotation(connected, POLICY)
    await one.run_pass()
    whole = api.objects[CONFIGURATION]
    for hook in whole["webhooks"]:
        pem = b"# dinp\n" + b64decode(hook["clientConfig"]["caBundle"]).replace(b"\n", b"\r\n")
        hook["clientConfig"]["caBundle"] = b64encode(pem).decode()
    assert 0 == (await one.run_pass()).writes
