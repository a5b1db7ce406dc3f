"""What counts as left behind on a shared daemon, and from when on it is removed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from keeper import leftovers
from keeper.leftovers import Ages, Leftover, Listed, Memory

HEX: Final = "0123456789abcdef" * 4


def container(state: str, **more: Any) -> dict[str, Any]:
    """As GET /containers/json lists one."""
    return {"Id": "c", "State": state, "Image": "app:1", "ImageID": "sha256:1", **more}


def kinds(**listed: Any) -> list[tuple[str, str]]:
    """What is unused, in its order."""
    whole = {"containers": [], "volumes": [], "networks": [], "images": [], **listed}
    return [(one.kind, one.id) for one in leftovers.unused(Listed(**whole))]


@pytest.mark.parametrize("state", ["created", "exited", "dead"])
def test_ended_containers(state: str) -> None:
    """A container that does not run is left behind."""
    assert [("container", "c")] == kinds(containers=[container(state)])


@pytest.mark.parametrize("state", ["running", "paused", "restarting", "removing", ""])
def test_running_containers(state: str) -> None:
    """One that does is not, and neither is the image that it is of."""
    image = {"Id": "sha256:1", "RepoTags": ["app:1"]}
    assert [] == kinds(containers=[container(state)], images=[image])


def test_volumes() -> None:
    """Only those that nobody has named."""
    volumes = [{"Name": HEX}, {"Name": "maven"}, {"Name": HEX[:63]}]
    assert [("volume", HEX)] == kinds(volumes=volumes)


def test_networks() -> None:
    """Neither Docker's own, nor one that a container names that has ended."""
    networks = [{"Name": name, "Id": f"id-{name}"} for name in ("bridge", "host", "used", "ci")]
    ended = container("exited", HostConfig={"NetworkMode": "used"})
    assert ("network", "id-ci") in kinds(networks=networks, containers=[ended])
    assert ("network", "id-used") not in kinds(networks=networks, containers=[ended])
    assert [("network", "id-used"), ("network", "id-ci")] == kinds(networks=networks)


@pytest.mark.parametrize("used_by", [{"ImageID": "sha256:1", "Image": "?"}, {"Image": "app:2"}])
def test_images_in_use(used_by: dict[str, str]) -> None:
    """One that an ended container is of stays, whichever name the container knows it by."""
    image = {"Id": "sha256:1", "RepoTags": ["app:1", "app:2"]}
    ended = container("exited", **used_by)
    assert [("container", "c")] == kinds(images=[image], containers=[ended])


@pytest.mark.parametrize(
    ("expected", "image"),
    [
        (("a:1", "b:1"), {"RepoTags": ["a:1", "b:1"], "RepoDigests": ["a@sha256:2"]}),
        (("a@sha256:2",), {"RepoTags": ["<none>:<none>"], "RepoDigests": ["a@sha256:2"]}),
        (("sha256:1",), {"RepoTags": None, "RepoDigests": ["<none>@<none>"]}),
    ],
)
def test_references(expected: tuple[str, ...], image: dict[str, Any]) -> None:
    """An image goes name by name: by its id, one of several names does not go at all."""
    (found,) = leftovers.unused(Listed([], [], [], [{"Id": "sha256:1", **image}]))
    assert expected == found.references


CONTAINER: Final = Leftover("container", "c", ("c",))
IMAGE: Final = Leftover("image", "i", ("i",))
AGES: Final = Ages(timedelta(seconds=10), timedelta(seconds=100))


def test_only_what_has_been_unused_for_its_age() -> None:
    """Each kind after its own age, counted from when it was first seen unused."""
    memory = Memory({}).updated([CONTAINER, IMAGE], 0.0)
    assert [] == memory.due([CONTAINER, IMAGE], 9.9, AGES)
    assert [CONTAINER] == memory.due([CONTAINER, IMAGE], 10.0, AGES)
    assert [CONTAINER, IMAGE] == memory.due([CONTAINER, IMAGE], 100.0, AGES)


def test_who_was_used_begins_again() -> None:
    """What was used in between is as good as new."""
    memory = Memory({}).updated([CONTAINER], 0.0).updated([], 5.0).updated([CONTAINER], 6.0)
    assert [] == memory.due([CONTAINER], 15.0, AGES)


def test_a_new_keeper_removes_nothing_at_once() -> None:
    """Without a memory everything has been seen just now."""
    assert [] == Memory({}).due([CONTAINER, IMAGE], 1e9, AGES)
