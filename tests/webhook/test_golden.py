"""Every golden case: the expected Pod, and what must hold for any Pod."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jsonpatch
import msgspec
import pytest

from tests import golden_cases
from tests.differences import assert_same
from tests.golden_cases import Case
from tools import pod_schema
from tools.serving import admission_review
from webhook import admission

CASES = golden_cases.all_cases()


@pytest.fixture(params=CASES, ids=lambda case: case.folder.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def test_expected_pod_and_report(case: Case, request: pytest.FixtureRequest) -> None:
    """The Pod and the report are what the folder says."""
    result = admission.inject(case.pod, case.rule, case.config)
    if request.config.getoption("--update-golden"):
        case.update(result)
    expected = {"report": case.report.splitlines(), "pod": case.expected or case.pod}
    report = golden_cases.report(result).splitlines()
    assert_same(expected, {"report": report, "pod": result.pod})


def test_no_stale_expectation(case: Case) -> None:
    """A folder holds its four files and nothing that no test reads."""
    files = {file.name for file in case.folder.iterdir()}
    written = {"expected.yaml"} if "outcome: mutated" in case.report else set()
    assert {"pod.yaml", "case.yaml", "report.txt"} | written == files
    assert case.about


def test_a_new_case_says_how_to_write_the_rest(tmp_path: Path) -> None:
    """Who adds a folder with the two files that people write is told the command for the others."""
    folder = tmp_path / "pod-new"
    folder.mkdir()
    for file in ("pod.yaml", "case.yaml"):
        old = golden_cases.ROOT / golden_cases.REFERENCE / file
        (folder / file).write_text(old.read_text(encoding="utf-8"), encoding="utf-8")
    new = golden_cases.load(folder)
    with pytest.raises(AssertionError, match='make unit ARGS="-k pod-new --update-golden"'):
        assert new.report
    new.update(admission.inject(new.pod, new.rule, new.config))
    assert new.report.startswith("outcome: mutated")


def test_one_expectation_has_the_whole_dinp_dind() -> None:
    """All others say what is otherwise, also where the Pod had a dinp-dind before."""
    whole = {name for name, text in _texts("expected.yaml") if "name: dinp-dind\n    image" in text}
    assert {golden_cases.REFERENCE} == whole


def _texts(file: str) -> list[tuple[str, str]]:
    paths = golden_cases.ROOT.glob(f"*/{file}")
    return [(path.parent.name, path.read_text(encoding="utf-8")) for path in paths]


def test_operations_are_rfc_6902(case: Case) -> None:
    """An independent implementation of RFC 6902 comes to the same Pod."""
    result = admission.inject(case.pod, case.rule, case.config)
    assert_same(result.pod, jsonpatch.apply_patch(case.pod, result.operations))


def test_review_comes_to_the_same_pod(case: Case) -> None:
    """A review decodes a part of the Pod only: its patch is still that of the whole Pod.

    Every object of the Pod has a field that dinp does not know, as of a Kubernetes to come.
    """
    pod = _strewn(case.pod)
    whole = admission.inject(pod, case.rule, case.config)
    outcome = admission.review(msgspec.json.encode(admission_review(pod)), case.rule, case.config)
    response = msgspec.json.decode(outcome.body)["response"]
    operations = msgspec.json.decode(base64.b64decode(response.get("patch", "")) or b"[]")
    assert_same(whole.pod, jsonpatch.apply_patch(pod, operations))
    assert whole.outcome == outcome.outcome


def _strewn(value: Any, path: str = "") -> Any:
    """With a field more in every object, but for maps, whose keys are data."""
    if isinstance(value, list):
        return [_strewn(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    more = {} if path in _EXCEPT else {"fieldOf2029": {"name": "kept"}}
    return {**{key: _strewn(item, key) for key, item in value.items()}, **more}


# And resources, which some containers of dinp's copy, as far as they are known.
_EXCEPT = {"labels", "annotations", "requests", "limits", "nodeSelector", "resources"}


def test_second_pass_changes_nothing(case: Case) -> None:
    """Reinvocation and re-applied exports find everything in place."""
    first = admission.inject(case.pod, case.rule, case.config)
    second = admission.inject(first.pod, case.rule, case.config)  # type: ignore[arg-type]  # a Pod is a dict
    assert [] == second.operations
    assert ("denied" if first.outcome == "denied" else "unchanged") == second.outcome


def test_second_pass_on_what_the_api_server_stores(case: Case) -> None:
    """Reinvocation sees the Pod without its empty values, and tells nothing that it did not."""
    first = admission.inject(case.pod, case.rule, case.config)
    second = admission.inject(_stored(first.pod), case.rule, case.config)
    assert [] == second.operations


def _stored(node: Any) -> Any:
    """As the API server stores it: `omitempty` drops an empty value of a variable."""
    if isinstance(node, dict):
        return {key: _stored(value) for key, value in node.items() if (key, value) != ("value", "")}
    return [_stored(item) for item in node] if isinstance(node, list) else node


def test_result_is_a_valid_pod(case: Case) -> None:
    """The strict schema of Kubernetes accepts what comes out."""
    result = admission.inject(case.pod, case.rule, case.config)
    if case.folder.name.startswith("invalid-"):
        assert_same(case.pod, result.pod)
        return
    pod_schema.validate(_complete(result.pod))


def _complete(pod: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def test_at_least_sixty_cases() -> None:
    """The traps of real CI are many, so are the cases."""
    assert len(CASES) >= 60
