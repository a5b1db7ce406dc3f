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

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest

from tests.guides.examples import EXAMPLES, GUIDES, Example, Said
from tests.guides.files import FILES
from tests.guides.keys import KEYS
from tests.guides.pod import Pod
from tests.test_docs import DOCS, blocks, read, rows, spans
from tools.pod_schema import is_valid
from webhook import admission
from webhook.asking import config, rules
from webhook.asking.annotations import TABLE
from webhook.names import DIND
from webhook.reasons import Reason

each_guide = pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)

# What a guide says and the webhook does not do yet, by the test's id. Each must fail until it is
# built; the row that no longer fails goes.
PENDING: Final = {
    "argo-workflows: A Workflow, dinp.io/inject=sidecar: left as it is (own_daemon)": (
        "a daemon behind argoexec emissary"
    ),
    "drone: .drone.yml, dinp.io/migrate=sidecar: left as it is": (
        "no sidecar where the controller's client drops restartPolicy"
    ),
    "teamcity: A Pod template, dinp.io/inject=sidecar: left as it is (own_daemon)": (
        "DOCKER_IN_DOCKER=start is a daemon"
    ),
    "woodpecker: .woodpecker.yaml, dinp.io/inject=sidecar: left as it is, left as it is": (
        "a daemon that no container would use is not added"
    ),
    "dinp.io/cli": "docker, buildx and compose for clients that have none",
}


def pods_of(example: Example) -> list[Pod]:
    """The Pods that the CI system makes of a block."""
    make = FILES[example.file]
    assert make is not None, f"{example.file} makes no Pod"
    return [pod for document in example.documents for pod in make(document)]


def outcome_of(pod: Pod, labels: str) -> str:
    """What the webhook does with a Pod, in the words of the guides."""
    pairs = dict(label.split("=") for label in labels.split(",") if label)
    rule = rules.for_namespace("ci", pairs)
    assert rule is not None
    result = admission.inject(pod, rule, config.Config())
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


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    """The row of PENDING, as a mark."""
    if name not in PENDING:
        return []
    return [pytest.mark.xfail(reason=PENDING[name], strict=True)]


SAID: Final = [
    pytest.param(example, said, id=name, marks=marks_of(name))
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


def test_pending_are_there() -> None:
    """Each row of PENDING is of a block that is there."""
    said = {name_of(example, said) for example in EXAMPLES for said in example.said}
    assert PENDING.keys() <= said | set(NAMED)


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


# ---- what else a guide says ------------------------------------------------------------------

SECTIONS: Final = ["What to remove", "Timeouts", "Resources", "Several Pods", "When it fails"]


@each_guide
def test_sections(page: Path) -> None:
    """Every guide answers the same questions in the same order."""
    headings = re.findall(r"^## (.*)$", read(page), re.MULTILINE)
    wanted = [*SECTIONS, "The way back"]
    assert wanted == [heading for heading in headings if heading in wanted]
    assert headings[:2] == ["Before", "After"]


@each_guide
def test_one_screen(page: Path) -> None:
    """Before and after fit one screen each: at most 40 lines."""
    for block in blocks(page):
        assert len(block.text.splitlines()) <= 40, block.text


@each_guide
def test_python(page: Path) -> None:
    """Python in a guide parses."""
    for block in blocks(page):
        if block.info == "python":
            ast.parse(block.text)


@each_guide
def test_reasons(page: Path) -> None:
    """A code in brackets at the end of a quoted refusal is one of dinp's."""
    for block in blocks(page):
        if block.info == "text":
            codes = set(re.findall(r"\[(\w+)\]", block.text))
            assert codes <= {reason.value for reason in Reason}, codes


def test_index() -> None:
    """docs/ci/README.md leads to every guide, and its table of outages has a row for each."""
    index = DOCS / "ci" / "README.md"
    assert {page.name for page in GUIDES} == set(re.findall(r"\]\(([\w-]+\.md)\)", read(index)))
    outages = list(rows(index, "While dinp is away"))
    linked = {name for cells in outages for name in re.findall(r"\(([\w-]+\.md)\)", cells[0])}
    assert {page.name for page in GUIDES} == linked


def test_index_settings() -> None:
    """The settings that the index names stand in the guides that it links."""
    index = DOCS / "ci" / "README.md"
    for cells in rows(index, "While dinp is away"):
        for name in re.findall(r"\(([\w-]+\.md)\)", cells[0]):
            for setting in spans(cells[-1]):
                assert setting in read(DOCS / "ci" / name), f"{name}: {setting}"


def annotations_of(page: Path) -> set[str]:
    """Each annotation and label of dinp's that a page names."""
    return set(re.findall(r"dinp\.io/[a-z-]+[a-z]", read(page)))


NAMED: Final = sorted({name for page in DOCS.glob("ci/*.md") for name in annotations_of(page)})
LABELS: Final = {"dinp.io/migrate", "dinp.io/shared-daemon"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, id=name, marks=marks_of(name)) for name in NAMED]
)
def test_annotations(name: str) -> None:
    """Guides name no annotation and no label that dinp does not have."""
    assert name in LABELS | set(TABLE)


def test_gitlab_pattern() -> None:
    """What a GitLab job asks for passes the runner's pattern, and nothing that is longer does."""
    mine = [example for example in EXAMPLES if example.page.stem == "gitlab"]
    (pattern,) = {
        kubernetes["pod_annotations_overwrite_allowed"]
        for example in mine
        if example.file == "config.toml"
        for kubernetes in (runner["kubernetes"] for runner in example.documents[0]["runners"])
        if "pod_annotations_overwrite_allowed" in kubernetes
    }
    asked = [
        value
        for example in mine
        if example.file == ".gitlab-ci.yml"
        for name, value in example.documents[0]["build"]["variables"].items()
        if name.startswith("KUBERNETES_POD_ANNOTATIONS_")
    ]
    assert len(asked) == 3
    # Go's regexp.MatchString looks anywhere in the text, as re.search does.
    assert [] == [value for value in asked if not re.search(pattern, value)]
    for other in ("dinp.io/inject=daemonset", "x=y,dinp.io/inject=sidecar", "dinp.io/image=a"):
        assert not re.search(pattern, other), other
