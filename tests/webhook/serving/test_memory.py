"""memory: what a large review leaves behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from webhook.serving import memory

# Each body is new, and none of it is held while the next is reviewed.
REVIEWS = """
import json, re
from pathlib import Path
from webhook import admission
from webhook.asking.config import Config
from webhook.asking.rules import RULES

def body(at):
    amounts = {"requests": {"cpu": "1" * 40, "memory": f"{at}." + "1" * 900_000}}
    env = [{"name": f"V{at}x{n}", "value": "x"} for n in range(20_000)]
    containers = [{"name": "a", "env": env, "resources": amounts if at % 2 else {}}]
    annotations = {"dinp.io/inject": "sidecar", "dinp.io/requests": f"cpu={at}" + "1" * 500_000 * (at % 3)}
    pod = {"metadata": {"annotations": annotations}, "spec": {"containers": containers}}
    request = {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def review(at):
    admission.review(body(at), RULES["/pods/annotated"], Config())

review(0)
before = resident()
for at in range(1, 25):
    review(at)
print(resident() - before)
"""


def test_large_reviews_leave_nothing() -> None:
    """Of two dozen bodies of a megabyte or two, less than 20 MiB stays resident, caches included."""
    command = [sys.executable, "-c", REVIEWS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    assert int(done.stdout) < 20 * 1024


def test_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be given back, nothing happens; nor after a usual review."""
    asked: list[int] = []
    monkeypatch.setattr(memory, "_trim", asked.append)
    memory.give_back(memory.LARGE - 1)
    assert [] == asked
    memory.give_back(memory.LARGE)
    assert [0] == asked
    monkeypatch.setattr(memory, "_trim", None)
    memory.give_back(memory.LARGE)
