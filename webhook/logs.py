"""Structured logs on standard output: one line a review, JSON or for people.

A line never holds the Pod, only who it is. What a client sent is cut short and escaped, so
that it can neither forge a line nor speak to a terminal.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

from webhook.admission import Outcome

Format = Literal["json", "console"]

# Kind/name of an owner is the longest that is valid: 63 + 1 + 253.
_LONGEST = 317


def configure(log_format: Format) -> None:
    """Set up structlog, and send what libraries log the same way (from WARNING on)."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendering = _rendering(log_format)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    library = logging.StreamHandler(sys.stdout)
    library.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[library], level=logging.WARNING, force=True)


def _rendering(log_format: Format) -> list[structlog.typing.Processor]:
    if log_format == "json":
        # The standard library's json writes ASCII only, so nothing a client sends can break it.
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        repr_native_str=True,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [console]


def review_fields(outcome: Outcome, *, rule: str, seconds: float) -> dict[str, Any]:
    """What the line of one review says."""
    return {
        "uid": short(outcome.uid),
        "namespace": short(outcome.namespace),
        "name": short(outcome.name),
        "owner": None if outcome.owner is None else short(outcome.owner),
        "rule": rule,
        "mode": outcome.mode,
        "outcome": outcome.outcome,
        "reason": outcome.reason.value,
        "operations": outcome.operations,
        "ms": round(seconds * 1000, 3),
    }


def short(text: str, longest: int = _LONGEST) -> str:
    """Cut what a client sent."""
    return text if len(text) <= longest else f"{text[:longest]}…"
