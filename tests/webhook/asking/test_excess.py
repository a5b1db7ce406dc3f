"""excess: what of a Pod is above its bound."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.webhook import large_pods
from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking.annotations import TABLE
from webhook.asking.config import Config
from webhook.asking.excess import excess
from webhook.asking.rules import RULES
from webhook.planning.plan import Action, decide
from webhook.pods import bounds
from webhook.pods.pod import SAFE_TO_EVICT, Pod, problem
from webhook.reasons import Reason

SHARES = ",".join(f"/s{at}" for at in range(bounds.SHARES + 1))
LONG_QUANTITY = "1" * (bounds.QUANTITY + 1)


def with_mount(**fields: str) -> Pod:
    return build.pod(build.container(volumeMounts=[build.mount(**{"volume": "w", **fields})]))


def with_resources(**fields: Any) -> Pod:
    return build.pod(build.container(resources=fields))


@pytest.mark.parametrize(
    ("key", "bound", "pod"),
    [
        ("spec.containers[0].name", bounds.NAME, lambda n: build.pod(build.container("x" * n))),
        ("spec.containers[0].image", bounds.IMAGE, lambda n: build.pod(build.container(image="x" * n))),
        ("spec.initContainers[0].image", bounds.IMAGE, lambda n: build.pod(initContainers=[build.container(image="x" * n)])),
        ("spec.containers[0].volumeMounts[0].name", bounds.NAME, lambda n: with_mount(volume="x" * n)),
        ("spec.containers[0].volumeMounts[0].mountPath", bounds.PATH, lambda n: with_mount(path="x" * n)),
        ("spec.containers[0].volumeMounts[0].subPath", bounds.PATH, lambda n: with_mount(subPath="x" * n)),
        ("spec.containers[0].volumeMounts[0].subPathExpr", bounds.PATH, lambda n: with_mount(subPathExpr="x" * n)),
        ("spec.volumes[0].name", bounds.NAME, lambda n: build.pod(volumes=[{"name": "x" * n}])),
        ("spec.volumes[0].hostPath.path", bounds.PATH, lambda n: build.pod(volumes=[build.host_path("x", "x" * n)])),
        ("spec.containers[0].resources.requests.cpu", bounds.QUANTITY, lambda n: with_resources(requests={"cpu": "1" * n, "gpu": "1" * 999})),
        ("spec.containers[0].resources.limits.memory", bounds.QUANTITY, lambda n: with_resources(requests=None, limits={"memory": "1" * n})),
        (f"annotation {SAFE_TO_EVICT}", bounds.ANNOTATION, lambda n: build.pod(annotations={SAFE_TO_EVICT: "x" * n})),
    ],
)  # fmt: skip
def test_texts(key: str, bound: int, pod: Any) -> None:
    """What is at its bound is taken; above it the sentence has the key, the length and the bound."""
    assert excess(pod(bound)) is None
    found = excess(pod(bound + 1))
    assert found is not None
    expected = f"{key} has {bound + 1:,} characters, and dinp takes at most {bound:,}; shorten it"
    assert found.text.startswith(expected)


@pytest.mark.parametrize(
    ("what", "bound", "pod"),
    [
        ("containers", bounds.CONTAINERS, lambda n: build.pod(*[build.container()] * n)),
        ("volumeMounts", bounds.MOUNTS, lambda n: build.pod(build.container(volumeMounts=[build.mount()] * n))),
        ("volumes", bounds.VOLUMES, lambda n: build.pod(volumes=[{"name": "x"}] * n)),
    ],
)  # fmt: skip
def test_numbers(what: str, bound: int, pod: Any) -> None:
    """There may be as many as the bound says, of all containers together."""
    assert excess(pod(bound)) is None
    found = excess(pod(bound + 1))
    assert found is not None
    expected = f"the Pod has {bound + 1:,} {what}, and dinp takes at most {bound:,}"
    assert found.text.startswith(expected)


def test_what_shares_add() -> None:
    """A short Pod may not become a long one: clients times shares, and times their paths."""
    for shares, length, clients, taken in (
        (32, 10, 28, True),
        (32, 10, 29, False),
        (1, 4096, 32, True),
        (1, 4096, 33, False),
    ):
        paths = ",".join(f"/{at:02}".ljust(length, "a") for at in range(shares))
        containers = [build.container(f"c{at}") for at in range(clients)]
        pod = build.asking("sidecar", *containers, annotations={"dinp.io/share": paths})
        found = decide(pod, build.ANNOTATED, Config()).finding
        assert taken is (found.reason is Reason.INJECTED), found
        assert taken or f"what annotation dinp.io/share adds to {clients} containers" in found.text


LARGEST = {
    "containers": build.asking("sidecar", *[build.container(f"c{at}") for at in range(bounds.CONTAINERS)]),
    "mounts": build.asking(
        "sidecar",
        build.container(volumeMounts=[build.mount("w", f"/w{at}") for at in range(bounds.MOUNTS)]),
        volumes=[{"name": "w", "emptyDir": {}}],
    ),
    "volumes": build.asking(
        "sidecar", volumes=[{"name": f"v{at}", "emptyDir": {}} for at in range(bounds.VOLUMES)]
    ),
    "shares": build.asking(
        "sidecar",
        *[build.container(f"c{at}") for at in range(28)],
        annotations={"dinp.io/share": ",".join(f"/s{at}:seed" for at in range(32))},
    ),
    "evictable": build.asking(
        "sidecar", annotations={SAFE_TO_EVICT: ",".join(["v" * 1023] * 16)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LARGEST)
@pytest.mark.parametrize("mode", ["sidecar", "daemonset", "service"])
def test_what_dinp_adds_denies_no_second_pass(what: str, mode: str) -> None:
    """A Pod at its bounds is above them when it comes back, and all of it is in place."""
    pod: Any = LARGEST[what]
    annotations = {**pod["metadata"]["annotations"], "dinp.io/inject": mode}
    if mode != "sidecar":
        annotations.pop("dinp.io/share", None)
    asked: Any = {**pod, "metadata": {**pod["metadata"], "annotations": annotations}}
    rule = RULES["/pods/annotated/shared"]
    once = admission.inject(asked, rule, Config())
    assert "mutated" == once.outcome, once.finding
    again: Any = once.pod
    twice = admission.inject(again, rule, Config())
    assert ("unchanged", []) == (twice.outcome, twice.operations), twice.finding


def test_what_is_never_refused_for_its_length() -> None:
    """Commands, scripts, variables, unknown annotations and the status of an earlier pass."""
    text = "x" * 1_000_000
    env = [{"name": text, "value": text}]
    container = build.container(command=[text], args=[text, *["x"] * 10_000], env=env)
    asked = build.asking("sidecar", container, annotations={"dinp.io/status": text, "x/y": text})
    assert excess(asked) is None
    assert Reason.INJECTED is decide(asked, build.ANNOTATED, Config()).finding.reason


TOO_LONG = [
    *((name, "x" * (row.longest + 1)) for name, row in TABLE.items() if name not in {"dinp.io/inject", "dinp.io/status"}),
    ("dinp.io/share", SHARES),
    ("dinp.io/share", "/" + "x" * bounds.PATH),
    ("dinp.io/requests", f"cpu={LONG_QUANTITY}"),
    ("dinp.io/limits", f"cpu=1,memory={LONG_QUANTITY}"),
    ("dinp.io/storage", f"emptydir:{LONG_QUANTITY}"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), TOO_LONG)
def test_annotations(key: str, value: str) -> None:
    """Denied where the Pod asks, left with a warning and a status where its namespace does."""
    asking = decide(build.asking(annotations={key: value}), build.ANNOTATED, Config())
    assert (Action.DENY, Reason.TOO_LONG) == (asking.action, asking.finding.reason)
    assert asking.finding.text.startswith(f"annotation {key} has ")
    left = decide(build.pod(annotations={key: value}), build.INJECT_SIDECAR, Config())
    assert (Action.LEAVE, True) == (left.action, left.note_status)
    assert (asking.finding,) == left.warnings


def test_what_dinp_has_listed_does_not_count() -> None:
    """Of safe-to-evict-local-volumes only the names of the author's are counted."""
    theirs = "x" * bounds.ANNOTATION
    assert excess(build.asking(annotations={SAFE_TO_EVICT: f"{theirs},dinp-run"})) is None
    assert excess(build.asking(annotations={SAFE_TO_EVICT: f"{theirs},y"})) is not None


