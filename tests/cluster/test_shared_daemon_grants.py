"""Who may open a namespace to shared daemons: every change of its labels, on every way.

The policy runs alone here, without the one that refuses typos: a typo from before the policies
is what wakes a dormant grant, and this policy must not rely on the other.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import pytest

from tests.cluster import labellers
from tests.cluster.api import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Answer,
    Api,
    Cluster,
)
from tests.cluster.installation import BASE
from tests.cluster.labellers import NAMESPACES, People, create, named
from tests.cluster.processes import output
from webhook.asking import rules

pytestmark = pytest.mark.cluster

Labels = Mapping[str, str]

KEYS: Final = (rules.INJECT, rules.MIGRATE, rules.SHARED_DAEMON)
MODES: Final = (None, *rules.MODES, "sidcar")
SETS: Final[tuple[Labels, ...]] = tuple(
    {key: value for key, value in zip(KEYS, values, strict=True) if value is not None}
    for values in itertools.product(MODES, MODES, (None, "allowed", "Allowed"))
)


def is_open(labels: Labels) -> bool:
    """Whether the webhook lets Pods of such a namespace have a shared daemon."""
    rule = rules.for_namespace("ci", labels)
    assert rule is not None
    return rule.allows_shared


def takes_permission(old: Labels, new: Labels) -> bool:
    """Whether this change takes the verb `use` on shareddaemons.dinp.io.

    | the change | takes it |
    |---|---|
    | sets a shared value that was not there, in force or dormant | yes |
    | opens a namespace that was closed | yes |
    | anything else: a grant that stays, one taken away, sidecars, typos | no |
    """
    grants = {(key, mode) for key in KEYS[:2] for mode in ("daemonset", "service")}
    grants.add((rules.SHARED_DAEMON, "allowed"))
    sets = grants & (new.items() - old.items())
    return bool(sets) or (is_open(new) and not is_open(old))


@pytest.fixture(scope="module")
def people(own_cluster: Cluster) -> Iterator[People]:
    """The policy in force, alone, and who is held to it."""
    with closing(Api(own_cluster)) as admin:
        # What was there before the policy: a namespace for each set of labels.
        for at, labels in enumerate(SETS):
            admin.must("POST", NAMESPACES, named(f"set-{at}", labels))
    done = own_cluster.kubectl("apply", "-f", str(BASE / "shared-daemon-grants.yaml"))
    assert done.code == 0, done.err
    with labellers.people(own_cluster) as known:
        yield known


def change(api: Api, at: int, new: Labels) -> Answer:
    """Give namespace set-<at> exactly these of dinp's labels, without keeping it."""
    labels = {**dict.fromkeys(KEYS), **new}
    patch = {"metadata": {"labels": labels}}
    return api.request("PATCH", f"{NAMESPACES}/set-{at}?dryRun=All", patch, media_type=MERGE_PATCH)


def test_every_change(people: People) -> None:
    """All labels that a namespace can have, to all others: refused where the table says so."""
    for (at, old), new in itertools.product(enumerate(SETS), SETS):
        answer = change(people.labeller, at, new)
        expected = 403 if takes_permission(old, new) else 200
        assert answer.status == expected, (old, new, answer.message)
        if expected == 403:
            assert "shareddaemons.dinp.io" in answer.message


def test_with_the_permission(people: People) -> None:
    """Who may use shared daemons may make all of those changes."""
    for at, new in zip(range(len(SETS)), reversed(SETS), strict=True):
        assert change(people.granter, at, new).status == 200


def test_every_creation(people: People) -> None:
    """A new namespace has been closed before, so every grant of its labels takes the permission."""
    for labels in SETS:
        expected = 403 if takes_permission({}, labels) else 201
        assert create(people.labeller, named("new", labels)).status == expected
        assert create(people.granter, named("new", labels)).status == 201


def test_the_command_of_the_docs(people: People) -> None:
    """It lists the namespaces that carry a grant from before the policy, in force or dormant."""
    docs = (BASE.parents[1] / "docs" / "install.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^kubectl (get namespaces -L dinp\.io/inject.*)$", docs, re.MULTILINE)
    kubectl = shlex.join(people.admin.cluster.kubectl_command())
    listed = output(["sh", "-c", f"{kubectl} {command}"]).splitlines()
    expected = {f"set-{at}" for at, labels in enumerate(SETS) if takes_permission({}, labels)}
    assert {line.split()[0] for line in listed if line.startswith("set-")} == expected


# ---- every way to change a label -----------------------------------------------------------


def put(subresource: str) -> Callable[[Api, str, Labels], Answer]:
    def way(api: Api, name: str, labels: Labels) -> Answer:
        whole = api.get(f"{NAMESPACES}/{name}").body
        own = {"kubernetes.io/metadata.name": name}
        whole["metadata"]["labels"] = own | dict(labels)
        return api.request("PUT", f"{NAMESPACES}/{name}{subresource}?dryRun=All", whole)

    return way


