"""webhook.serving.logs: one line a review, that nobody can forge."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog
import structlog.testing
from msgspec.structs import replace

from tests.webhook.serving.test_metrics import OUTCOME
from webhook.serving import logs


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A review is one JSON object on one line: who, what, why and how long."""
    logs.configure("json")
    outcome = replace(OUTCOME, uid="u-1", namespace="ci", name="build-1", owner="Job/build")
    fields = logs.review_fields(outcome, rule="migrate/sidecar", seconds=0.0001234)
    structlog.get_logger().info("review", **fields)
    line = json.loads(capsys.readouterr().out)
    line.pop("timestamp")

    assert line == {
        "event": "review",
        "level": "info",
        "uid": "u-1",
        "namespace": "ci",
        "name": "build-1",
        "owner": "Job/build",
        "rule": "migrate/sidecar",
        "mode": "sidecar",
        "outcome": "mutated",
        "reason": "migrated",
        "operations": 7,
        "ms": 0.123,
    }


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "\udc80", 'quote " and \\'])
def test_one_printable_line(
    log_format: logs.Format, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Line ends, terminal codes and half characters of a client come out escaped, on one line."""
    logs.configure(log_format)
    fields = logs.review_fields(replace(OUTCOME, namespace=text), rule="annotated", seconds=0)
    structlog.get_logger().info("review", **fields)
    out = capsys.readouterr().out

    assert out.count("\n") == 1
    assert out.rstrip("\n").isprintable()


def test_long_text_is_cut() -> None:
    """Names longer than Kubernetes allows are cut; a missing owner stays missing."""
    fields = logs.review_fields(
        replace(OUTCOME, name="x" * 1_000_000, owner=None), rule="annotated", seconds=0
    )

    assert len(fields["name"]) == 318
    assert fields["owner"] is None


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_traceback(log_format: logs.Format, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception is logged with its traceback; in JSON within the one line."""
    logs.configure(log_format)
    try:
        int("for the log")
    except ValueError:
        structlog.get_logger().exception("review failed")
    out = capsys.readouterr().out

    assert "test_logs.py" in out
    assert "ValueError: invalid literal" in out
    if log_format == "json":
        assert json.loads(out)["level"] == "error"


def test_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    """What a library warns of comes out the same way, and its small talk does not."""
    logs.configure("json")
    logging.getLogger("aiohttp.server").warning("%s is odd", "this")
    logging.getLogger("aiohttp.server").info("chatter")
    structlog.get_logger().debug("chatter")
    out = capsys.readouterr().out

    assert json.loads(out)["event"] == "this is odd"


def test_ration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many lines of one kind some are logged, and then how many were not; other kinds are not touched."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    few, many = logs.Ration("few"), logs.Ration("many")
    with structlog.testing.capture_logs() as lines:
        few.warning(at=0)
        for at in range(120):
            many.warning(at=at)
        logs.tell_left_out()  # too early
        now += 10
        logs.tell_left_out()
        logs.tell_left_out()  # once is enough
        many.warning(at=120)
    events = [line["event"] for line in lines]

    assert ["few", *["many"] * 20, "many: lines left out", "many"] == events
    assert lines[-2]["left_out"] == 100


def test_libraries_are_rationed(capsys: pytest.CaptureFixture[str]) -> None:
    """What a stranger makes a library warn of cannot fill the log either."""
    logs.configure("json")
    for _ in range(100):
        logging.getLogger("asyncio").warning("socket.send() raised exception.")

    assert capsys.readouterr().out.count("\n") == 20
