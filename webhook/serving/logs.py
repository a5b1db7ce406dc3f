"""Structured logs on standard output: one line a review, JSON or for people.

A line never holds the Pod, only who it is. What a client sent is cut short and escaped, so
that it can neither forge a line nor speak to a terminal.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import weakref
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec
import structlog

from webhook.admission import Outcome

Format = Literal["json", "console"]

# Kind/name of an owner is the longest that is valid: 63 + 1 + 253.
_LONGEST = 317
# What strangers can cause is logged so many times in so many seconds, for each kind.
_LINES: Final = 20
_SECONDS: Final = 10.0


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
    library.addFilter(Ration("library").filter)
    library.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(handlers=[library], level=logging.WARNING, force=True)


def _rendering(log_format: Format) -> list[structlog.typing.Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(),
        repr_native_str=True,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [console]


_encoder: Final = msgspec.json.Encoder(enc_hook=repr)


def _json(line: object, **_: object) -> str:
    """One line, ASCII only, so that nothing a client sends can break it: most lines are, as they are."""
    with suppress(UnicodeEncodeError):  # half a surrogate pair, which is no text
        text = _encoder.encode(line)
        if text.isascii():
            return text.decode()
    return json.dumps(line, default=repr)


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


class Ration:
    """Lines of one kind, a bounded number in a while; the rest is counted, and told by one line."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._began = -_SECONDS
        self._lines = 0
        _rations.add(self)

    def warning(self, **fields: Any) -> None:
        """Log a line, if there may be one more."""
        if self.admits():
            structlog.get_logger().warning(self._event, **fields)

    def filter(self, _record: logging.LogRecord) -> bool:
        """The same for lines of the logging package."""
        return self.admits()

    def admits(self) -> bool:
        """Whether there may be one more line; it counts."""
        self.tell()
        if time.monotonic() - self._began >= _SECONDS:
            self._began, self._lines = time.monotonic(), 0
        self._lines += 1
        return self._lines <= _LINES

    def tell(self) -> None:
        """Say how many lines were left out, when their time is over."""
        left_out = self._lines - _LINES
        if left_out > 0 and time.monotonic() - self._began >= _SECONDS:
            self._lines = 0
            structlog.get_logger().warning(f"{self._event}: lines left out", left_out=left_out)


_rations: weakref.WeakSet[Ration] = weakref.WeakSet()


def tell_left_out() -> None:
    """Say of every kind how many lines were left out, once their time is over."""
    for ration in tuple(_rations):
        ration.tell()
