"""What clients do wrong in HTTP: what aiohttp raises for it, what their answer keeps, how it is logged."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

# What aiohttp raises for a client's malformed HTTP.
MALFORMED: Final = (HttpProcessingError, web.RequestPayloadError)


def allow(error: web.HTTPException) -> dict[str, str]:
    """Of a refusal's headers the one that its answer has: the methods that there are (RFC 9110)."""
    return {key: error.headers[key] for key in ("Allow",) if key in error.headers}


def logger() -> logging.Logger:
    """What aiohttp is to log with."""
    named = logging.getLogger("webhook.http")
    named.addFilter(_without_traceback)
    return named


def _without_traceback(record: logging.LogRecord) -> bool:
    """A client's malformed HTTP is not a fault of ours: aiohttp logs a traceback for it."""
    if record.exc_info and isinstance(record.exc_info[1], MALFORMED):
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
