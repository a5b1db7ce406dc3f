"""What is removed from a daemon, and what of it stays; tests/shared_daemons has a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from keeper import engine
from keeper.errors import EngineError
from keeper.leftovers import Ages
from keeper.prune import Prune

HEX = "0123456789abcdef" * 4
NOW = Ages(timedelta(), timedelta())


@asynccontextmanager
async def docker(socket: Path, refused: str = "") -> AsyncIterator[list[str]]:
    """An engine with one of each kind; what it was asked to delete. It refuses one of them."""
    deleted: list[str] = []
    listed: dict[str, Any] = {
        "/volumes": {"Volumes": [{"Name": HEX}, {"Name": "maven"}]},
        "/networks": [{"Name": "ci", "Id": "n1"}, {"Name": "bridge", "Id": "n0"}],
        "/images/json": [{"Id": "sha256:9", "RepoTags": ["app:1", "app:2"]}],
        "/containers/json": [
            {"Id": "c1", "State": "exited", "Image": "x"},
            {"Id": "c2", "State": "running", "Image": "y"},
        ],
    }

    async def answer(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(listed[request.path])
        if refused and request.path.endswith(refused):
            return web.json_response({"message": "in use"}, status=409)
        deleted.append(request.path_qs)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    yield deleted
    await runner.cleanup()


ALL = ["/containers/c1?v=true", f"/volumes/{HEX}", "/networks/n1", "/images/app:1", "/images/app:2"]


async def test_what_is_due(tmp_path: Path) -> None:
    """The container first, with its volumes, and nothing that runs, has a name or is Docker's."""
    socket = tmp_path / "docker.sock"
    async with docker(socket) as deleted, engine.connected(str(socket)) as client:
        await Prune(NOW).run_pass(client)
    assert deleted == ALL


async def test_not_before_its_age(tmp_path: Path) -> None:
    """What has been seen unused for less than its age stays."""
    socket = tmp_path / "docker.sock"
    async with docker(socket) as deleted, engine.connected(str(socket)) as client:
        prune = Prune(Ages())
        await prune.run_pass(client)
        await prune.run_pass(client)
    assert deleted == []


@pytest.mark.parametrize("refused", ["c1", HEX, "n1", "app:1"])
async def test_what_refuses_to_go(tmp_path: Path, refused: str) -> None:
    """It keeps nothing else from going."""
    socket = tmp_path / "docker.sock"
    async with docker(socket, refused) as deleted, engine.connected(str(socket)) as client:
        await Prune(NOW).run_pass(client)
    assert len(deleted) == len(ALL) - 1


async def test_no_daemon(tmp_path: Path) -> None:
    """An error that names what was asked."""
    async with engine.connected(str(tmp_path / "none")) as client:
        with pytest.raises(EngineError, match="GET /volumes"):
            await Prune(NOW).run_pass(client)
