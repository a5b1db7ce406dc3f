"""image: which images a Pod may have as its daemon."""

from __future__ import annotations

import pytest

from webhook import image

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("allowed", "reference", "pattern"),
    [
        (True, "docker:29-dind", "docker:*-dind"),
        (True, f"docker:29-dind@{DIGEST}", "docker:*-dind"),
        (True, f"docker:29-dind@{DIGEST}", f"docker:29-dind@{DIGEST}"),
        (True, f"docker@{DIGEST}", "docker@sha256:*"),
        (False, f"docker@{DIGEST}", "docker:*-dind"),
        (False, "docker:29-dind@sha256:short", "docker:29-dind"),
        (False, "docker:29-cli", "docker:*-dind"),
        (False, "docker:5000/evil-dind", "docker:*-dind"),
        (False, "evil/docker:29-dind", "docker:*-dind"),
        (False, "docker:29-dind", ""),
    ],
)
def test_allowed(allowed: bool, reference: str, pattern: str) -> None:
    """By name and tag, with whatever digest; no pattern reaches over a slash."""
    assert allowed == image.allowed(reference, [pattern] if pattern else [])
