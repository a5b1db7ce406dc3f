"""What clients do wrong in HTTP: what aiohttp raises for it, what their answer keeps, how it is logged."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import HttpProcessingError

# What aiohttp raises for a client's malformed HTTP.
MALFORMED: Final = (HttpProcessingError, web.RequestPayloadError)


def allow(error: web.HTTPException) -> dict[str, str]:
    """Of a refusal's headers the one that its answer has: the methods that there are (RFC 9110)."""
    return {key: error.headers[key] for key in ("Allow",) if key in error.headers}


def logger() -> logging.Logger:
    """What aiohttp is to log with."""
    named = logging.getLogger("webhook.http")
    named.addFilter(_of_ours)
    return named


def _of_ours(record: logging.LogRecord) -> bool:
    """Whether to log it. aiohttp logs a traceback for what clients do, too.

    Of malformed HTTP a line without it is left; of a client that has left before its answer,
    nothing.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ClientConnectionResetError):
        return False
    if isinstance(error, MALFORMED):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
