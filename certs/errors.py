"""What can go wrong between certs and the API server."""

from __future__ import annotations


class StoreError(Exception):
    """The API server did not do what was asked: one line that says what, and why."""


class RefusedError(StoreError):
    """It has understood what was asked, and will not do it (HTTP 4xx)."""


class ConflictError(RefusedError):
    """Somebody else has written it since it was read: read again."""
