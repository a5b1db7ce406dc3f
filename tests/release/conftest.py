"""What the tests of a release share."""

from __future__ import annotations

import pytest

from tests.release import programs
from tests.release.programs import Programs
from tests.terminal import teller


@pytest.fixture(scope="session")
def tools(request: pytest.FixtureRequest) -> Programs:
    """The programs. A machine that cannot have them fails: it never skips."""
    return programs.find_or_install(teller(request))
