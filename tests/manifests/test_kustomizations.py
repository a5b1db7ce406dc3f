"""The kustomizations: what every kubectl that dinp supports can render."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

MANIFESTS: Final = Path(__file__).parents[2] / "manifests"
KUSTOMIZATIONS: Final = sorted(MANIFESTS.rglob("kustomization.yaml"))


def patches(file: Path) -> list[list[Any]]:
    """The documents of each patch, wherever it stands."""
    kustomization = yaml.safe_load(file.read_text(encoding="utf-8"))
    texts = [
        patch.get("patch") or (file.parent / patch["path"]).read_text(encoding="utf-8")
        for patch in kustomization.get("patches", ())
    ]
    return [list(yaml.safe_load_all(text)) for text in texts]


@pytest.mark.parametrize(
    "file", KUSTOMIZATIONS, ids=lambda file: str(file.parent.relative_to(MANIFESTS))
)
def test_a_deletion_is_a_patch_of_its_own(file: Path) -> None:
    """Kustomize 5.5.0, of kubectl 1.32, panics where one of several documents deletes."""
    for documents in patches(file):
        deletions = [document for document in documents if "$patch" in document]
        assert not deletions or len(documents) == 1, deletions[0]["metadata"]["name"]


def test_patches_are_found() -> None:
    """The test above sees deletions, in text and in files."""
    found = [documents for file in KUSTOMIZATIONS for documents in patches(file)]
    assert sum("$patch" in document for documents in found for document in documents) > 11
