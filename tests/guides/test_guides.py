"""What the guides of docs/ci say of Pods is what the webhook does with them.

A block of YAML or TOML begins with what it is, and with what becomes of its Pods:

    # .gitlab-ci.yml, before. Under dinp.io/inject=sidecar: left as it is (own_daemon)
    # Without labels: sidecar for build and helper

With a code in brackets the reason has to be that one, without a code any reason will do.

The block is parsed, `files.FILES` makes the Pods that the CI system makes of it, and each goes
through the webhook. Keys that are the CI system's are compared with `keys.KEYS`, where each has a
source.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

from tests.guides.examples import EXAMPLES, GUIDES, Example, Said
from tests.guides.files import FILES
from tests.guides.keys import KEYS
from tests.guides.pod import Pod
from tools.pod_schema import is_valid
from webhook import admission
from webhook.asking import config, rules
from webhook.asking.rules import Rule
from webhook.names import DIND
from webhook.planning import plan
from webhook.pods.pod import Pod as PodDict

each_guide = pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)


def pods_of(example: Example) -> list[Pod]:
    """The Pods that the CI system makes of a block."""
    make = FILES[example.file]
    assert make is not None, f"{example.file} makes no Pod"
    return [pod for document in example.documents for pod in make(document)]


def rule_of(labels: str) -> Rule:
    """The rule of a namespace with these labels."""
    pairs = dict(label.split("=") for label in labels.split(",") if label)
    rule = rules.for_namespace("ci", pairs)
    assert rule is not None
    return rule


def outcome_of(pod: Pod, labels: str) -> str:
    """What the webhook does with a Pod, in the words of the guides."""
    result = admission.inject(pod, rule_of(labels), config.Config())
    if result.outcome == "denied":
        return f"refused ({result.finding.reason.value})"
    # A Pod that is left gets its reason into dinp.io/status, and nothing else.
    made = cast("Pod", result.pod)
    if made["spec"] == pod["spec"]:
        return f"left as it is ({result.finding.reason.value})"
    assert is_valid(made)
    return f"{result.mode} for {' and '.join(clients(pod, made))}"


def clients(before: Pod, after: Pod) -> list[str]:
    """The containers whose DOCKER_HOST dinp has set."""
    hosts = _hosts(before)
    return [name for name, host in _hosts(after).items() if host not in {None, hosts.get(name)}]


def _hosts(pod: Pod) -> dict[str, str | None]:
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    return {
        container["name"]: next(
            (each["value"] for each in container.get("env", ()) if each["name"] == "DOCKER_HOST"),
            None,
        )
        for container in containers
        if container["name"] != DIND
    }


def name_of(example: Example, said: Said) -> str:
    """The id of the test: `gitlab: config.toml, no labels: sidecar for build`."""
    return f"{example.page.stem}: {example.file}, {said.labels or 'no labels'}: {said.outcome}"


SAID: Final = [
    pytest.param(example, said, id=name)
    for example in EXAMPLES
    for said in example.said
    for name in [name_of(example, said)]
]


@pytest.mark.parametrize(("example", "said"), SAID)
def test_outcomes(example: Example, said: Said) -> None:
    """The Pods of a block come out as the block's first lines say; several are told apart by a comma."""
    pods = pods_of(example)
    assert all(is_valid(pod) for pod in pods), "not a Pod that an API server takes"
    outcomes = [outcome_of(pod, said.labels) for pod in pods]
    if "(" not in said.outcome:
        outcomes = [outcome.partition(" (")[0] for outcome in outcomes]
    assert said.outcome == ", ".join(outcomes)


# QoS is no news of a Pod that asked for nothing; the shared daemons' two are in their guides.
QUIET: Final = {"qos_changed", "bind_mounts_shared", "published_ports"}


@pytest.mark.parametrize(
    ("example", "said"),
    [
        pytest.param(example, said, id=name_of(example, said))
        for example in EXAMPLES
        for said in example.said
        if example.when == "after"
    ],
)
def test_after_is_quiet(example: Example, said: Said) -> None:
    """Who follows a guide is not warned."""
    for pod in pods_of(example):
        decided = plan.decide(cast("PodDict", pod), rule_of(said.labels), config.Config())
        reasons = {warning.reason.value for warning in decided.warnings}
        assert reasons <= QUIET, decided.warnings


@each_guide
def test_before_and_after(page: Path) -> None:
    """A guide shows what was there and what is there then, and says of each what comes of it."""
    found = [example for example in EXAMPLES if example.page == page]
    assert {"before", "after"} <= {example.when for example in found}
    for example in found:
        assert example.file in FILES, example.file
        assert bool(example.said) == (FILES[example.file] is not None), example.file


def test_every_file_is_shown() -> None:
    """There is no row for a file that no guide shows."""
    assert set(FILES) == {example.file for example in EXAMPLES}


# ---- keys ------------------------------------------------------------------------------------


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each key: `agent.annotations`, and `[]` for the items of a list."""
    if isinstance(value, dict):
        for key, at in value.items():
            yield f"{path}{key}"
            yield from keys_of(at, f"{path}{key}.")
    elif isinstance(value, list):
        for at in value:
            yield from keys_of(at, f"{path.removesuffix('.')}[].")


def known(key: str, file: str) -> str | None:
    """The row of KEYS that a key stands in; `x.*` is all below `x`."""
    table = KEYS[file]
    if key in table:
        return key
    return next((row for row in table if row.endswith("*") and key.startswith(row[:-1])), None)


def used(file: str) -> set[str]:
    """The keys of a file that the guides use."""
    return {
        key
        for example in EXAMPLES
        if example.file == file
        for document in example.documents
        for key in keys_of(document)
    }


@pytest.mark.parametrize("file", KEYS)
def test_keys(file: str) -> None:
    """Each key has a source, and each row is of a key that a guide uses."""
    found = {key: known(key, file) for key in used(file)}
    assert [] == [key for key, row in found.items() if row is None]
    assert set(KEYS[file]) == set(found.values())


def test_keys_of_every_file() -> None:
    """All but Kubernetes' own objects have their keys in KEYS; the schema knows those."""
    kubernetes = {"A Job", "A CronJob", "A Pod template", "A Deployment"}
    assert set(FILES) - kubernetes == set(KEYS)
