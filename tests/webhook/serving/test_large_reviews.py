"""large_reviews and reviewer: the process for large bodies, how it ends, and what it takes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.webhook import large_pods
from tools.serving import admission_review
from webhook import admission
from webhook.admission import ReviewError
from webhook.asking.config import Config, parse
from webhook.asking.rules import RULES
from webhook.pods import bounds
from webhook.serving import large_reviews, reviewer
from webhook.serving.large_reviews import FailedError, LargeReviews, NotReviewedError
from webhook.serving.reviewer import LENGTH, Answer

PATH = "/pods/annotated"
RULE = RULES[PATH]
CONFIG = parse(b"sidecar: {image: 'registry.test/docker:29-dind', requests: {cpu: 250m}}")
POD: dict[str, Any] = {
    "metadata": {"name": "build", "namespace": "ci", "annotations": {"dinp.io/inject": "sidecar"}},
    "spec": {"containers": [{"name": "build", "image": "docker:29-cli"}]},
}
BODY = json.dumps(admission_review(POD)).encode()
ALL_VARIABLES = "list spec.containers.0.env, all kinds"


@pytest.fixture
async def large() -> AsyncIterator[LargeReviews]:
    """A process of its own; it ends by itself when it is not needed any more."""
    reviews = LargeReviews(CONFIG)
    await reviews.start()
    process = reviews._process
    yield reviews
    await reviews.close()
    assert process is not None
    assert process.poll() is not None


# ---- what it answers -----------------------------------------------------------------------


async def test_the_same_as_in_the_server(large: LargeReviews) -> None:
    """By the config of the server, each review comes out as it would there; one after the other."""
    body = BODY.ljust(bounds.MIB)
    expected = admission.review(body, RULE, CONFIG)
    found = await asyncio.gather(*(large.review(body, RULE) for _ in range(3)))

    assert [expected] * 3 == found
    assert b"registry.test" not in expected.body  # it is in base64
    assert admission.review(body, RULE, Config()) != expected


async def test_no_review(large: LargeReviews) -> None:
    """What is no AdmissionReview is the same error, and the process goes on."""
    process = large._process
    with pytest.raises(ReviewError, match=r"^not an AdmissionReview"):
        await large.review(b" " * bounds.MIB, RULE)

    assert (await large.review(BODY, RULE)).outcome == "mutated"
    assert large._process is process


async def test_too_dense(large: LargeReviews) -> None:
    """What would take more memory than there is, is refused in words before it is decoded."""
    with pytest.raises(NotReviewedError, match="would take more memory than the 112 MiB") as caught:
        await large.review(b"{}," * (bounds.BODY // 3), RULE)

    assert caught.value.code == 413
    assert (await large.review(BODY, RULE)).outcome == "mutated"


async def test_too_long_an_answer(large: LargeReviews) -> None:
    """An answer that is larger than what may wait for clients is refused in words."""
    request = {**admission_review(POD)["request"], "uid": "x" * (bounds.BODY - 1000)}
    body = json.dumps({**admission_review(POD), "request": request}).encode()
    with pytest.raises(NotReviewedError, match=r"^the answer would have 8"):
        await large.review(body, RULE)


# ---- how it fails --------------------------------------------------------------------------


async def test_killed(large: LargeReviews) -> None:
    """Whoever waits for a process that is killed is told how it ended, and the next has another."""
    assert large._process is not None
    large._process.send_signal(signal.SIGSTOP)
    asked = asyncio.create_task(large.review(BODY, RULE))
    await asyncio.sleep(0.1)
    large._process.kill()
    with pytest.raises(NotReviewedError, match=r"has ended: exit code -9$") as caught:
        await asked

    assert caught.value.code == 503
    assert (await large.review(BODY, RULE)).outcome == "mutated"


async def test_a_process_that_keeps_much(
    large: LargeReviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another takes its place, before the next review and unseen by it; one that keeps little stays."""
    first = large._process
    assert first is not None
    assert (await large.review(BODY, RULE)).outcome == "mutated"
    assert large._process is first
    monkeypatch.setattr(bounds, "REVIEWER_AT_REST", 0)
    assert (await large.review(BODY, RULE)).outcome == "mutated"
    assert first.poll() is not None
    assert (await large.review(BODY, RULE)).outcome == "mutated"


async def test_a_patch_that_is_larger_than_its_pod(large: LargeReviews) -> None:
    """A body that becomes too much only when it is reviewed is refused for that, and the next is answered."""
    family = next(one for one in large_pods.families() if one.name.startswith(ALL_VARIABLES))
    most = large_pods.fitting(family, large_pods.LARGEST)
    body = large_pods.body(family, most, large_pods.SERVED[0])
    assert reviewer.memory_for(body) < bounds.REVIEWER
    with pytest.raises(
        NotReviewedError, match=r"make the Pod's lists shorter|^the answer"
    ) as caught:
        await large.review(body, RULE)

    assert caught.value.code == 413
    assert (await large.review(BODY, RULE)).outcome == "mutated"


