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
_BEGIN: Final = "-----BEGIN "
_CERTIFICATE: Final = "CERTIFICATE"


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

    return {**document, "namespaces": [whole(entry) for entry in document["namespaces"]]}


def check_image(value: str) -> None:
    if image.parse(value) is None:
        raise ValueError(f"{value!r} is not an image, such as docker:29-dind")


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
