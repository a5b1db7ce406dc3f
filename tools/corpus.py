"""Run dinp over a corpus of real Pods, through the running server, and print what came out.

    python -m tools.corpus [FOLDER]        default: ../shared/corpus

Every Pod is sent under every way to ask: by annotation, by the namespace's inject label and
by its migrate label, in each mode. Counted: what the server did, and what must never
happen (an invalid Pod, a second pass with operations, a patch that is not the plan, an
error). Then the triage's verdicts against those set by hand. Exit code 1 if any of it is wrong.
"""

from __future__ import annotations

import base64
import copy
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonpatch

from tools.pod_schema import is_valid
from tools.serving import Serving, post_review, serving
from webhook import admission
from webhook.asking import rules
from webhook.asking.config import Config
from webhook.asking.rules import INJECT, MODES
from webhook.asking.watchers import WATCHERS
from webhook.finding.found import judge
from webhook.finding.triage import Verdict

ROOT = Path(__file__).parent.parent
CORPUS = ROOT.parent / "shared" / "corpus"
# Policy tests with meaningless images: nothing to judge.
NO_VERDICT = "fixture"
LEFT_UNDER_MIGRATE = {"own", "none", "inert", "node"}
RIGHT_AT_LEAST = 0.97

# What must never be, and how it is told in a Tally's `wrong`.
_NEVER = {
    "invalid": "invalid",
    "not idempotent": "not idempotent",
    "patch differs from the plan": "differs from the plan",
    "changed under migrate, wrongly": "though",
    "HTTP error": "HTTP",
}

# The kind of object that owns the Pods of a workload, as the API server shows it.
OWNERS = {"Deployment": "ReplicaSet", "CronJob": "Job", "DeploymentConfig": "ReplicationController"}
UNOWNED = {"Pod", "PodList", "fragment", "templated"}


@dataclass(frozen=True)
class Row:
    """One Pod of the corpus."""

    name: str
    pod: dict[str, Any]
    expect: str


@dataclass
class Tally:
    """What happened in one way to ask."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def main() -> int:
    """Run, print, and say by the exit code whether all is well."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS
    rows = list(read(folder))
    with serving() as server:
        tallies = {way: tally(server, rows, way) for way in ways()}
    print_tallies(tallies)
    right = print_confusion(rows)
    wrong = [f"{way}: {what}" for way, found in tallies.items() for what in found.wrong]
    for line in wrong:
        print(f"WRONG {line}")
    return 0 if right and not wrong else 1


def ways() -> list[str]:
    """`annotation/<mode>`, `inject/<mode>`, `migrate/<mode>`."""
    return [f"{source}/{mode}" for source in ("annotation", "inject", "migrate") for mode in MODES]


def read(folder: Path) -> Iterator[Row]:
    """The Pods as the webhook would see them, owners included."""
    with (folder / "index.tsv").open(encoding="utf-8") as index:
        for line in csv.DictReader(index, delimiter="\t"):
            text = (folder / "pods" / f"{line['id']}.pod.json").read_text(encoding="utf-8")
            pod = json.loads(text)
            kind = line["kind"].rpartition(">")[2]
            if kind not in UNOWNED:
                owner = {
                    "apiVersion": "v1",
                    "kind": OWNERS.get(kind, kind),
                    "name": "x",
                    "uid": "x",
                }
                pod["metadata"].setdefault("ownerReferences", [owner])
            yield Row(line["id"], pod, line["expect"])


def tally(server: Serving, rows: list[Row], way: str) -> Tally:
    """Send every row in one way."""
    found = Tally()
    for row in rows:
        source, _, mode = way.partition("/")
        pod, path = row.pod, f"/pods/{way}"
        if source == "annotation":
            pod, path = annotated(row.pod, mode), "/pods/annotated/shared"
        status, answer = post_review(server, path, pod)
        if status != 200:
            found.counts[f"HTTP {status}"] += 1
            found.wrong.append(f"{row.name}: HTTP {status}")
            continue
        response = answer["response"]
        found.counts[_outcome(response)] += 1
        found.wrong += _problems(server, row, pod, path, response)
    return found


