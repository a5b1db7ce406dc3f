"""Part 3: bodies that stall, that unfold to much more than their bytes, that nest, that are too large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from tests.webhook import large_pods
from tools.attack import connections
from tools.attack import target as targets
from tools.attack.table import Figure, Row, Run, none_of
from tools.attack.target import Answer, Target, ask, attacked, target
from tools.serving import admission_review

_STALLED: Final = 20
_REFUSED: Final = (400, 413, 503)
_STALL_REFUSED: Final = (*_REFUSED, 408)
_FILL: Final = "@fill@"


@dataclass(frozen=True, slots=True)
class Dense:
    """A body that is full of `item`, at the place that `path` names in the AdmissionReview."""

    name: str
    path: tuple[str | int, ...]
    item: str  # JSON and a comma; # is the item's number
    around: str = "[]"

    def body(self, size: int) -> bytes:
        """Of exactly `size` bytes."""
        whole = json.dumps(_with(self.path, _FILL), separators=(",", ":"))
        head, tail = whole.encode().split(f'"{_FILL}"'.encode())
        head, tail = head + self.around[0].encode(), self.around[1].encode() + tail
        item = self.item.replace("#", "0" * _DIGITS).encode()
        number = (size - len(head) - len(tail)) // len(item)
        if "#" in self.item:
            items = "".join(self.item.replace("#", f"{at:0{_DIGITS}}") for at in range(number))
        else:
            items = self.item * number
        return (head + items.rstrip(",").encode() + tail).ljust(size)


_DIGITS: Final = 6
_POD: Final = ("request", "object")
_FIRST: Final = (*_POD, "spec", "containers", 0)
# What takes most memory for its bytes: empty and tiny mappings and lists, keys that all differ, and
# text that takes four bytes a character; at places that dinp reads and at places that it does not.
DENSE: Final = (
    Dense("env", (*_FIRST, "env"), '{"name":"a"},'),
    Dense("env, empty", (*_FIRST, "env"), "{},"),
    Dense("tolerations", (*_POD, "spec", "tolerations"), '{"":{}},'),
    Dense("volumes", (*_POD, "spec", "volumes"), '{"name":""},'),
    Dense("volumes, with a source", (*_POD, "spec", "volumes"), '{"name":"","secret":{}},'),
    Dense("mounts", (*_FIRST, "volumeMounts"), '{"name":"","mountPath":""},'),
    Dense("containers", (*_POD, "spec", "containers"), '{"name":""},'),
    Dense("lists for labels", (*_POD, "metadata", "labels"), "[],"),
    Dense("lists for a securityContext", (*_FIRST, "securityContext"), "[[]],"),
    Dense("labels", (*_POD, "metadata", "labels"), '"#":"",', "{}"),
    Dense("mappings in limits", (*_FIRST, "resources", "limits"), '"#":{},', "{}"),
    Dense("args", (*_FIRST, "args"), '"",'),
    Dense("numbers", (*_POD, "spec", "securityContext", "supplementalGroups"), "300,"),
    Dense("managedFields", (*_POD, "metadata", "managedFields"), '{"":{}},'),
    Dense("oldObject", ("request", "oldObject"), '{"":{}},'),
    Dense("a field that nobody knows", ("request", "x"), '{"":{}},'),
    Dense(
        "wide text", (*_FIRST, "env"), '{"name":"a","value":"\U0001f600aaaaaaaaaaaaaaaaaaaaaaaa"},'
    ),
)
_QUICK: Final = (
    "env",
    "tolerations",
    "volumes",
    "lists for labels",
    "mappings in limits",
    "numbers",
)
_DENSEST: Final = DENSE[2]
_HALVINGS: Final = 4


def _with(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The AdmissionReview of a Pod that asks, with `value` at `path`."""
    review: dict[str, Any] = admission_review(targets.asking(large_pods.base()))
    node: Any = review
    for step in path[:-1]:
        node = node[step] if isinstance(step, int) else node.setdefault(step, {})
    node[path[-1]] = value
    return review


# ---- dense ---------------------------------------------------------------------------------


def _look_at_dense(run: Run) -> Iterator[Figure]:
    for dense in DENSE:
        if run.quick and dense.name not in _QUICK:
            continue
        with target(run) as server:
            answers = _sent(server, dense)
            bad = [
                f"{size:,} bytes: {one.shown}" for size, one in answers.items() if not _is_well(one)
            ]
            codes = ", ".join(f"{one.status} of {size:,} bytes" for size, one in answers.items())
            holds = "200, or 400, 413, 503 with a sentence"
            yield none_of(f"{dense.name} ({codes})", bad, len(answers), holds)
            yield from _only_misses(server.kept(), dense.name)


def _sent(server: Target, dense: Dense) -> dict[int, Answer]:
    """As many bytes as an API server sends, and as dinp takes; where that is refused, less and less."""
    answers: dict[int, Answer] = {}
    for size in sorted({large_pods.LARGEST, server.largest_body()}):
        answers[size] = server.send(dense.body(size))
    size = min(answers)
    for _ in range(_HALVINGS):
        if any(one.status in (0, 200) for one in answers.values()):
            break
        size //= 2
        answers[size] = server.send(dense.body(size))
    return answers


