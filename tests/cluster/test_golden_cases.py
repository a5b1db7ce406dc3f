"""Every golden case through the real API server: what comes out is what `admission.inject` makes.

The API server adds defaults and tokens of its own. So two Pods are compared that it made: the
author's, created in a namespace of the case's rule; and the one that `inject` makes of it,
created where dinp is not called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests import golden_cases
from tests.cluster.api import Answer, Api
from tests.cluster.installation import Installation
from tests.differences import assert_same
from tests.golden_cases import Case
from webhook import admission
from webhook.asking import rules

pytestmark = pytest.mark.cluster

WITHOUT_DINP = "kube-node-lease"
# Case -> what the API server says of a Pod that it refuses for reasons of its own.
REFUSED = {
    "invalid-containers-null": "spec.containers: Required value",
    "invalid-field-ref": "cannot be handled as a Pod",
    "invalid-env-object": "cannot be handled as a Pod",
    "invalid-mount-without-path": "mountPath: Required value",
    "invalid-no-containers": "spec.containers: Required value",
}
# Identity, and where it was created.
_SET_ASIDE = ("uid", "creationTimestamp", "managedFields", "namespace", "name", "generation")


def _config(case: Case) -> str:
    about = yaml.safe_load((case.folder / "case.yaml").read_text(encoding="utf-8"))
    return yaml.safe_dump(about.get("config", {}))


# By config file: the server starts anew for each.
CASES = sorted(golden_cases.all_cases(), key=_config)


@pytest.fixture(params=CASES, ids=lambda case: case.folder.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def _create(api: Api, namespace: str, pod: Mapping[str, Any]) -> Answer:
    """Create the Pod, after what it refers to and the API server looks up."""
    spec = pod["spec"]
    if spec.get("serviceAccountName"):
        api.create_service_account(namespace, spec["serviceAccountName"])
    if spec.get("runtimeClassName"):
        name = spec["runtimeClassName"]
        whole = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}}
        path = "/apis/node.k8s.io/v1/runtimeclasses"
        assert api.request("POST", path, {**whole, "handler": name}).status in (201, 409)
    return api.create_pod(namespace, pod)


def test_comes_out_as_inject_makes_it(dinp: Installation, case: Case) -> None:
    """The Pod, the warnings and the refusal of a real create are those of the offline result.

    And dinp finds nothing to do with what is stored, all defaults and tokens in it: an exported
    Pod that is applied again stays as it is.
    """
    dinp.serve(_config(case))
    namespace = rules.path(case.rule).removeprefix("/pods/").replace("/", "-")
    expected = admission.inject(case.pod, case.rule, case.config)
    answer = _create(dinp.api, namespace, case.pod)
    if case.folder.name in REFUSED:
        assert REFUSED[case.folder.name] in answer.message
        assert REFUSED[case.folder.name] in _create(dinp.api, WITHOUT_DINP, expected.pod).message
    elif expected.outcome == "denied":
        assert answer.status == 403
        denial = f"{expected.finding.text} {expected.finding.reason.code}"
        assert answer.message.endswith(f"denied the request: dinp: {denial}")
    else:
        reference = _create(dinp.api, WITHOUT_DINP, expected.pod)
        assert (201, 201) == (reference.status, answer.status), answer.message or reference.message
        assert_same(_compared(reference.body), _compared(answer.body))
        said = [warning for warning in answer.warnings if warning.startswith("dinp: ")]
        assert [f"dinp: {warning}"[:200] for warning in expected.warnings] == [
            warning[:200] for warning in said
        ]
        assert [] == admission.inject(answer.body, case.rule, case.config).operations


def _compared(pod: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in pod["metadata"].items() if key not in _SET_ASIDE}
    return {"metadata": metadata, "spec": _without_tokens(pod["spec"])}


def _without_tokens(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The volume's name is random, and its place depends on who came first."""
    volumes = spec.get("volumes", [])
    kept = [volume for volume in volumes if not volume["name"].startswith("kube-api-access-")]
    return {
        **spec,
        "volumes": kept,
        "containers": [_without_token(container) for container in spec["containers"]],
        "initContainers": [_without_token(item) for item in spec.get("initContainers", [])],
    }


def _without_token(container: Mapping[str, Any]) -> dict[str, Any]:
    mounts = container.get("volumeMounts", [])
    kept = [mount for mount in mounts if not mount["name"].startswith("kube-api-access-")]
    return {**container, "volumeMounts": kept}


def test_few_cases_are_refused() -> None:
    """A refused Pod shows nothing of dinp: the list stays short and names cases that exist."""
    assert {case.folder.name for case in CASES} >= REFUSED.keys()
    assert len(REFUSED) <= len(CASES) // 20