def annotated(pod: dict[str, Any], mode: str) -> dict[str, Any]:
    """A copy of `pod` that asks for `mode`."""
    new = copy.deepcopy(pod)
    metadata = new["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), INJECT: mode}
    return new


def _outcome(response: dict[str, Any]) -> str:
    audit = response["auditAnnotations"]
    name: str = audit["outcome"]
    if name == "denied" or (name == "unchanged" and audit["reason"] != "not_requested"):
        return f"{name}: {audit['reason']}"
    if name == "mutated" and audit["reason"] not in {"injected", "migrated"}:
        return f"only dinp.io/status: {audit['reason']}"
    return name


def _problems(
    server: Serving, row: Row, pod: dict[str, Any], path: str, response: dict[str, Any]
) -> Iterator[str]:
    """What must never be."""
    patched = pod
    if "patch" in response:
        operations = json.loads(base64.b64decode(response["patch"]))
        patched = jsonpatch.apply_patch(pod, operations)
        # A Pod that is left is told why in dinp.io/status; what runs is its spec.
        is_changed = patched["spec"] != pod["spec"]
        if is_changed and path.startswith("/pods/migrate") and row.expect in LEFT_UNDER_MIGRATE:
            yield f"{row.name}: changed, though {row.expect}"
    if patched != admission.inject(pod, rules.RULES[path], Config()).pod:
        yield f"{row.name}: the patch differs from the plan"
    # Some of the corpus itself is invalid.
    if patched is not pod and not is_valid(patched) and is_valid(pod):
        yield f"{row.name}: invalid"
    _, again = post_review(server, path, patched)
    if "patch" in again["response"]:
        yield f"{row.name}: not idempotent"


def print_tallies(tallies: dict[str, Tally]) -> None:
    """A line an outcome, a column a way to ask."""
    outcomes = sorted({outcome for found in tallies.values() for outcome in found.counts})
    width = max(map(len, [*outcomes, *_NEVER]))
    print(f"{'':{width}}  " + "  ".join(f"{way:>20}" for way in tallies))
    for outcome in outcomes:
        cells = (f"{found.counts[outcome] or '-':>20}" for found in tallies.values())
        print(f"{outcome:{width}}  " + "  ".join(cells))
    for never, mark in _NEVER.items():
        cells = (f"{sum(mark in line for line in found.wrong):>20}" for found in tallies.values())
        print(f"{never:{width}}  " + "  ".join(cells))


def print_confusion(rows: list[Row]) -> bool:
    """Verdicts of the triage (columns) against those expected (lines)."""
    judged = [(row, judge(row.pod, WATCHERS).verdict.value) for row in rows]  # type: ignore[arg-type]  # a Pod is a dict
    matrix = Counter((row.expect, verdict) for row, verdict in judged)
    verdicts = sorted({verdict for _, verdict in matrix})
    print(f"\n{'expected':10}" + "".join(f"{verdict:>10}" for verdict in verdicts))
    for expect in sorted({row.expect for row in rows}):
        print(f"{expect:10}" + "".join(f"{matrix[expect, v] or '-':>10}" for v in verdicts))
    scored = [(row, verdict) for row, verdict in judged if row.expect != NO_VERDICT]
    right = sum(row.expect == verdict for row, verdict in scored)
    unsure = sum(row.expect != verdict == Verdict.UNSURE.value for row, verdict in scored)
    wrong = len(scored) - right - unsure
    share = f"{right / len(scored):.1%}"
    print(f"triage right: {right} of {len(scored)} ({share}), unsure: {unsure}, wrong: {wrong}")
    for row, verdict in scored:
        if row.expect != verdict:
            print(f"  {row.name}: expected {row.expect}, judged {verdict}")
    return right / len(scored) >= RIGHT_AT_LEAST


if __name__ == "__main__":
    sys.exit(main())
