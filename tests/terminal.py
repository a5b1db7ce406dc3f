"""Lines on the terminal while tests run, whatever pytest captures."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


def teller(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Make what prints one: how far a build is, or a figure that was measured."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            os.write(2, f"\ndinp: {line}".encode())

    return say
