"""certs.shared.rotation at a model: what it reads, what it leaves alone, and how it tells of failures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog

from certs.errors import Reason
from certs.passes import Kind
from certs.shared.policy import Policy
from certs.shared.rotation import Rotation
from tests.certs.shared import objects
from tests.certs.shared.model import ALLOWED, EPOCH, ModelStore

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
POLICY = Policy()
READS = ("read secret", "read request")


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[Any]]:
    """What is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def store() -> ModelStore:
    """Three namespaces, two of them allowed."""
    made = ModelStore()
    made.namespace("one", ALLOWED)
    made.namespace("two", {"dinp.io/inject": "service"})
    made.namespace("other")
    return made


@pytest.fixture
def rotation(store: ModelStore) -> Rotation:
    """One process."""
    return Rotation(store, POLICY, store.clock())


async def test_what_has_not_changed_is_not_read_again(
    store: ModelStore, rotation: Rotation
) -> None:
    """A pass that finds all as it was lists metadata, and reads no Secret and no request."""
    store.sent["a"] = {**objects.request(b""), "status": {"conditions": [{"type": "Denied"}]}}
    store.sent["a"]["metadata"]["resourceVersion"] = "1"
    for _ in range(2):
        await rotation.run_pass()
    store.asked.clear()
    for _ in range(5):
        assert 0 == (await rotation.run_pass()).writes
    assert [0, 0] == [store.asked[what] for what in READS]
    assert 5 == store.asked["list secrets"] == store.asked["list requests"]


async def test_a_new_process_reads_each_once(store: ModelStore, rotation: Rotation) -> None:
    """Another replica, or the same after a restart, finds what is there right, and writes nothing."""
    await rotation.run_pass()
    store.asked.clear()
    other = Rotation(store, POLICY, store.clock())
    for _ in range(3):
        assert 0 == (await other.run_pass()).writes
    assert 2 == store.asked["read secret"]


async def test_what_a_tenant_writes_is_read_and_made_right(
    store: ModelStore, rotation: Rotation
) -> None:
    """Another version of a Secret is read, that one alone, and made right."""
    await rotation.run_pass()
    store.asked.clear()
    store.put("one", {**store.secrets["one"].data, "cert.pem": b"nonsense"})
    assert 1 == (await rotation.run_pass()).writes
    assert 1 == store.asked["read secret"]
    assert b"BEGIN" in store.secrets["one"].data["cert.pem"]


async def test_renewed_in_time(store: ModelStore, rotation: Rotation) -> None:
    """What is remembered to be right is due at half of its lifetime all the same."""
    assert POLICY.client_lifetime / 2 == (await rotation.run_pass()).wait
    before = dict(store.secrets)
    store.now += 12 * HOUR - MINUTE
    assert MINUTE == (await rotation.run_pass()).wait
    assert before == store.secrets
    store.now += MINUTE
    assert 2 == (await rotation.run_pass()).writes
    assert not before.items() & store.secrets.items()


async def test_another_ca(store: ModelStore, rotation: Rotation) -> None:
    """Who deletes the CA of clients has every certificate of clients replaced at once."""
    await rotation.run_pass()
    before = dict(store.secrets)
    del store.authorities["client"]
    assert 4 == (await rotation.run_pass()).writes
    assert not before.items() & store.secrets.items()


async def test_a_namespace_that_ends(store: ModelStore, rotation: Rotation) -> None:
    """It gets nothing new, nothing is taken from it, and a label that goes takes the Secret along."""
    store.namespace("ending", ALLOWED, ending=True)
    await rotation.run_pass()
    assert {"one", "two"} == store.secrets.keys()
    store.namespace("one", ALLOWED, ending=True)
    store.namespace("two")
    await rotation.run_pass()
    assert {"one"} == store.secrets.keys()


async def test_somebody_elses_secret(
    store: ModelStore, rotation: Rotation, lines: list[Any]
) -> None:
    """It is left as it is and told of once, also where the namespace is not allowed; others get theirs."""
    data = {"ca.pem": b"mine", "cert.pem": b"mine", "key.pem": b"mine"}
    for namespace in ("one", "other"):
        store.put(namespace, data, ours=False)
    for _ in range(5):
        passed = await rotation.run_pass()
        assert [Reason.FOREIGN] == passed.failures
    assert data == store.secrets["one"].data == store.secrets["other"].data
    assert 1 == store.asked["read secret"]
    assert "cert.pem" in store.secrets["two"].data
    (told,) = [line["error"] for line in lines if line["event"] == "not done, and tried again"]
    assert "secrets/dinp-client-tls in namespace one is not of dinp's making" in told
    store.put("one", data, ours=True)
    await rotation.run_pass()
    assert b"BEGIN" in store.secrets["one"].data["cert.pem"]


async def test_a_secret_that_has_lost_its_label(store: ModelStore, rotation: Rotation) -> None:
    """What dinp has issued is dinp's: it gets the label back with another certificate."""
    await rotation.run_pass()
    store.put("one", store.secrets["one"].data, ours=False)
    store.put("two", {"other": b"somebody's"}, ours=False)
    assert 2 == (await rotation.run_pass()).writes
    assert not store.foreign_ones
    assert b"somebody's" == store.secrets["two"].data["other"]


@pytest.mark.parametrize("ours", [True, False])
async def test_a_secret_that_is_too_large(
    store: ModelStore, rotation: Rotation, ours: bool
) -> None:
    """Dinp's own, with a megabyte of somebody's added, is renewed unread; another's is left alone."""
    store.put("one", {"other": b"x"}, ours=ours)
    store.large.add("one")
    for _ in range(3):
        passed = await rotation.run_pass()
    assert ours is ("cert.pem" in store.secrets["one"].data)
    assert 1 == store.asked["read secret"]
    assert ([] if ours else [Reason.FOREIGN]) == passed.failures


async def test_a_request_that_is_too_large(
    store: ModelStore, rotation: Rotation, lines: list[Any]
) -> None:
    """It is looked at once, told of, and keeps nobody else from an answer."""
    store.sent["a"] = {"metadata": {"name": "a", "resourceVersion": "1"}}
    store.large.add("a")
    for _ in range(4):
        assert [Reason.TOO_LARGE] == (await rotation.run_pass()).failures
    assert 1 == store.asked["read request"]
    assert ["a is too large"] == [line["error"] for line in lines if "error" in line]


async def test_what_fails_again_waits_longer(store: ModelStore, rotation: Rotation) -> None:
    """A label may be too new for the policy: at once, then now and then."""
    store.refused.add("one")
    waits = [(await rotation.run_pass()).wait.total_seconds() for _ in range(3)]
    assert [2, 30, 30] == waits


async def test_what_is_told_of_certificates(rotation: Rotation) -> None:
    """The end of each: of CAs the one that signs, of clients all of them."""
    ends = (await rotation.run_pass()).ends
    assert {Kind.SERVER_CA, Kind.CLIENT_CA, Kind.CLIENT} == ends.keys()
    assert [EPOCH + 24 * HOUR] * 2 == ends[Kind.CLIENT]
    assert [EPOCH + POLICY.ca_lifetime] == ends[Kind.CLIENT_CA] == ends[Kind.SERVER_CA]


async def test_a_bug_is_counted(store: ModelStore, rotation: Rotation) -> None:
    """What nobody has foreseen for one namespace is a failure like any other, and ends nothing."""
    store.namespace("\udcff" * 70, ALLOWED)  # no commonName can be made of it
    passed = await rotation.run_pass()
    assert [Reason.BUG] == passed.failures
    assert {"one", "two"} == store.secrets.keys()
