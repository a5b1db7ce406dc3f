"""The fuzzer: a short run finds nothing, and it would find what it is there to find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fuzz import verdict
from fuzz.bodies import Bodies
from fuzz.verdict import Case, judge
from tests.webhook import small_pods as build
from tools import fuzz
from tools.serving import admission_review
from webhook import admission
from webhook.admission import Outcome
from webhook.asking.config import Config
from webhook.asking.rules import Rule

N = 100  # of each kind of body some; what takes the time is to start eight processes


def case_of(pod: Any) -> Case:
    return Case(json.dumps(admission_review(pod)).encode(), "/pods/annotated", Config())


ASKING = case_of(build.asking())


def test_short_run(tmp_path: Path) -> None:
    """`make fuzz N=600` judges as many bodies, of which some are mutated, and finds nothing."""
    command = [sys.executable, "-m", "tools.fuzz", str(N), "--folder", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=fuzz.ROOT)  # noqa: S603 - our own program
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"\n{N:,} bodies in " in result.stdout
    assert "outcomes outside 200 and 400: 0" in result.stdout
    assert [] == list(tmp_path.glob("*.case"))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000, 1_000_000])
@pytest.mark.parametrize("guided", [False, True])
def test_shares_add_up(count: int, guided: bool) -> None:
    """No body is lost between the engines, and no two jobs of an engine have one seed."""
    jobs = fuzz.share(count, 3, guided=guided)
    assert count == sum(job.count for job in jobs)
    assert len(jobs) == len({(job.engine, job.seed) for job in jobs})


def test_bodies() -> None:
    """A seed gives the same bodies again, of every outcome, and leaves the originals alone."""
    first, second = Bodies(5), Bodies(5)
    before = [first.encoded(review) for review in first.reviews]
    cases = [first.case() for _ in range(300)]
    assert cases == [second.case() for _ in range(300)]
    assert before == [first.encoded(review) for review in first.reviews]
    outcomes = {judge(case, twice=False)[0] for case in cases}
    assert {"400", "denied", "mutated", "unchanged"} <= outcomes


def test_judges_as_the_server_answers() -> None:
    """A Pod that asks is mutated, and rubbish is a 400: neither is a problem."""
    assert ("mutated", None) == judge(ASKING, twice=True)
    assert ("400", None) == judge(Case(b"{", "/pods/annotated", Config()), twice=True)


def test_crash_is_found_made_small_and_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception of any other kind leaves a file with the smallest body, which shows it again."""
    real = admission.review

    def review(body: bytes, rule: Rule, config: Config) -> Outcome:
        if b"golang" in body:
            raise KeyError(rule)
        return real(body, rule, config)

    monkeypatch.setattr(admission, "review", review)
    outcome, problem = judge(ASKING, twice=False)
    assert outcome == "500"
    assert problem is not None
    file = verdict.write(tmp_path, ASKING, problem)
    assert b"golang" == verdict.from_file(file.read_bytes()).body
    assert 1 == fuzz.replay(file)
    assert "KeyError" in capsys.readouterr().out


def test_endless_review_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that takes too much of the processor is a problem, not a run that hangs."""

    def review(*_: object) -> Outcome:
        while True:  # and nothing else: what counts is time of its own, not of the kernel
            pass

    monkeypatch.setattr(admission, "review", review)
    monkeypatch.setattr(verdict, "CPU_SECONDS", 0.05)
    assert "slow" == judge(ASKING, twice=False)[0]


def test_second_pass_that_changes_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch after which a second review has operations again is a problem."""

    def mutate(pod: Any, _plan: object) -> Any:
        labels = pod["metadata"].get("labels", {})
        return {**pod, "metadata": {**pod["metadata"], "labels": {**labels, f"n{len(labels)}": ""}}}

    monkeypatch.setattr("webhook.admission.mutate", mutate)
    problem = judge(ASKING, twice=True)[1]
    assert problem is not None
    assert problem.kind == "second pass is mutated"


def test_dead_process_is_a_problem(tmp_path: Path) -> None:
    """A worker that ends before its time fails the run."""
    job = fuzz.Job("no such engine", 1, 0)
    fuzz.run(job, tmp_path)
    assert "ended with 1 before its time" in job.problems[0]
    assert 1 == fuzz.print_report([job], 1.0, tmp_path)
