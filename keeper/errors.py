"""What can go wrong outside of this process."""

from __future__ import annotations


class EngineError(Exception):
    """dockerd does not answer, or not as it was asked to; the message says to what."""


class SigningError(Exception):
    """There is no certificate to be had; the message says why, and what to look at."""
