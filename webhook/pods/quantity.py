"""Kubernetes quantities: `100m`, `2`, `4Gi`, `1e3` (apimachinery's resource.Quantity)."""

from __future__ import annotations

import re
from decimal import Decimal

from webhook.pods import bounds

_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?"
)

_SUFFIXES = {
    **{suffix: Decimal(10) ** (3 * at - 9) for at, suffix in enumerate("num")},
    **{suffix: Decimal(10) ** (3 * at) for at, suffix in enumerate(["", *"kMGTPE"])},
    **{f"{prefix}i": Decimal(1024) ** at for at, prefix in enumerate("KMGTPE", start=1)},
}


class TooLongError(ValueError):
    """A text that is above `bounds.QUANTITY`."""


# Without a cache, which would keep what strangers have sent.
def parse(text: str | float) -> Decimal:
    """The number that `text` stands for.

    Raises:
        TooLongError: the message says how long a quantity may be.
        ValueError: `text` is no quantity; the message says what one looks like.
    """
    text = str(text)
    if len(text) > bounds.QUANTITY:
        limit = f"a quantity has at most {bounds.QUANTITY} characters"
        raise TooLongError(f"{text[: bounds.QUANTITY]}… has {len(text):,}, and {limit}")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 4Gi")
    number, suffix = match[1], match[2] or ""
    if suffix in _SUFFIXES:
        return Decimal(number) * _SUFFIXES[suffix]
    return Decimal(number + suffix)


def same(one: object, other: object) -> bool:
    """Whether both are the same number, in whatever spelling, or the same text."""
    try:
        return one == other or parse(str(one)) == parse(str(other))
    except ValueError:
        return False


def parse_or_zero(text: str | float) -> Decimal:
    """Parse leniently what the API server has yet to check: no quantity is 0."""
    try:
        return parse(text)
    except ValueError:
        return Decimal(0)
