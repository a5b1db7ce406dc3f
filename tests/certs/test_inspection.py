"""certs.inspection: what others wrote is judged, never trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs import inspection
from certs.authority import KeyPair, Usage, issue_ca, issue_leaf

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CA = issue_ca("dinp", now=NOW, lifetime=9 * DAY, permitted=["svc"])
OTHER = issue_ca("dinp", now=NOW, lifetime=9 * DAY)
LEAF = issue_leaf(CA, "dinp", names=["a.svc"], usage=Usage.SERVER, now=NOW, lifetime=3 * DAY)
BAD = b"-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----"


@pytest.mark.parametrize("pem", [b"", b"nonsense", BAD, LEAF.key, b"\xff\x00"])
def test_bad_bytes(pem: bytes) -> None:
    """Bytes that are no certificate are nothing at all, and no error."""
    assert inspection.parse(pem) is None
    assert inspection.rewritten(pem) is None
    assert not inspection.is_authority(pem)
    assert not inspection.is_pair(KeyPair(pem, LEAF.key))
    assert not inspection.is_issued_by(pem, CA.certificate)
    assert not inspection.is_issued_by(LEAF.certificate, pem)
    assert not inspection.permits(pem, [])
    assert frozenset() == inspection.dns_names(pem)
    with pytest.raises(ValueError, match="not a PEM certificate"):
        inspection.ends_at(pem)


@pytest.mark.parametrize("key", [b"", b"nonsense", CA.key, LEAF.certificate])
def test_a_key_of_another(key: bytes) -> None:
    """A pair is one only with the key of the certificate."""
    assert inspection.is_pair(LEAF)
    assert not inspection.is_pair(KeyPair(LEAF.certificate, key))


def test_an_encrypted_key() -> None:
    """A key that takes a password is of no use."""
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert not inspection.is_pair(KeyPair(LEAF.certificate, key))


def test_issued_by() -> None:
    """The signature decides, not the name: both CAs have the same."""
    assert inspection.is_issued_by(LEAF.certificate, CA.certificate)
    assert not inspection.is_issued_by(LEAF.certificate, OTHER.certificate)
    assert not inspection.is_issued_by(LEAF.certificate, LEAF.certificate)


def test_authority() -> None:
    """A leaf is no CA."""
    assert inspection.is_authority(CA.certificate)
    assert not inspection.is_authority(LEAF.certificate)


def test_blocks() -> None:
    """Text around certificates does not matter; order, line ends and repetition neither."""
    bundle = b"# one\n" + CA.certificate.replace(b"\n", b"\r\n") + b"# two\n" + OTHER.certificate
    assert frozenset({CA.certificate, OTHER.certificate}) == inspection.blocks(bundle)
    assert inspection.blocks(OTHER.certificate + CA.certificate * 2) == inspection.blocks(bundle)
    assert frozenset() == inspection.blocks(b"nonsense")


def test_a_broken_block() -> None:
    """A bundle with a block that is no certificate differs from the one without."""
    assert frozenset({CA.certificate, BAD}) == inspection.blocks(CA.certificate + BAD)


def test_blocks_are_found_in_a_moment() -> None:
    """A megabyte of beginnings without an end costs no more than its length."""
    assert frozenset() == inspection.blocks(b"-----BEGIN CERTIFICATE-----" * 40_000)
    bundle = b"-----BEGIN CERTIFICATE-----" * 40_000 + b"-----END CERTIFICATE-----"
    assert frozenset({bundle}) == inspection.blocks(bundle)


@pytest.mark.parametrize("size", [1, 2**20])
def test_nothing_large_is_remembered(size: int) -> None:
    """What is longer than any certificate or key is no pair, and no cache keeps it."""
    more = b"#" * size
    for at in range(5):
        large = LEAF.certificate + b"%d" % at + more
        expected = len(large) < 32 * 1024
        assert expected is (inspection.parse(large) is not None)
        assert expected is inspection.is_issued_by(large, CA.certificate)
        assert expected is inspection.is_pair(KeyPair(large, LEAF.key))
    caches = (inspection._parse, inspection._is_pair, inspection._is_issued_by)
    for cache in caches:
        assert cache.cache_info().maxsize * 2 * 32 * 1024 <= 16 * 2**20  # type: ignore[operator]  # it has a bound
    before = [cache.cache_info().currsize for cache in caches]
    large = LEAF.certificate + b"again" + b"#" * 2**20
    assert not inspection.is_pair(KeyPair(LEAF.certificate, large))
    assert not inspection.is_issued_by(large, CA.certificate)
    assert inspection.parse(large) is None
    assert before == [cache.cache_info().currsize for cache in caches]


def test_join() -> None:
    """Each certificate once, in order."""
    both = [CA.certificate, OTHER.certificate, CA.certificate]
    assert CA.certificate + OTHER.certificate == inspection.join(both)


def test_dates() -> None:
    """Backdating does not count as lifetime; less than the lifetime may be wanted."""
    assert NOW == inspection.issued_at(LEAF.certificate)
    assert NOW + 3 * DAY == inspection.ends_at(LEAF.certificate)
    assert NOW + 2 * DAY == inspection.due_at(LEAF.certificate, 30 * DAY)
    assert NOW + DAY * 2 / 3 == inspection.due_at(LEAF.certificate, DAY)


@pytest.mark.parametrize(
    ("authority", "names", "expected"),
    [
        (CA, ["svc", "a.svc", "b.a.svc"], True),
        (CA, ["a.svc", "a.example"], False),
        (CA, ["asvc"], False),
        (OTHER, ["a.example"], True),
    ],
)
def test_permits(authority: KeyPair, names: list[str], expected: bool) -> None:
    """Names below a permitted one are permitted; a CA without constraints permits all."""
    assert expected is inspection.permits(authority.certificate, names)


def test_dns_names() -> None:
    """The alternative names; a certificate without them has none."""
    assert frozenset({"a.svc"}) == inspection.dns_names(LEAF.certificate)
    assert frozenset() == inspection.dns_names(CA.certificate)