async def test_too_slow() -> None:
    """A review that does not end is given up, so are those that wait for it, and the next has a new process."""
    large = LargeReviews(CONFIG, seconds=0.3)
    await large.start()
    assert large._process is not None
    large._process.send_signal(signal.SIGSTOP)
    asked = await asyncio.gather(
        *(large.review(BODY, RULE) for _ in range(2)), return_exceptions=True
    )

    assert {"the review took longer than 0.3 s", "other large reviews took too long"} >= set(
        map(str, asked)
    )
    large._seconds = 60
    assert (await large.review(BODY, RULE)).outcome == "mutated"
    await large.close()


async def test_cancelled(large: LargeReviews) -> None:
    """When a server ends in the middle of a review, nobody takes its answer for another's."""
    asked = asyncio.create_task(large.review(BODY.ljust(bounds.BODY), RULE))
    await asyncio.sleep(0.05)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked

    assert (await large.review(BODY, RULE)).outcome == "mutated"


async def test_it_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for a process, the server runs on, and large reviews are refused."""

    def none(_: int) -> subprocess.Popen[bytes]:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(large_reviews, "_reviewer", none)
    large = LargeReviews(CONFIG)
    await large.start()
    with pytest.raises(NotReviewedError, match="has ended: it did not start"):
        await large.review(BODY, RULE)
    await large.close()


NO_MEMORY = """
import socket, struct
stream = socket.socket(fileno=0).makefile("rwb")
for _ in range(3):
    stream.read(*struct.unpack("!I", stream.read(4)))
for part in (b"507", b"too much", b""):
    stream.write(struct.pack("!I", len(part)) + part)
stream.flush()
stream.read()
"""


async def test_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has had no memory left is ended, as its libraries may not have coped."""

    def stand_in(channel: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", NO_MEMORY]
        return subprocess.Popen(command, stdin=channel)  # noqa: S603 - our own program

    large = LargeReviews(CONFIG)
    with monkeypatch.context() as patched:
        patched.setattr(large_reviews, "_reviewer", stand_in)
        with pytest.raises(NotReviewedError, match=r"^too much$"):
            await large.review(BODY, RULE)

    assert large._process is None
    assert (await large.review(BODY, RULE)).outcome == "mutated"
    await large.close()


# ---- the other side ------------------------------------------------------------------------


def answered(body: bytes) -> list[bytes]:
    """The parts of the reviewer's answer to one body."""
    asked = io.BytesIO(LENGTH.pack(len(body)) + body)
    stream = io.BufferedRWPair(asked, written := io.BytesIO())
    reviewer.answer(stream, PATH, CONFIG)  # type: ignore[arg-type]
    written.seek(0)
    return [reviewer._part(written) for _ in range(3)]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (MemoryError(), Answer.NO_MEMORY, b"would take more memory"),
        (KeyError("a bug"), Answer.FAILED, b"KeyError: 'a bug'"),
        (ReviewError("no Pod"), Answer.NO_REVIEW, b"no Pod"),
    ],
)
def test_how_a_review_ends(
    error: Exception, kind: Answer, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Want of memory, a bug of ours and a request that is none are told apart."""

    def review(*_: object) -> None:
        raise error

    monkeypatch.setattr(reviewer, "review", review)
    found, sentence, body = answered(BODY)

    assert (kind.value, b"") == (found, body)
    assert said in sentence


async def test_bug(large: LargeReviews, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours is an error with the traceback of the process."""

    async def read(_: LargeReviews) -> bytes:
        return parts.pop(0)

    parts = [b"500", b"Traceback: a bug", b""]
    monkeypatch.setattr(LargeReviews, "_read", read)
    with pytest.raises(FailedError, match=r"^Traceback: a bug$"):
        await large.review(BODY, RULE)


def test_limits_of_the_process() -> None:
    """It may have no more data than its bound, leaves no core, and steps back for the server."""
    ours, theirs = socket.socketpair()
    with ours, theirs, large_reviews._reviewer(theirs.fileno()) as process:
        theirs.close()
        part = b"\x80"  # an empty config
        ours.sendall(LENGTH.pack(len(part)) + part)
        for one in (PATH.encode(), BODY):
            ours.sendall(LENGTH.pack(len(one)) + one)
        with ours.makefile("rb") as stream:
            kind, *_ = [reviewer._part(stream) for _ in range(3)]
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        nice = os.getpriority(os.PRIO_PROCESS, process.pid)
        ours.close()

    assert kind == Answer.REVIEWED.value
    assert process.returncode == 0
    assert nice > os.getpriority(os.PRIO_PROCESS, 0)
    found = {line[:26].strip(): line[26:].split()[0] for line in limits}
    assert found["Max data size"] == str(bounds.REVIEWER)
    assert found["Max core file size"] == "0"
