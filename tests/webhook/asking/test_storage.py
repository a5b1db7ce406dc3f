"""storage: the values of dinp.io/storage."""

from __future__ import annotations

import pytest

from webhook.asking import storage
from webhook.asking.storage import Storage

SPEC = {
    "accessModes": ["ReadWriteOnce"],
    "storageClassName": "fast",
    "resources": {"requests": {"storage": "50Gi"}},
}


@pytest.mark.parametrize(
    ("parsed", "source", "text"),
    [
        (Storage("emptydir"), {"emptyDir": {}}, "emptydir"),
        (Storage("emptydir", "", "5Gi"), {"emptyDir": {"sizeLimit": "5Gi"}}, "emptydir:5Gi"),
        (
            Storage("ephemeral", "fast", "50Gi"),
            {"ephemeral": {"volumeClaimTemplate": {"spec": SPEC}}},
            "ephemeral:fast:50Gi",
        ),
        (
            Storage("pvc", "cache"),
            {"persistentVolumeClaim": {"claimName": "cache"}},
            "pvc:cache",
        ),
    ],
)
def test_every_form_has_its_volume(parsed: Storage, source: dict[str, object], text: str) -> None:
    """The text, what it means, and the volume that comes of it."""
    assert parsed == storage.parse(text)
    assert {"name": "dinp-storage", **source} == storage.volume(parsed)


def test_a_volume_of_the_pod() -> None:
    """It is there already, so none is added."""
    assert Storage("volume", "data") == storage.parse("volume:data")
    assert storage.volume(Storage("volume", "data")) is None
    assert storage.volume_name(Storage("volume", "data")) == "data"
    assert storage.volume_name(Storage("pvc", "data")) == "dinp-storage"


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("expected emptydir", ""),
        ("expected emptydir", "EmptyDir"),
        ("expected emptydir", "pvc:"),
        ("expected emptydir", "pvc"),
        ("expected emptydir", "pvc:a:b"),
        ("or volume:<a volume of this Pod>", "volume:"),
        ("expected emptydir", "volume:A"),
        ("expected emptydir", "ephemeral:fast"),
        ("expected emptydir", "ephemeral::5Gi"),
        ("expected emptydir", "emptydir:5Gi:x"),
        ("'' is not a quantity", "emptydir:"),
        ("'much' is not a quantity", "ephemeral:fast:much"),
        ("'0' is not more than 0", "emptydir:0"),
        ("'-1Gi' is not more than 0", "emptydir:-1Gi"),
    ],
)
def test_other_texts_say_what_is_expected(says: str, text: str) -> None:
    """An error names the forms, or the size that is none."""
    with pytest.raises(ValueError, match=says):
        storage.parse(text)
