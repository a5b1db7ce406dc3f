"""certs.shared.forbidden: what there is to try, and on what."""

from __future__ import annotations

from itertools import combinations

from certs.records import Metadata
from certs.shared.forbidden import Attempt, There, attempts
from certs.shared.names import Names
from certs.shared.requests import SIGNER, Object
from webhook.asking import rules

NAMES = Names()


def namespace(name: str, *, allowed: bool = False, ending: bool = False) -> Metadata:
    labels = {rules.SHARED_DAEMON: "allowed"} if allowed else {}
    since = "2026-01-01T00:00:00Z" if ending else None
    return Metadata(name, labels=labels, deletion_timestamp=since)


def request(signer: str) -> Object:
    metadata = {"name": signer.replace("/", "-"), "resourceVersion": "1", "labels": {"a": "b"}}
    return {"metadata": metadata, "spec": {"signerName": signer}}


SYSTEM = namespace("dinp-system")
EVERYTHING = There(
    [namespace("a"), SYSTEM, namespace("tenant", allowed=True)],
    has_ca=True,
    request=request(SIGNER),
    foreign_request=request("example.com/other"),
)


def tried(there: There) -> list[Attempt]:
    return list(attempts(NAMES, there))


def test_an_empty_cluster_has_something_to_try_of_each_policy() -> None:
    """A policy that is missing is seen before there is anything to protect."""
    found = {attempt.policy for attempt in tried(There([SYSTEM]))}
    assert {NAMES.secrets_policy, NAMES.requests_policy} == found


def test_no_two_attempts_are_the_same() -> None:
    """Each has a sentence of its own, that begins with the write and names the object."""
    found = tried(EVERYTHING)
    assert all(one != other for one, other in combinations(map(str, found), 2))
    for attempt in found:
        assert str(attempt).startswith(f"{attempt.write} {attempt.name}")


def test_what_is_new_is_tried_when_it_is_there() -> None:
    """Namespaces that are allowed, the CA's Secret and requests add attempts, and take none away."""
    few = {str(attempt) for attempt in tried(There([SYSTEM]))}
    many = {str(attempt) for attempt in tried(EVERYTHING)}
    assert few < many
    assert {"patch Secret", "approve", "update status of"} == {
        attempt.write for attempt in tried(EVERYTHING)
    } - {attempt.write for attempt in tried(There([SYSTEM]))}


def test_namespaces() -> None:
    """A client's Secret is tried in its own namespace if that is not allowed; one that ends is left alone."""

    def where(*namespaces: Metadata) -> list[tuple[str, str]]:
        found = tried(There(namespaces))
        return [(it.namespace, it.why) for it in found if it.name == NAMES.client_secret]

    no, kind, key = "whose labels do not allow it", "of another type", "with another key"
    assert [("dinp-system", no)] == where(namespace("a"), SYSTEM)
    own = namespace("dinp-system", allowed=True)
    assert [("a", no), ("dinp-system", kind), ("dinp-system", key)] == where(own, namespace("a"))
    assert [] == where(namespace("a", ending=True), namespace("b", allowed=True, ending=True))


def test_requests_are_changed_by_a_label_alone() -> None:
    """Whatever else they say is sent back, without the version: a conflict would be no answer."""
    (approval, status, foreign) = (
        attempt.body for attempt in tried(EVERYTHING) if "spec" in attempt.body
    )
    for body in (approval, status):
        assert {"a", "dinp.io/dinp-self-check"} == body["metadata"]["labels"].keys()
        assert {"signerName": SIGNER} == body["spec"]
        assert "resourceVersion" not in body["metadata"]
    assert {"a": "b"} == foreign["metadata"]["labels"]
    assert "resourceVersion" not in foreign["metadata"]
    assert EVERYTHING.request == request(SIGNER)
