"""Give the memory of a large review back to the machine."""

from __future__ import annotations

import ctypes
from typing import Final

# Of a body; usual ones have a twentieth, and leave nothing worth the milliseconds.
LARGE: Final = 256 * 1024

# glibc raises its own thresholds with each large block that is freed (mallopt(3),
# M_MMAP_THRESHOLD), and then keeps up to 64 MiB for the next. Others, as musl, do not.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back(size: int) -> None:
    """After a body of `size` bytes, when nothing of it is held any more."""
    if size >= LARGE and _trim is not None:
        _trim(0)