def patch(subresource: str, media_type: str) -> Callable[[Api, str, Labels], Answer]:
    def way(api: Api, name: str, labels: Labels) -> Answer:
        own = {"kubernetes.io/metadata.name": name}
        body: Any = {"metadata": {"labels": {**dict.fromkeys(KEYS), **labels}}}
        if media_type == JSON_PATCH:
            value = own | dict(labels)
            body = [{"op": "replace", "path": "/metadata/labels", "value": value}]
        path = f"{NAMESPACES}/{name}{subresource}?dryRun=All"
        return api.request("PATCH", path, body, media_type=media_type)

    return way


def apply(subresource: str) -> Callable[[Api, str, Labels], Answer]:
    """By server-side apply a label goes when its owner no longer lists it."""

    def way(api: Api, name: str, labels: Labels) -> Answer:
        body = {"apiVersion": "v1", "kind": "Namespace", **named(name, labels)}
        path = f"{NAMESPACES}/{name}{subresource}?dryRun=All&fieldManager=owner"
        return api.request("PATCH", path, body, media_type=APPLY_PATCH)

    return way


WAYS: Final = {
    **{f"PUT {sub}": put(sub) for sub in ("", "/status", "/finalize")},
    **{
        f"{media_type} {sub}": patch(sub, media_type)
        for media_type in (MERGE_PATCH, STRATEGIC_PATCH, JSON_PATCH)
        for sub in ("", "/status")
    },
    **{f"apply {sub}": apply(sub) for sub in ("", "/status")},
}
DORMANT: Final = {rules.INJECT: "sidecar", rules.MIGRATE: "daemonset"}


@pytest.fixture(scope="module")
def dormant(people: People) -> Mapping[str, str]:
    """For each way a namespace whose grant is outweighed.

    What the field manager `owner` has applied by a subresource it can take away by that alone.
    """
    for name, subresource in (("dormant", ""), ("dormant-status", "/status")):
        body = {"apiVersion": "v1", "kind": "Namespace", **named(name, DORMANT)}
        people.admin.must("POST", NAMESPACES, named(name))
        path = f"{NAMESPACES}/{name}{subresource}?fieldManager=owner"
        people.admin.must("PATCH", path, body, media_type=APPLY_PATCH)
    return {way: "dormant-status" if way == "apply /status" else "dormant" for way in WAYS}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("expected", "labels"),
    [
        (200, {**DORMANT, "team": "build"}),
        (200, {rules.INJECT: "sidecar"}),
        (200, {}),
        (403, {rules.MIGRATE: "daemonset"}),
        (403, {**DORMANT, rules.INJECT: "sidcar"}),
        (403, {**DORMANT, rules.INJECT: "service"}),
        (403, {**DORMANT, rules.MIGRATE: "service"}),
        (403, {**DORMANT, rules.SHARED_DAEMON: "allowed"}),
    ],
)
def test_every_way(
    people: People, dormant: Mapping[str, str], way: str, expected: int, labels: Labels
) -> None:
    """A dormant grant is neither woken nor planted by any verb, kind of patch or subresource."""
    answer = WAYS[way](people.labeller, dormant[way], labels)
    assert answer.status == expected, answer.message
    if expected == 200:  # so a refusal above is not for another reason
        ours = answer.body["metadata"]["labels"]
        assert {key: ours[key] for key in ours if key in KEYS or key == "team"} == labels
    assert WAYS[way](people.granter, dormant[way], labels).status == 200


def test_created_by_apply(people: People) -> None:
    """Server-side apply creates what is not there."""
    body = {"apiVersion": "v1", "kind": "Namespace", **named("fresh", {rules.MIGRATE: "service"})}
    path = f"{NAMESPACES}/fresh?dryRun=All&fieldManager=owner"
    assert people.labeller.request("PATCH", path, body, media_type=APPLY_PATCH).status == 403
    assert people.granter.request("PATCH", path, body, media_type=APPLY_PATCH).status == 201


@pytest.mark.parametrize(
    ("says", "labels"),
    [
        ("label dinp.io/inject: 'service' lets Pods use a shared Docker daemon, which", {**DORMANT, rules.INJECT: "service"}),
        ("label dinp.io/shared-daemon: 'allowed' lets Pods", {**DORMANT, rules.SHARED_DAEMON: "allowed"}),
        ("label dinp.io/migrate: 'daemonset' lets Pods use a shared Docker daemon when dinp.io/inject no longer outweighs it, which takes", {rules.MIGRATE: "daemonset"}),
    ],
)  # fmt: skip
def test_what_is_said(people: People, says: str, labels: Labels) -> None:
    """The refusal names the label that grants, though the request may have changed another."""
    assert says in change(people.labeller, SETS.index(DORMANT), labels).message
