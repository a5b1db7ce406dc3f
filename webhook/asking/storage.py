"""Where the daemon keeps images: `emptydir[:<size>]`, `ephemeral:<class>:<size>`, `pvc:<claim>`, `volume:<name>`."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from webhook import names
from webhook.pods import quantity
from webhook.pods.pod import Volume

# A DNS subdomain (RFC 1123), as names of claims, StorageClasses and ConfigMaps are.
DNS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
EXPECTED: Final = (
    "emptydir, emptydir:<size>, ephemeral:<storage class>:<size>, pvc:<claim>"
    " or volume:<a volume of this Pod>"
)


class Storage(msgspec.Struct, frozen=True):
    """`size` is a quantity; `name` is the StorageClass, the claim or the volume."""

    kind: Literal["emptydir", "ephemeral", "pvc", "volume"]
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
        case ["pvc" | "volume" as kind, name] if DNS_NAME.fullmatch(name):
            return Storage(kind, name)
        case _:
            raise ValueError(f"expected {EXPECTED}")


def _size(text: str) -> str:
    if quantity.parse(text) <= 0:
        raise ValueError(f"the size {text!r} is not more than 0")
    return text


def volume_name(storage: Storage) -> str:
    """The name of the Pod's volume that holds the data directory."""
    return storage.name if storage.kind == "volume" else names.STORAGE


def volume(storage: Storage) -> Volume | None:
    """The volume that the Pod gets for the daemon's data directory; None where it has one."""
    if storage.kind == "volume":
        return None
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
