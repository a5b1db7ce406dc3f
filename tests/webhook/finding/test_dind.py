"""dind: a dinp-dind that is there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.finding import dind


@pytest.mark.parametrize(
    ("ours", "mounts"),
    [
        (True, [build.mount("dinp-run", "/dinp")]),
        (False, [build.mount("dinp-run", "/x")]),
        (False, [build.mount("work", "/dinp")]),
        (False, []),
    ],
)
def test_who_made_a_dinp_dind(ours: bool, mounts: list[Any]) -> None:
    """Known by its structure: it has the socket's directory."""
    assert ours == dind.is_dinps(build.container("dinp-dind", volumeMounts=mounts))
