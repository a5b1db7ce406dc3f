"""names: what is dinp's in a Pod."""

from __future__ import annotations

import pytest

from webhook import names


@pytest.mark.parametrize(
    "name", ["dinp-run", "dinp-socket", "dinp-storage", "dinp-certs", "dinp-cli", "dinp-config"]
)
def test_volumes_of_dinp(name: str) -> None:
    """The six volumes by name, and shares by their prefix; other names are the user's."""
    assert names.is_dinps_volume(name)
    assert names.is_dinps_volume("dinp-share-0")
    assert not names.is_dinps_volume(f"{name}s")
    assert not names.is_dinps_volume("work")


@pytest.mark.parametrize("name", ["dinp-dind", "dinp-cli", "dinp-seed-0", "dinp-seed-11"])
def test_containers_of_dinp(name: str) -> None:
    """The daemon, the CLI's copier, and seeds."""
    assert names.is_dinps_container(name)


@pytest.mark.parametrize("name", ["dinp", "dinp-client", "dinp-dinder", "build", "my-dinp-dind"])
def test_containers_of_others(name: str) -> None:
    """A name that only begins like one of dinp's is the user's."""
    assert not names.is_dinps_container(name)


@pytest.mark.parametrize(
    ("is_system", "path"),
    [
        (True, "/usr/local/libexec"),
        (True, "/usr/local/libexec/docker/cli-plugins"),
        (True, "/var/lib/dinp/trust"),
        (False, "/usr/local/libexecs"),
        (False, "/usr/local/share"),
    ],
)
def test_what_the_daemons_container_needs(is_system: bool, path: str) -> None:
    """No mount of anybody's hides there what the daemon's container executes, copies or trusts."""
    assert is_system == names.is_system(path, rootless=False)
