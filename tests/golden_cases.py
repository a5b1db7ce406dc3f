"""Golden cases: `tests/golden/<case>/` holds a Pod, what it needs, and what dinp makes of it.

| file | what | |
|---|---|---|
| `pod.yaml` | the Pod as its author wrote it | |
| `case.yaml` | `about`: the sentence that the case shows; `rule`: the URL path; `config`: a config file | optional but `about` |
| `expected.yaml` | the Pod after one pass; absent where it is left or denied | written |
| `report.txt` | outcome, mode, reason, the sentence, and each warning | written |

`make unit ARGS="-k <case> --update-golden"` writes the written ones; a case is a folder, never code.

The container dinp-dind is written whole in `mode-sidecar-defaults` only. Elsewhere an expectation
says what is otherwise, in the form of `tests/folding.py`:

    - name: dinp-dind
      as in: mode-sidecar-defaults
      but for:
        image: registry.example.com/mirror/docker:28.5-dind
        resources: null           # it has none
        args:
          --host=tcp: null        # without --host=tcp://127.0.0.1:2375
          --group:                # in the place of --group=2375
          - --group=1000
          at the end:
          - --mtu=1400
        volumeMounts:
          before /var/lib/docker:
          - name: src
            mountPath: /src

All else is as dinp makes it now for `mode-sidecar-defaults`: what changes in every dinp-dind
fails that one expectation, and changes it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests import folding
from webhook import __version__, admission, names
from webhook.admission import Injection
from webhook.asking import config as configs
from webhook.asking import rules
from webhook.asking.config import Config
from webhook.planning import sidecar

ROOT = Path(__file__).parent / "golden"
REFERENCE = "mode-sidecar-defaults"
# What would change every expectation at once: the start script, of which each dinp-dind has what
# its arguments need, and each release's number.
_SCRIPT = "<scripts/dind.sh>"
_VERSION = (f'"version":"{__version__}"', '"version":"<version>"')


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path
    pod: dict[str, Any]
    about: str
    rule: rules.Rule
    config: Config

    @property
    def expected(self) -> dict[str, Any] | None:
        """The expected Pod, or None where it stays as it is."""
        file = self.folder / "expected.yaml"
        if not file.exists():
            return None
        text = file.read_text(encoding="utf-8")
        return _without_marks(_with_dinds(_loaded(text), _unfolded))

    @property
    def report(self) -> str:
        file = self.folder / "report.txt"
        name = self.folder.name
        assert file.exists(), (
            f"golden/{name} has no report.txt: write it, and expected.yaml, by "
            f'make unit ARGS="-k {name} --update-golden", and read both against {self.about!r}'
        )
        return file.read_text(encoding="utf-8")

    def update(self, result: Injection) -> None:
        """Write down what `result` is."""
        (self.folder / "report.txt").write_text(report(result), encoding="utf-8")
        file = self.folder / "expected.yaml"
        if result.outcome == "mutated":
            pod = _mapped(result.pod, _to_marks)
            if self.folder.name != REFERENCE:
                pod = _with_dinds(pod, _folded)
            text = yaml.safe_dump(pod, sort_keys=False, allow_unicode=True, width=120)
            file.write_text(text, encoding="utf-8")
        else:
            file.unlink(missing_ok=True)


def _loaded(text: str) -> Any:
    """What a YAML text says; by libyaml, which every wheel of PyYAML has, it takes a fifth."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


def load(folder: Path) -> Case:
    about = _loaded((folder / "case.yaml").read_text(encoding="utf-8"))
    pod = _without_marks(_loaded((folder / "pod.yaml").read_text(encoding="utf-8")))
    return Case(
        folder=folder,
        pod=pod,
        about=about["about"],
        rule=rules.RULES[about.get("rule", "/pods/annotated")],
        config=configs.parse(yaml.safe_dump(about.get("config", {})).encode()),
    )


@cache
def all_cases() -> list[Case]:
    return [load(folder) for folder in sorted(ROOT.iterdir()) if folder.is_dir()]


def report(result: Injection) -> str:
    """What people and machines are told, one fact a line."""
    lines = [
        f"outcome: {result.outcome}",
        f"mode: {result.mode or '-'}",
        f"reason: {result.finding.reason.value}",
        f"says: {result.finding}",
        *(f"warning: {warning}" for warning in result.warnings),
    ]
    return "\n".join(lines) + "\n"


def _dinds(pod: Any) -> list[Any]:
    containers = pod["spec"].get("initContainers") or []
    return [container for container in containers if container["name"] == names.DIND]


def _with_dinds(pod: Any, change: Callable[[Any], Any]) -> Any:
    """The same Pod with `change` made to its dinp-dind, if it has one."""
    dinds = _dinds(pod)
    if not dinds:
        return pod
    containers = [
        change(container) if container in dinds else container
        for container in pod["spec"]["initContainers"]
    ]
    return {**pod, "spec": {**pod["spec"], "initContainers": containers}}


def _folded(dind: Any) -> dict[str, Any]:
    but_for = folding.fold(_reference(REFERENCE), dind)
    mark = {"name": names.DIND, "as in": REFERENCE}
    return {**mark, "but for": but_for} if but_for else mark


def _unfolded(dind: Any) -> Any:
    if "as in" not in dind:
        return dind
    return folding.unfold(_reference(dind["as in"]), dind.get("but for", {}))


@cache
def _reference(name: str) -> dict[str, Any]:
    """The dinp-dind that dinp makes now for the case `name`, with marks."""
    case = load(ROOT / name)
    result = admission.inject(case.pod, case.rule, case.config)
    dind: dict[str, Any] = _mapped(_dinds(result.pod)[0], _to_marks)
    return dind


def _to_marks(text: str) -> str:
    scripts = (sidecar.SCRIPT, sidecar.SCRIPT_WITH_TLS)
    return _SCRIPT if text in scripts else text.replace(*_VERSION)


def _without_marks(document: Any) -> dict[str, Any]:
    pod = _mapped(document, lambda text: text.replace(_VERSION[1], _VERSION[0]))
    changed: dict[str, Any] = _with_dinds(pod, _with_script)
    return changed


def _with_script(dind: Any) -> Any:
    if _SCRIPT not in dind.get("command", ()):
        return dind
    script = sidecar.script(dind.get("args", ()))
    command = [script if word == _SCRIPT else word for word in dind["command"]]
    return {**dind, "command": command}


def _mapped(node: Any, change: Callable[[str], str]) -> Any:
    """The same document with every string changed."""
    if isinstance(node, dict):
        return {key: _mapped(value, change) for key, value in node.items()}
    if isinstance(node, list):
        return [_mapped(item, change) for item in node]
    return change(node) if isinstance(node, str) else node
