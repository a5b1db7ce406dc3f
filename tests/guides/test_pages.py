"""Each guide answers the same questions, in words that lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.guides.examples import EXAMPLES, GUIDES
from tests.test_docs import DOCS, blocks, prose, read, rows, spans
from webhook.asking.annotations import TABLE
from webhook.reasons import Reason

each_guide = pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)

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
def test_code_stays_on_its_line(page: Path) -> None:
    """No code span breaks at the end of a line: it is searched for, and copied."""
    assert [] == [line for line in prose(page).splitlines() if line.count("`") % 2]


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


@pytest.mark.parametrize("name", NAMED)
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
