"""The process that does the reviews of large bodies, one after the other.

    python -m webhook.serving.reviewer <socket on descriptor 0>

One such review takes up to a second and, for each MiB, 25 MiB. In a process of its own it
neither keeps others waiting (a thread would: decoding holds Python's lock all the time), nor
can it take memory that others need: what would be too much is refused before it is decoded, and
the kernel gives this process no more than `bounds.REVIEWER`, whatever a Pod is made of. msgspec
0.22 may crash where it gets no memory: that is a net, and no way. large_reviews.py is the other side.

    in:  the config; then for each review the path of its rule, and its body
    out: for each review the value of its Answer, its Outcome or a sentence, and the answer's body

A message is so many parts, each four bytes of length, big-endian, and its bytes.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import struct
import traceback
from contextlib import suppress
from enum import Enum
from typing import BinaryIO, Final, cast

import msgspec
from msgspec.structs import replace

from webhook.admission import Outcome, ReviewError, review
from webhook.asking.config import Config
from webhook.asking.rules import RULES
from webhook.pods import bounds
from webhook.serving import memory

LENGTH: Final = struct.Struct("!I")
# Reviews of ordinary size go first where there is too little CPU for all.
_NICE: Final = 5
_INTERPRETER: Final = 14 * bounds.MIB
TOO_DENSE: Final = (
    f"this AdmissionReview would take more memory than the {bounds.REVIEWER // bounds.MIB} MiB that"
    " dinp has for one: make the Pod's lists shorter"
)


class Answer(Enum):
    """How a review ended."""

    REVIEWED = b"200"
    NO_REVIEW = b"400"  # a ReviewError
    TOO_MUCH = b"413"  # it would take more memory than there is, or so would its answer
    NO_MEMORY = b"507"  # it has taken all there is; this process is not to be trusted any more
    FAILED = b"500"  # a bug of ours; in the place of a sentence its traceback


def main() -> None:
    """Review until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches the server, which then closes
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (bounds.REVIEWER, bounds.REVIEWER))
    # Nothing of one review is part of a cycle, and looking for them is most of the time of a
    # review with a million of lists.
    gc.disable()
    with (
        suppress(ConnectionError),  # the server does not wait for the answer any more
        socket.socket(fileno=0) as channel,
        channel.makefile("rwb") as file,
    ):
        stream = cast("BinaryIO", file)
        config = msgspec.msgpack.decode(_part(stream), type=Config)
        while path := _part(stream):
            answer(stream, path.decode(), config)


def answer(stream: BinaryIO, path: str, config: Config) -> None:
    """Read one body, and write its answer."""
    kind, said, body = Answer.NO_MEMORY, TOO_DENSE.encode(), b""
    with suppress(MemoryError):
        kind, said, body = parts(_part(stream), path, config)
    memory.give_back(bounds.BODY)  # first, as the other side looks what this process keeps
    for part in (kind.value, said, body):
        stream.write(LENGTH.pack(len(part)))
        stream.write(part)
    stream.flush()


def parts(body: bytes, path: str, config: Config) -> tuple[Answer, bytes, bytes]:
    """The three parts that answer one body.

    Raises:
        MemoryError: it takes more than there is.
    """
    if memory_for(body) > bounds.REVIEWER:
        return Answer.TOO_MUCH, TOO_DENSE.encode(), b""
    try:
        outcome = review(body, RULES[path], config)
    except ReviewError as error:
        return Answer.NO_REVIEW, str(error).encode(), b""
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - the server says it, and this process goes on
        return Answer.FAILED, traceback.format_exc().encode(), b""
    if len(outcome.body) > bounds.UNSENT:
        return Answer.TOO_MUCH, too_long(outcome).encode(), b""
    return Answer.REVIEWED, msgspec.msgpack.encode(replace(outcome, body=b"")), outcome.body


def too_long(outcome: Outcome) -> str:
    """Why an answer is not sent."""
    return f"the answer would have {len(outcome.body)} bytes; {bounds.UNSENT} are the most"


def memory_for(body: bytes) -> int:
    """About how many bytes this process would have, of which most are what JSON becomes in Python.

    Counts what stands in strings, too, so that it is rather too much.
    """
    keys, quotes = body.count(b":"), body.count(b'"')
    values = (
        80 * body.count(b"{")
        + 112 * body.count(b"[")  # with room for four items
        + 8 * body.count(b",")
        + 120 * keys  # the first one of a dict; of those that follow, each with its text
        + 64 * max(0, quotes // 2 - keys)
    )
    return _INTERPRETER + 2 * len(body) + values


def outcome_of(said: bytes, body: bytes) -> Outcome:
    """The Outcome of Answer.REVIEWED."""
    return replace(msgspec.msgpack.decode(said, type=Outcome), body=body)


def _part(stream: BinaryIO) -> bytes:
    """One part; empty at the end."""
    head = stream.read(LENGTH.size)
    return stream.read(*LENGTH.unpack(head)) if len(head) == LENGTH.size else b""


if __name__ == "__main__":
    main()
