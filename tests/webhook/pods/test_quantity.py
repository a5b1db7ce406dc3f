"""quantity: Kubernetes' numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from webhook.pods import quantity


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0.1", "100m"),
        ("2", "2"),
        ("3", 3),
        ("1.5", 1.5),
        ("0.5", ".5"),
        ("5", "5."),
        ("-1", "-1"),
        ("1", "+1"),
        ("1000", "1k"),
        ("1024", "1Ki"),
        ("4294967296", "4Gi"),
        ("1E+18", "1E"),
        ("1000", "1E3"),
        ("0.001", "1e-3"),
        ("1E-9", "1n"),
        ("1E-6", "1u"),
        ("1000000", "1M"),
        ("1152921504606846976", "1Ei"),
    ],
)
def test_quantities(number: str, text: str | float) -> None:
    """Every suffix of apimachinery's resource.Quantity is understood."""
    assert Decimal(number) == quantity.parse(text)
    assert Decimal(number) == quantity.parse_or_zero(text)


@pytest.mark.parametrize(
    "text",
    ["", "Gi", "1 Gi", "1gi", "1K", "lots", "1e", ".", "1Gi\n", "0x10", "1_000", "٣Gi", "--1"],
)
def test_no_quantities(text: str) -> None:
    """What the API server would refuse is refused, with an example of what it takes."""
    with pytest.raises(ValueError, match="is not a quantity such as 500m, 2 or 4Gi"):
        quantity.parse(text)
    assert Decimal(0) == quantity.parse_or_zero(text)


@pytest.mark.parametrize("text", ["1" * 65, "1" * 1_000_000 + "Gi", "0." + "0" * 64])
def test_long_quantities(text: str) -> None:
    """None is read that Kubernetes could not hold; the API server has no lower bound of its own."""
    expected = f"has {len(text):,}, and a quantity has at most 64 characters"
    with pytest.raises(quantity.TooLongError, match=expected):
        quantity.parse(text)
    assert Decimal(0) == quantity.parse_or_zero(text)


@pytest.mark.parametrize("text", ["9" * 64, "9" * 60 + "e999", "9" * 62 + "Ei", 1e308, 2**64])
def test_largest_quantities(text: str | float) -> None:
    """What is short enough is a number, whatever its exponent."""
    assert quantity.parse(text).is_finite()
