"""What a run asks for: a fixture that starts many Pods at once starts those alone."""

from __future__ import annotations

import pytest


def asked(request: pytest.FixtureRequest, parameter: str) -> set[object]:
    """The values that `parameter` has in the tests of this run, without those that -m leaves out."""
    sets = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    return {params[parameter] for params in sets if parameter in params}
