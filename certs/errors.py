"""What can go wrong between certs and the API server."""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """Why something was not done; the value is the label of a metric."""

    AWAY = "away"
    """The API server cannot be reached, or does not answer in time."""
    REFUSED = "refused"
    """Permissions or policies do not allow it."""
    CONFLICT = "conflict"
    """Somebody else has written since the read."""
    TOO_LARGE = "too-large"
    """An object is larger than any of dinp's, and was not read to its end."""
    FOREIGN = "foreign"
    """An object has the name of one of dinp's, and holds what is somebody else's."""
    CLOCK = "clock"
    """The clock differs from that of the API server."""
    ANSWER = "answer"
    """The API server answers by any other error."""
    BUG = "bug"
    """Nobody has foreseen it."""


class StoreError(Exception):
    """The API server did not do what was asked: one line that says what, and why."""

    def __init__(self, message: str, reason: Reason = Reason.ANSWER) -> None:
        super().__init__(message)
        self.reason = reason


class RefusedError(StoreError):
    """It has understood what was asked, and will not do it (HTTP 4xx)."""


class ConflictError(RefusedError):
    """Somebody else has written it since it was read: read again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.CONFLICT)


class TooLargeError(StoreError):
    """An object that is larger than any of dinp's was not read to its end."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Reason.TOO_LARGE)
