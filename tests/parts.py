"""What a test needs of the machine: elsewhere it is skipped without that, in CI it fails."""

from __future__ import annotations

import os

import pytest


def needs(what: str, *, is_there: bool) -> pytest.MarkDecorator:
    """A mark for tests that cannot run where `what` is not there."""
    return pytest.mark.skipif(not is_there and not os.environ.get("CI"), reason=f"needs {what}")
