"""Keys of dinp's where no Pod gets them: told, since nothing else would say why there is no daemon."""

from __future__ import annotations

import pytest

from tests.webhook.offline.test_command import run

POD = "{spec: {containers: [{name: build, image: docker:28-cli}]}}"


@pytest.mark.parametrize(
    ("kind", "path", "spec"),
    [
        ("Job", "spec.template", f"spec: {{template: {POD}}}"),
        ("Deployment", "spec.template", f"spec: {{template: {POD}}}"),
        (
            "CronJob",
            "spec.jobTemplate.spec.template",
            f"spec: {{jobTemplate: {{spec: {{template: {POD}}}}}}}",
        ),
        ("PodTemplate", "template", f"template: {POD}"),
    ],
)
@pytest.mark.parametrize("field", ["annotations", "labels"])
def test_of_a_workload(kind: str, path: str, spec: str, field: str) -> None:
    """A Pod has the metadata of its template alone."""
    own = f"kind: {kind}\nmetadata: {{name: a, {field}: {{dinp.io/inject: sidecar}}}}\n{spec}\n"
    expected = (
        f"{kind} default/a: warning: dinp.io/inject has no effect here; put it into {path}.metadata"
    )
    assert expected in run(text=own).stderr.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "kind: Pod\nmetadata: {name: a, annotations: {dinp.io/inject: sidecar}}\n" + POD[1:-1],
        (
            "kind: Job\nmetadata: {name: a, annotations: {team: a}, labels: {dinp.io/mode: sidecar}}\n"
            f"spec: {{template: {POD}}}"
        ),
        # As kustomize's commonAnnotations has them.
        (
            "kind: Job\nmetadata: {name: a, annotations: {dinp.io/inject: sidecar}}\n"
            f"spec: {{template: {{metadata: {{annotations: {{dinp.io/inject: sidecar}}}}, {POD[1:]}}}"
        ),
        # A controller that is not Kubernetes' own may hand them on.
        (
            "kind: Runner\nmetadata: {name: a, annotations: {dinp.io/inject: sidecar}}\n"
            f"spec: {{template: {POD}}}"
        ),
    ],
)
def test_of_a_pod_or_of_both(text: str) -> None:
    """Where the Pod has them, or may have them, nothing is said."""
    assert "has no effect here" not in run(text=text).stderr


def test_of_a_namespace() -> None:
    """Selectors see labels alone."""
    text = "kind: Namespace\nmetadata: {name: ci, annotations: {dinp.io/migrate: sidecar}}\n"
    expected = "Namespace ci: warning: annotation dinp.io/migrate has no effect on a namespace; set it as a label"
    assert expected in run(text=text).stderr.splitlines()
