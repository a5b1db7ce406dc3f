"""Whether a pass goes on: each answer of the API server tells the loop that runs the pass.

A context variable, so that no store has to know of loops. A task that was created before `told` has
a context of its own: what a watch hears is no progress of the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_LISTENER: Final[ContextVar[Callable[[], None] | None]] = ContextVar("listener", default=None)


@contextmanager
def told(listener: Callable[[], None]) -> Iterator[None]:
    """Within the `with`, `tell` calls this."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def tell() -> None:
    """Say that something has been done."""
    listener = _LISTENER.get()
    if listener is not None:
        listener()
