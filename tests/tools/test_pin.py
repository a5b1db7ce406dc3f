"""Where images are named; tests/release/test_pin.py asks a real registry about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import pin
from webhook.asking import config

ROOT = Path(__file__).parents[2]
TAGS = {
    "Dockerfile": ["python"],
    "manifests/base/config.yaml": ["docker", "docker"],
    "manifests/daemonset/daemonset.yaml": ["docker"],
    "manifests/service/statefulset.yaml": ["docker"],
}


def test_every_place_is_there_once() -> None:
    """The table fits the files, so no image stays unpinned in silence."""
    texts = pin._texts(ROOT)
    found = [match["tag"].partition(":")[0] for match in pin._found(texts)]
    assert [name for names in TAGS.values() for name in names] == found


@pytest.mark.parametrize("lines", [0, 2])
def test_a_place_that_is_not_there(lines: int) -> None:
    """A line that went, or came twice, is an error that names it."""
    texts = {**pin._texts(ROOT), "Dockerfile": "ARG BASE=python:3\n" * lines}
    with pytest.raises(pin.PlaceError, match=f"Dockerfile has to have one line.* has {lines}$"):
        list(pin._found(texts))


def test_the_daemons_image_is_one() -> None:
    """The default, the config file and the shared daemons name the same, at an exact tag."""
    images = [match["tag"] for match in pin._found(pin._texts(ROOT))]
    defaults = config.Sidecar()
    assert [defaults.image, defaults.rootless_image] == images[1:3]
    assert [defaults.image] * 2 == images[3:]
    for image in images:
        assert 2 == image.partition(":")[2].partition("-")[0].count("."), image
