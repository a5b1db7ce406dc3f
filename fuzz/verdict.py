"""What must hold of every answer of `admission.review`, and the smallest body that breaks it.

| outcome | |
|---|---|
| Outcome (200) | its body decodes and says what the Outcome says; its patch applies to a Pod that a second review leaves alone |
| ReviewError (400) | fine |
| anything else, or more than `CPU_SECONDS` | a Problem |
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import jsonpatch
import msgspec

from tools.serving import admission_review
from webhook import admission
from webhook.admission import AdmissionReview, Outcome, ReviewError
from webhook.asking import config, rules
from webhook.asking.config import Config

CPU_SECONDS = 2.0
_MINIMISE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Case:
    """One request: the body, and where and how it is served."""

    body: bytes
    rule: str  # a URL path
    config: Config


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong; `kind` is the same for problems that are likely one fault."""

    kind: str
    detail: str


class _TooSlowError(BaseException):
    """A review used up its time: a BaseException, so that nothing on the way swallows it."""


def judge(case: Case, *, twice: bool) -> tuple[str, Problem | None]:
    """Review `case`: the name of the outcome, and what is wrong with it.

    `twice` applies the patch with jsonpatch and reviews the result, which is slow.
    """
    try:
        with _limited():
            outcome = _review(case)
    except ReviewError:
        return "400", None
    except _TooSlowError as error:
        return "slow", Problem(f"slow {_place(error)}", traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - whatever it is, it would be a 500
        return "500", Problem(f"{type(error).__name__} {_place(error)}", traceback.format_exc())
    problem = _check(case, outcome)
    if problem is None and twice and outcome.outcome == "mutated":
        problem = _check_second_pass(case, outcome)
    return outcome.outcome, problem


def _review(case: Case) -> Outcome:
    return admission.review(case.body, rules.RULES[case.rule], case.config)


@contextmanager
def _limited() -> Iterator[None]:
    """End the body after `CPU_SECONDS` of this process's own time."""
    signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _TooSlowError


def _place(error: BaseException) -> str:
    """The innermost line of webhook/ that `error` came through; only the file if it recurses."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/webhook/" in f.filename]
    if not frames:
        return "outside webhook/"
    frame = frames[-1]
    name = Path(frame.filename).name
    return name if len(frames) > 100 else f"{name}:{frame.lineno}"


def _check(case: Case, outcome: Outcome) -> Problem | None:
    """Whether the body says what the Outcome says."""
    try:
        review = json.loads(outcome.body)
        response = review["response"]
        operations = _operations(response)
    except (ValueError, KeyError, TypeError) as error:
        return Problem("answer does not decode", f"{error!r}: {outcome.body[:2000]!r}")
    wrong = {
        "uid": response["uid"] != outcome.uid,
        "allowed": response["allowed"] != (outcome.outcome != "denied"),
        "operations": len(operations) != outcome.operations,
        "patchType": ("patchType" in response) != bool(operations),
        "outcome": bool(operations) != (outcome.outcome == "mutated"),
        "status": ("status" in response) != (outcome.outcome == "denied"),
        "warnings": not all(map(_is_header, response.get("warnings", ()))),
        "size": len(outcome.body) > 20 * len(case.body) + 100_000,
    }
    found = [name for name, is_wrong in wrong.items() if is_wrong]
    detail = f"{outcome}\n{outcome.body[:2000]!r}"
    return Problem(f"answer contradicts itself: {', '.join(found)}", detail) if found else None


def _operations(response: dict[str, Any]) -> list[dict[str, Any]]:
    patch = response.get("patch")
    if patch is None:
        return []
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(patch, validate=True))
    return operations


def _is_header(warning: object) -> bool:
    """Whether the API server hands the warning on, whole."""
    return isinstance(warning, str) and len(warning.encode()) <= 256 and warning.isprintable()


def _check_second_pass(case: Case, outcome: Outcome) -> Problem | None:
    """Whether the API server's reinvocation finds everything in place."""
    # Not as plain JSON: what no field is for is skipped, whatever it holds.
    try:
        pod = msgspec.json.decode(case.body, type=AdmissionReview[dict[str, Any]]).request.object
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # in a field of the Pod that no review decodes, either
    operations = _operations(json.loads(outcome.body)["response"])
    try:
        # In place, without a copy of the whole: the decoded Pod is ours.
        review = admission_review(jsonpatch.apply_patch(pod, operations, in_place=True))
        review["request"] |= {"name": "", "namespace": ""}  # the Pod's may be null
        again = replace(case, body=json.dumps(review).encode())
    except RecursionError:  # of jsonpatch and json, which come less deep than msgspec
        return None
    except jsonpatch.JsonPatchException as error:
        return Problem("patch does not apply", f"{error!r}: {operations}")
    name, problem = judge(again, twice=False)
    if problem is not None:
        return Problem(f"second pass: {problem.kind}", problem.detail)
    if name != "unchanged":
        second = b"" if name == "400" else _review(again).body
        return Problem(f"second pass is {name}", f"{operations}\n{second[:4000]!r}")
    return None


# ---- reproducers ---------------------------------------------------------------------------


def as_file(case: Case, problem: str = "") -> bytes:
    """A line of JSON that says all but the body, then the body."""
    head = {"rule": case.rule, "config": case.config, "problem": problem}
    return msgspec.json.encode(head) + b"\n" + case.body


def from_file(file: bytes) -> Case:
    line, body = file.split(b"\n", 1)
    head = json.loads(line)
    return Case(body, head["rule"], config.parse(json.dumps(head["config"]).encode()))


def write(folder: Path, case: Case, problem: Problem) -> Path:
    """Write the smallest case with the same kind of problem."""
    small = minimise(case, problem.kind)
    word = re.sub(r"\W+", "-", problem.kind)[:40]
    file = folder / f"{word}-{hashlib.sha256(problem.kind.encode()).hexdigest()[:8]}.case"
    file.write_bytes(as_file(small, problem.kind))
    return file


def minimise(case: Case, kind: str, seconds: float = _MINIMISE_SECONDS) -> Case:
    """A smaller case with the same kind of problem, as far as the time goes."""
    deadline = time.monotonic() + seconds
    default = replace(case, config=Config())
    found = default if _shows(default, kind) else case
    smaller = True
    while smaller and time.monotonic() < deadline:
        smaller = False
        for body in _shorter(found.body):
            candidate = replace(found, body=body)
            if time.monotonic() > deadline:
                break
            if len(body) < len(found.body) and _shows(candidate, kind):
                found, smaller = candidate, True
                break
    return found


def _shows(case: Case, kind: str) -> bool:
    problem = judge(case, twice=True)[1]
    return problem is not None and problem.kind == kind


def _shorter(body: bytes) -> Iterator[bytes]:
    """Bodies with less in them, the largest steps first."""
    try:
        document = json.loads(body)
        yield from (json.dumps(less).encode() for less in _less(document))
    except (ValueError, RecursionError):
        pass
    size = len(body) // 2
    while size:
        for start in range(0, len(body), size):
            yield body[:start] + body[start + size :]
        size //= 2


def _less(node: Any) -> Iterator[Any]:
    """The document without one of its nodes, or with a shorter text; outer ones first."""
    if isinstance(node, dict):
        for key in node:
            yield {name: value for name, value in node.items() if name != key}
        for key, value in node.items():
            yield from ({**node, key: less} for less in _less(value))
    elif isinstance(node, list):
        for at in range(len(node)):
            yield node[:at] + node[at + 1 :]
        for at, value in enumerate(node):
            yield from ([*node[:at], less, *node[at + 1 :]] for less in _less(value))
    elif isinstance(node, str) and len(node) > 1:
        yield node[: len(node) // 2]
        yield node[len(node) // 2 :]
