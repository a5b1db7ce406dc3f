"""Send the Pods of manifests/examples to a real `dinp serve`, and show what becomes of them.

Exit code 1 if an answer is not what the example is there for.
"""

from __future__ import annotations

import base64
import difflib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonpatch
import yaml

from tools.serving import post_review, serving
from webhook import names, rules

EXAMPLES: Final = Path(__file__).parent.parent / "manifests" / "examples"
# What each file is there to show: the mode that its Pod gets, or the refusal's reason.
EXPECTED: Final = {
    "jenkins-pod-template.yaml": "sidecar",
    "job-sidecar.yaml": "sidecar",
    "daemonset.yaml": "daemonset",
    "service.yaml": "service",
    "refused.yaml": "hostNetwork",
}
_COLOURS: Final = {"+": "32", "-": "31", "@": "36", "!": "33", "=": "1"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the webhook said, and the Pod that follows from it."""

    allowed: bool
    message: str
    warnings: tuple[str, ...]
    operations: int
    pod: dict[str, Any]


def main() -> int:
    """Run the examples one after the other."""
    namespaces = {
        document["metadata"]["name"]: document["metadata"]["labels"]
        for document in yaml.safe_load_all((EXAMPLES / "namespace.yaml").read_text("utf-8"))
    }
    wrong = []
    with serving() as server:
        for file, expected in EXPECTED.items():
            namespace, pod = _read(EXAMPLES / file)
            rule = rules.for_namespace(namespace, namespaces[namespace])
            assert rule is not None  # noqa: S101 - no example is in an excluded namespace
            path = rules.path(rule)
            _say("=", f"{file}: Pod in namespace {namespace}, sent to {path}")
            answer = _answer(pod, post_review(server, path, pod, namespace=namespace))
            _show(pod, answer)
            if not _is(expected, answer):
                wrong.append(file)
    print(f"not as expected: {', '.join(wrong)}" if wrong else "every answer is as expected")
    return 1 if wrong else 0


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """The namespace of the object in `file`, and its Pod (of a Job: the one it would create)."""
    document = yaml.safe_load(file.read_text("utf-8"))
    namespace = document["metadata"]["namespace"]
    if document["kind"] == "Pod":
        return namespace, document
    template = document["spec"]["template"]
    name = {"name": f"{document['metadata']['name']}-x7k2p", "namespace": namespace}
    return namespace, {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**name, **template["metadata"]},
        "spec": template["spec"],
    }


def _answer(pod: dict[str, Any], response: dict[str, Any]) -> Answer:
    patch = json.loads(base64.b64decode(response.get("patch", "W10=")))
    return Answer(
        allowed=response["allowed"],
        message=response.get("status", {}).get("message", ""),
        warnings=tuple(response.get("warnings", ())),
        operations=len(patch),
        pod=jsonpatch.apply_patch(pod, patch),
    )


def _is(expected: str, answer: Answer) -> bool:
    if not answer.allowed:
        return expected in answer.message
    return bool(answer.pod["metadata"].get("labels", {}).get(names.MODE_LABEL) == expected)


def _show(pod: dict[str, Any], answer: Answer) -> None:
    if answer.allowed:
        print(f"admitted, {answer.operations} operations")
    else:
        _say("-", f"denied: {answer.message}")
    for warning in answer.warnings:
        _say("!", f"warning: {warning}")
    before, after = list(_lines(pod)), list(_lines(answer.pod))
    for line in difflib.unified_diff(before, after, "as sent", "as admitted", lineterm=""):
        _say(line[:1], line)
    print()


def _lines(pod: dict[str, Any]) -> Iterator[str]:
    """The Pod as YAML; a long script is its first line and a count."""
    yield from yaml.dump(pod, Dumper=_Dumper, sort_keys=False, width=1000).splitlines()


class _Dumper(yaml.SafeDumper):
    """Block style for short scripts."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    lines = text.splitlines()
    if len(lines) > 12:
        text = f"{lines[0]} … {len(lines) - 1} more lines"
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _say(kind: str, line: str) -> None:
    colour = _COLOURS.get(kind) if _coloured() else None
    print(f"\033[{colour}m{line}\033[0m" if colour else line)


def _coloured() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()


if __name__ == "__main__":
    sys.exit(main())
