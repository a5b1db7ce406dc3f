"""Values of the config file, before and after they have their types.

Each check raises a ValueError that says what is wrong; the config file adds where.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import ssl
from typing import Any, Final

from webhook.pods import bounds, image, pod, quantity

_PEM: Final = re.compile(r"-----BEGIN ([^-\n]*)-----([^-]*)-----END ([^-\n]*)-----")
# A line of a key whose BEGIN line is lost; no word of a comment is that long.
_ENCODED: Final = re.compile(r"^[A-Za-z0-9+/=]{48,}(?=\s*$)", re.MULTILINE)
_BEGIN: Final = "-----BEGIN "
_CERTIFICATE: Final = "CERTIFICATE"

RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
MIRRORS: Final = "expected URLs such as https://mirror.example.com"
REGISTRIES: Final = "expected hosts such as registry.example.com:5000, or CIDRs"
_REGISTRY: Final = re.compile(
    r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?"
)
_MIRROR: Final = re.compile(rf"https?://({_REGISTRY.pattern})/?")
# What stands for other texts in a shell pattern.
_WILDCARDS: Final = re.compile(r"\[[^]]*\]|[*?]")


def with_whole_namespaces(document: Any) -> Any:
    """The document with a whole `sidecar` in each of `namespaces`: its own keys over the file's."""
    if not isinstance(document, dict) or not isinstance(document.get("namespaces"), list):
        return document
    base = document.get("sidecar", {})
    if not isinstance(base, dict):
        return document  # which is said of itself

    def whole(entry: Any) -> Any:
        if not isinstance(entry, dict) or not isinstance(entry.get("sidecar"), dict):
            return entry
        return {**entry, "sidecar": {**base, **entry["sidecar"]}}

    # First the file's own, so that what is wrong there is told of it.
    return {
        "sidecar": base,
        **document,
        "namespaces": [whole(entry) for entry in document["namespaces"]],
    }


def check_image(value: str) -> None:
    if image.parse(value) is None:
        raise ValueError(f"{value!r} is not an image, such as docker:29-dind")


def check_pattern(value: str) -> None:
    """Of allowedImages: whether any image can match."""
    name = _WILDCARDS.sub("1", value).partition("@")[0]  # a digit may stand in a port, too
    if image.parse(name) is None:
        raise ValueError(f"{value!r} matches no image, as docker:*-dind does")


def is_registry(text: str) -> bool:
    if _REGISTRY.fullmatch(text):
        return True
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def is_mirror(text: str) -> bool:
    return _MIRROR.fullmatch(text) is not None


def check_registry(value: str) -> None:
    if not is_registry(value):
        raise ValueError(f"{value!r}: {REGISTRIES}")


def check_mirror(value: str) -> None:
    if not is_mirror(value):
        raise ValueError(f"{value!r}: {MIRRORS}")


def check_resource(name: str) -> None:
    """Kubernetes refuses a Pod for any other name without a domain."""
    if name not in RESOURCES and "/" not in name and not name.startswith("hugepages-"):
        raise ValueError(f"{name!r} is none of Kubernetes' resources: {', '.join(RESOURCES)}")


def check_proxy(value: object) -> None:
    if isinstance(value, str) and "@" in value:
        raise ValueError(
            "a user or password would be in the spec of every Pod that gets a daemon; put the URL into"
            " a Secret of their namespaces, and here {secretKeyRef: {name: …, key: …}}"
        )


def check_quantity(value: str) -> None:
    if quantity.parse(value) < 0:
        raise ValueError(f"{value!r} is negative")


def check_network(value: str) -> int:
    """The prefix length of `value`, an address with one."""
    network = ipaddress.ip_interface(value).network
    if not value.endswith(f"/{network.prefixlen}"):
        raise ValueError(f"{value!r} has no prefix length, such as /24")
    return network.prefixlen


def check_directory(value: str) -> None:
    if not value.startswith("/") or pod.clean_path(value) != value:
        raise ValueError(f"{value!r} is not a clean absolute path")


def check_authorities(text: str) -> None:
    """Whether `text` is certificates in PEM and nothing secret; comments between them may stay.

    It stands in the spec of every Pod that gets a daemon.
    """
    if len(text.encode()) > bounds.AUTHORITIES:
        raise ValueError(f"more than {bounds.AUTHORITIES // 1024} KiB, for every Pod with a daemon")
    blocks = _PEM.findall(text)
    if len(blocks) != text.count(_BEGIN) or not blocks:
        raise ValueError("expected certificates in PEM, each from its BEGIN line to its END line")
    if line := _ENCODED.search(_PEM.sub("", text)):
        what = f"of {len(line[0])} characters of base64 is in no block, and may be of a key"
        raise ValueError(f"expected certificates and comments alone, and a line {what}")
    for number, (begin, body, end) in enumerate(blocks, 1):
        if begin != _CERTIFICATE or end != _CERTIFICATE:
            raise ValueError(f"block {number} is {begin!r}: expected certificates alone, no key")
        try:
            _check_certificate(base64.b64decode("".join(body.split()), validate=True))
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"certificate {number} does not parse: {error}") from error


def _check_certificate(der: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=der)
