"""The request for a certificate, and what its answer means."""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from keeper import request
from keeper.request import Refusal


def test_it_asks_for_its_names() -> None:
    """For exactly these, signed by a key that is its own."""
    made = request.new("dinp-docker-0", ("192.0.2.1", "2001:db8::1", "a.svc"))
    csr = x509.load_pem_x509_csr(made.csr)
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ["192.0.2.1", "2001:db8::1", "a.svc"] == [str(name.value) for name in names]
    assert csr.is_signature_valid
    assert load_pem_private_key(made.key, None).public_key() == csr.public_key()


def test_its_key_is_in_no_repr() -> None:
    """A repr ends up in logs."""
    made = request.new("x", ("a.svc",))
    assert made.key.decode() not in repr(made)


@pytest.mark.parametrize("lifetime", [None, timedelta(minutes=10)])
def test_manifest(lifetime: timedelta | None) -> None:
    """It is for dinp's signer, as a server, and as long as was asked for."""
    made = request.new("x", ("a.svc",))
    spec = request.manifest(made, "x" * 300, lifetime)["spec"]
    assert ("dinp.io/docker-server", ["digital signature", "server auth"]) == (
        spec["signerName"],
        spec["usages"],
    )
    assert made.csr == b64decode(spec["request"])
    assert (None if lifetime is None else 600) == spec.get("expirationSeconds")


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        (None, {}),
        (None, {"conditions": [{"type": "Approved"}]}),
        (b"PEM", {"certificate": b64encode(b"PEM").decode(), "conditions": [{"type": "Approved"}]}),
        (
            Refusal("Denied", "NamesNotAllowed", "no"),
            {"conditions": [{"type": "Denied", "reason": "NamesNotAllowed", "message": "no"}]},
        ),
        (
            Refusal("Failed", "no reason", "no message"),
            {"conditions": [{"type": "Approved"}, {"type": "Failed"}]},
        ),
    ],
)
def test_answer(expected: bytes | Refusal | None, status: dict[str, object]) -> None:
    """Nothing yet, the certificate, or why there is none."""
    assert expected == request.answer({"status": status})
