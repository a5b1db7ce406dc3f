"""Values of the config file, before and after they have their types.

Each check raises a ValueError that says what is wrong; the config file adds where.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Final

from webhook.pods import bounds, image, pod, quantity

_PEM: Final = re.compile(r"-----BEGIN ([^-\n]*)-----([^-]*)-----END ([^-\n]*)-----")
_BEGIN: Final = "-----BEGIN "
_CERTIFICATE: Final = "CERTIFICATE"

# Tags of DER (ITU-T X.690).
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
# Of a TBSCertificate (RFC 5280, 4.1) behind its version: the serial number, then the signature's
# algorithm, issuer, validity, subject and key.
_TBS: Final = [_INTEGER, *[_SEQUENCE] * 5]


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
        except (binascii.Error, IndexError, ValueError) as error:
            raise ValueError(f"certificate {number} does not parse: {error}") from error


def _check_certificate(der: bytes) -> None:
    """Whether it has the outer parts of an X.509 certificate, whole, and nothing behind them."""
    (certificate,) = _parts(der, [_SEQUENCE])
    tbs, *_ = _parts(certificate, [_SEQUENCE, _SEQUENCE, _BIT_STRING])
    _parts(tbs, [_VERSION, *_TBS] if tbs[0] == _VERSION else _TBS, more=True)


def _parts(der: bytes, tags: list[int], *, more: bool = False) -> list[bytes]:
    """The contents of values with these tags; `more`: others may follow."""
    found = list(_values(der))
    there = [tag for tag, _ in found]
    if there[: len(tags)] != tags or (len(there) > len(tags) and not more):
        raise ValueError("its parts are not those of an X.509 certificate")
    return [content for _, content in found]


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Each value of a constructed one: its tag and its content."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], "big"), at + size
        if at + length > len(der):
            raise ValueError("it is cut off")
        yield tag, der[at : at + length]
        at += length
