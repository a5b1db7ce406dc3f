"""Send the Pods of manifests/examples to a real `dinp serve`, and show what becomes of them.

Exit code 1 if an answer is not what the example is there for.
"""

from __future__ import annotations

import base64
import difflib
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

import jsonpatch
import yaml

from tools.serving import post_review, serving
from webhook import names
from webhook.asking import rules
from webhook.offline import folding

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


def main() -> int:
    """Run the examples one after the other."""
    namespaces = {
        document["metadata"]["name"]: document["metadata"]["labels"]
        for document in yaml.safe_load_all((EXAMPLES / "namespace.yaml").read_text("utf-8"))
    }
    wrong = []
    with serving() as server:
        for file, expected in EXPECTED.items():
            pod = _read(EXAMPLES / file)
            namespace = pod["metadata"]["namespace"]
            rule = rules.for_namespace(namespace, namespaces[namespace])
            path = rules.path(rule) if rule else ""
            _say("=", f"{file}: a Pod of namespace {namespace}, sent to {path}")
            status, review = post_review(server, path, pod)
            if status != 200:
                sys.exit(f"HTTP {status}: {review['message']}")
            if not _shown(pod, review["response"], expected):
                wrong.append(file)
    print(f"not as expected: {', '.join(wrong)}" if wrong else "every answer is as expected")
    return 1 if wrong else 0


def _read(file: Path) -> dict[str, Any]:
    """The Pod in `file`, or the one that the Job in it would create."""
    document: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    if document["kind"] == "Pod":
        return document
    template, metadata = document["spec"]["template"], document["metadata"]
    own = {"name": f"{metadata['name']}-x7k2p", "namespace": metadata["namespace"]}
    metadata = {**own, **template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _shown(pod: dict[str, Any], response: dict[str, Any], expected: str) -> bool:
    """Print the answer and the difference it makes; whether it is the expected one."""
    for warning in response.get("warnings", ()):
        _say("!", f"warning: {warning}")
    if not response["allowed"]:
        message = response["status"]["message"]
        _say("-", f"denied ({response['status']['code']}): {message}\n")
        return expected in message
    patch = json.loads(base64.b64decode(response.get("patch", "W10=")))  # W10= is []
    admitted = jsonpatch.apply_patch(pod, patch)
    print(f"admitted with {len(patch)} operations")
    lines = difflib.unified_diff(_lines(pod), _lines(admitted), "sent", "admitted", lineterm="")
    for line in folding.folded(lines):
        _say(line[0], line)
    print()
    return bool(admitted["metadata"].get("labels", {}).get(names.MODE_LABEL) == expected)


def _lines(pod: dict[str, Any]) -> list[str]:
    return yaml.dump(pod, Dumper=_Dumper, sort_keys=False, width=1000).splitlines()


class _Dumper(yaml.SafeDumper):
    """A text of several lines stands on several lines."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
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
