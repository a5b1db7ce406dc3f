"""Where the daemon keeps images: `emptydir[:<size>]`, `ephemeral:<class>:<size>`, `pvc:<claim>`."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from webhook import names
from webhook.pods import quantity
from webhook.pods.pod import Volume

# A DNS subdomain (RFC 1123), as names of claims, StorageClasses and ConfigMaps are.
DNS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
EXPECTED: Final = "emptydir, emptydir:<size>, ephemeral:<storage class>:<size> or pvc:<claim>"


class Storage(msgspec.Struct, frozen=True):
    """`size` is a quantity; `name` is the StorageClass or the claim."""

    kind: Literal["emptydir", "ephemeral", "pvc"]
    name: str = ""
    size: str = ""


def parse(text: str) -> Storage:
    """Parse the value of dinp.io/storage.

    Raises:
        ValueError: the message says what is expected.
    """
    match text.split(":"):
        case ["emptydir"]:
            return Storage("emptydir")
        case ["emptydir", size]:
            return Storage("emptydir", size=_size(size))
        case ["ephemeral", name, size] if DNS_NAME.fullmatch(name):
            return Storage("ephemeral", name, _size(size))
        case ["pvc", name] if DNS_NAME.fullmatch(name):
            return Storage("pvc", name)
        case _:
            raise ValueError(f"expected {EXPECTED}")


def _size(text: str) -> str:
    if quantity.parse(text) <= 0:
        raise ValueError(f"the size {text!r} is not more than 0")
    return text


def volume(storage: Storage) -> Volume:
    """The Pod's volume for the daemon's data directory."""
    if storage.kind == "pvc":
        return {"name": names.STORAGE, "persistentVolumeClaim": {"claimName": storage.name}}
    if storage.kind == "ephemeral":
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage.name,
            "resources": {"requests": {"storage": storage.size}},
        }
        return {"name": names.STORAGE, "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}
    return {"name": names.STORAGE, "emptyDir": {"sizeLimit": storage.size} if storage.size else {}}
