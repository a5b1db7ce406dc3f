"""certs.passes: two loops in one process have nothing to do with each other."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import structlog

from certs.errors import StoreError
from certs.passes import Loop, Passed


@pytest.mark.parametrize("error", [StoreError("no API server"), KeyError("a bug")])
async def test_a_loop_whose_passes_fail(error: Exception) -> None:
    """Passes that fail, by whatever, are told of and tried again, and the other loop goes on."""
    stop, failed, passed = asyncio.Event(), list[int](), list[int]()

    async def failing() -> Passed:
        failed.append(1)
        raise error

    async def passing() -> Passed:
        passed.append(1)
        if len(failed) > 1 and len(passed) > 2:
            stop.set()
        return Passed(0, timedelta(seconds=0.01))

    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(Loop(failing, [], "one").run(stop))
            group.create_task(Loop(passing, [], "other").run(stop))
    assert {"one not checked"} == {line["event"] for line in lines}
    assert len(failed) > 1
