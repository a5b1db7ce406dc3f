"""share: dinp.io/share."""

from __future__ import annotations

from tests.webhook import small_pods as build
from webhook import names
from webhook.asking.settings import Share
from webhook.planning import share

SHARES = (Share("/a", seed=False), Share("/b$x", seed=True))


def test_one_volume_a_share() -> None:
    """Numbered by their place in the annotation, and mounted where it says."""
    assert share.volumes(SHARES) == (
        {"name": "dinp-share-0", "emptyDir": {}},
        {"name": "dinp-share-1", "emptyDir": {}},
    )
    assert share.mounts(SHARES) == (
        {"name": "dinp-share-0", "mountPath": "/a"},
        {"name": "dinp-share-1", "mountPath": "/b$x"},
    )


def test_seeds_run_as_the_client_does() -> None:
    """Its image with its user and resources, and none of its command, environment or mounts."""
    client = build.container(
        imagePullPolicy="Always",
        command=["cat"],
        env=[{"name": "A", "value": "b"}],
        resources={"limits": {"cpu": "1"}},
        securityContext={"runAsUser": 1000},
    )
    (seed,) = share.seed_containers(SHARES, client)
    same = ("image", "imagePullPolicy", "resources", "securityContext")
    assert [client.get(key) for key in same] == [seed.get(key) for key in same]
    assert seed["name"] == "dinp-seed-1"
    assert "env" not in seed
    assert (seed.get("command") or [])[-2:] == ["/b$$x", "/dinp/share"]
    ours = {"name": "dinp-share-1", "mountPath": "/dinp/share"}
    assert [ours, names.NO_TOKEN_MOUNT] == seed.get("volumeMounts")


def test_what_the_client_does_not_say_is_not_said() -> None:
    """No null in a container of ours."""
    (seed,) = share.seed_containers(SHARES[1:], {"name": "a", "image": "b", "resources": None})
    assert {"name", "image", "command", "volumeMounts"} == seed.keys()