def _only_misses(figures: Iterator[Figure], of: str) -> Iterator[Figure]:
    for figure in figures:
        if not figure.is_well:
            yield Figure(f"{of}: {figure.what}", figure.seen, figure.bound, is_well=False)


def _look_at_dense_at_once(server: Target, _run: Run) -> Iterator[Figure]:
    body = _DENSEST.body(server.largest_body())
    with ThreadPoolExecutor(_STALLED) as pool:
        sending = [pool.submit(server.send, body) for _ in range(_STALLED)]
        yield from connections.answered(server, times=3)
        answers = [each.result() for each in sending]
        yield _refused("the same large body at once", answers)


def _is_well(answer: Answer) -> bool:
    return answer.status == 200 or (answer.status in _REFUSED and answer.is_sentence)


def _refused(what: str, answers: list[Answer], codes: tuple[int, ...] = _REFUSED) -> Figure:
    bad = [
        one.shown
        for one in answers
        if one.status != 200 and not (one.status in codes and one.is_sentence)
    ]
    counts = dict.fromkeys(sorted({one.status for one in answers}), 0)
    for one in answers:
        counts[one.status] += 1
    told = ", ".join(f"{count} x {status or 'no answer'}" for status, count in counts.items())
    holds = f"200, or {', '.join(map(str, codes))} with a sentence"
    return none_of(f"{what} ({told})", bad, len(answers), holds)


# ---- stalled -------------------------------------------------------------------------------


def _look_at_stalled(server: Target, _run: Run) -> Iterator[Figure]:
    yield from _stall(server, DENSE[0].body(server.largest_body()))


def _stall(server: Target, body: bytes) -> Iterator[Figure]:
    """Each sends all but the last byte."""
    with ThreadPoolExecutor(_STALLED) as pool:
        stalled = [pool.submit(server.send, body[:-1], length=len(body)) for _ in range(_STALLED)]
        yield from connections.answered(server, times=3)
        answers = [each.result() for each in stalled]
    yield _refused(f"stalled bodies of {len(body):,} bytes", answers, _STALL_REFUSED)


def _look_at_all(server: Target, _run: Run) -> Iterator[Figure]:
    """Connections, stalled bodies and the largest review together (design, section 7)."""
    size = server.largest_body()
    with (
        connections.held(connections.handshaken, server) as opened,
        ThreadPoolExecutor(1) as pool,
    ):
        yield Figure("opened", f"{len(opened)} of {connections.HELD}", "any number", is_well=True)
        largest = pool.submit(server.send, _DENSEST.body(size))
        yield from _stall(server, DENSE[0].body(size))
        yield _refused("the largest review meanwhile", [largest.result()])


# ---- nested, too large ---------------------------------------------------------------------


def _look_at_nesting(server: Target, _run: Run) -> Iterator[Figure]:
    inside = (*_POD, "metadata", "annotations")
    answers = {}
    for depth in (500, 5_000, server.largest_body() // 10):
        for kind, opening, closing_ in (("lists", "[", "]"), ("mappings", '{"":', "}")):
            nested = opening * depth + "1" + closing_ * depth
            name = f"{kind}, {depth:,} deep"
            answers[f"{name}, nothing else"] = server.send(nested.encode())
            body = json.dumps(_with(inside, _FILL)).replace(f'"{_FILL}"', nested)
            answers[f"{name}, for annotations"] = server.send(body.encode())
    bad = [f"{name}: {one.shown}" for name, one in answers.items() if not _is_well(one)]
    yield none_of(
        "nested lists and mappings", bad, len(answers), "200, or 400, 413 with a sentence"
    )
    yield from connections.answered(server, times=1)


def _look_at_too_large(server: Target, _run: Run) -> Iterator[Figure]:
    most = server.largest_body()
    declared = server.send(b" " * (most + 1))
    with closing(server.connection()) as connection:
        parts = iter([b" " * 65536] * (most // 65536 + 2))
        chunked = ask(connection, "POST", targets.ANNOTATED, parts)
    for what, answer in (("declared", declared), ("in chunks", chunked)):
        is_well = answer.status == 413 and answer.is_sentence
        name = f"a body of more than {most:,} bytes, {what}"
        yield Figure(name, answer.shown, "413 with a sentence", is_well)


_WITHIN: Final = "within the memory limit; 413 or 503 with a sentence"

ROWS: Final = (
    Row(
        "stalled bodies",
        f"{_STALLED} bodies of the largest size that is taken, without their last byte",
        _WITHIN,
        attacked(_look_at_stalled),
    ),
    Row(
        "dense bodies",
        f"{len(DENSE)} kinds of small items, as many as are taken",
        _WITHIN,
        _look_at_dense,
    ),
    Row(
        "dense at once",
        f"{_STALLED} of them at once",
        _WITHIN,
        attacked(_look_at_dense_at_once),
        is_quick=False,
    ),
    Row(
        "all together",
        "idle connections, stalled bodies and a dense one",
        _WITHIN,
        attacked(_look_at_all),
    ),
    Row(
        "nesting",
        "lists and mappings in each other",
        "400 with a sentence",
        attacked(_look_at_nesting),
    ),
    Row("too large", "more than is accepted", "413 with a sentence", attacked(_look_at_too_large)),
)
