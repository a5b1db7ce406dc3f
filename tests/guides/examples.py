"""The blocks of YAML and TOML in the guides of docs/ci, and what their first lines say.

# .gitlab-ci.yml, before. Under dinp.io/inject=sidecar: left as it is (own_daemon)
# Without labels: sidecar for build and helper
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from tests.test_docs import DOCS, Block, blocks

GUIDES: Final = sorted(page for page in (DOCS / "ci").glob("*.md") if page.name != "README.md")

_HEAD: Final = re.compile(r"# (?P<file>[^,]+?)(?:, (?P<when>before|after)\. (?P<says>.+)|\.)")
_SAYS: Final = re.compile(r"(?:Without labels|Under (?P<labels>\S+)): (?P<outcome>.+)")


class Said(NamedTuple):
    """What a line of a block says of the Pods: under which labels of the namespace, what comes."""

    labels: str
    outcome: str


class Example(NamedTuple):
    """A block of a guide."""

    page: Path
    file: str
    when: str | None
    documents: list[Any]
    said: list[Said]


def said_by(line: str) -> Said:
    """What such a line says."""
    found = _SAYS.fullmatch(line)
    assert found is not None, line
    return Said(found["labels"] or "", found["outcome"])


def example_of(page: Path, block: Block) -> Example:
    """Read a block of YAML or TOML."""
    first, *rest = block.text.splitlines()
    head = _HEAD.fullmatch(first)
    assert head is not None, f"{page.name}: a block begins with what it is, not with {first}"
    lines = [head["says"]] if head["says"] else []
    for line in rest:
        if not line.startswith(("# Without labels", "# Under ")):
            break
        lines.append(line.removeprefix("# "))
    toml = block.info == "toml"
    documents = [tomllib.loads(block.text)] if toml else list(yaml.safe_load_all(block.text))
    return Example(page, head["file"], head["when"], documents, [said_by(line) for line in lines])


def examples(page: Path) -> Iterator[Example]:
    """Yield the blocks of a guide that are YAML or TOML."""
    for block in blocks(page):
        if block.info.partition(" ")[0] in {"yaml", "toml"}:
            yield example_of(page, block)


EXAMPLES: Final = [example for page in GUIDES for example in examples(page)]