@pytest.mark.parametrize("field", ["annotations", "labels"])
def test_a_request_that_is_no_word(field: str) -> None:
    """A mode of any length is answered by its length, never quoted."""
    pod = build.pod(**{field: {"dinp.io/inject": "x" * 1_000_000}})
    found = decide(pod, build.INJECT_SIDECAR, Config())
    assert (Action.DENY, Reason.TOO_LONG) == (found.action, found.finding.reason)
    expected = f"{field[:-1]} dinp.io/inject has 1,000,000 characters, and dinp takes at most 253"
    assert found.finding.text.startswith(expected)


def test_what_seeds_repeat() -> None:
    """Each seed has its client's securityContext and resources, so these are bounded as well."""
    shared = {"dinp.io/share": "/a:seed,/b:seed"}
    context = {"seLinuxOptions": {"level": "x" * bounds.COPIED}}
    pod = build.asking("sidecar", build.container(securityContext=context), annotations=shared)
    found = decide(pod, build.ANNOTATED, Config())
    assert (Action.DENY, Reason.TOO_LONG) == (found.action, found.finding.reason)
    assert "each seed of dinp.io/share repeats of container build" in found.finding.text
    pod["metadata"]["annotations"]["dinp.io/share"] = "/a,/b"  # type: ignore[index]
    assert Action.INJECT is decide(pod, build.ANNOTATED, Config()).action


def test_a_second_pass_of_large_pods() -> None:
    """Whatever grows, the Pod stays well formed, and a second pass finds all in place."""
    for family, rule in zip(large_pods.families(), itertools.cycle(RULES.values()), strict=False):
        pod: Any = family.grown(60)
        assert problem(pod) is None
        injected: Any = admission.inject(pod, rule, Config()).pod
        assert problem(injected) is None
        assert [] == admission.inject(injected, rule, Config()).operations, family.name
