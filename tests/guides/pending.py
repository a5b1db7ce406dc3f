"""What the guides say and the webhook does not do yet."""

from __future__ import annotations

from typing import Final

import pytest

# By the test's id. Each must fail until it is built; the row that no longer fails goes.
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
}


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    """The row of PENDING, as a mark."""
    if name not in PENDING:
        return []
    return [pytest.mark.xfail(reason=PENDING[name], strict=True)]
