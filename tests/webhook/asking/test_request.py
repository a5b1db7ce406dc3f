"""request: who asks for which mode."""

from __future__ import annotations

import pytest

from tests.webhook import small_pods as build
from webhook.asking.request import Request, requested
from webhook.asking.rules import RULES, Mode
from webhook.reasons import Finding, Reason

ANYWHERE = sorted(RULES)
MODES = ["sidecar", "daemonset", "service"]
UNSHARED = [path for path in ANYWHERE if not RULES[path].allows_shared]
SHARED = [path for path in ANYWHERE if RULES[path].allows_shared]


def ask(
    path: str,
    annotation: str | None = None,
    label: str | None = None,
) -> Request | Reason:
    """The request, or the reason why there is none."""
    pod = build.pod(
        annotations=None if annotation is None else {"dinp.io/inject": annotation},
        labels=None if label is None else {"dinp.io/inject": label},
    )
    found = requested(pod, RULES[path])
    return found.reason if isinstance(found, Finding) else found


@pytest.mark.parametrize("path", ANYWHERE)
def test_false_opts_out_everywhere(path: str) -> None:
    """`false` by annotation or label: never touched."""
    assert Reason.OPTED_OUT == ask(path, annotation="false")
    assert Reason.OPTED_OUT == ask(path, label="false")


@pytest.mark.parametrize("path", SHARED)
@pytest.mark.parametrize("mode", MODES)
def test_pod_over_namespace(path: str, mode: str) -> None:
    """A mode on the Pod is that mode, explicitly, and not under migrate's condition."""
    assert Request(Mode(mode), explicit=True) == ask(path, annotation=mode)
    assert Request(Mode(mode), explicit=True) == ask(path, label=mode)
    assert Request(Mode(mode), explicit=True) == ask(path, annotation=mode, label=mode)


@pytest.mark.parametrize("path", UNSHARED)
def test_shared_daemons_are_a_grant(path: str) -> None:
    """Without the namespace's grant, a Pod may ask for a sidecar alone."""
    assert Request(Mode.SIDECAR, explicit=True) == ask(path, annotation="sidecar")
    assert Reason.SHARED_DAEMON_NOT_ALLOWED == ask(path, annotation="daemonset")
    assert Reason.SHARED_DAEMON_NOT_ALLOWED == ask(path, label="service")


@pytest.mark.parametrize("path", ANYWHERE)
@pytest.mark.parametrize("value", ["", "true", "Sidecar", " sidecar", "False"])
def test_a_typo_is_told(path: str, value: str) -> None:
    """What is no mode is wrong everywhere, by annotation and by label."""
    assert Reason.BAD_VALUE == ask(path, annotation=value)
    assert Reason.BAD_VALUE == ask(path, label=value)


@pytest.mark.parametrize("source", ["annotation", "label"])
def test_a_typo_names_the_valid_values(source: str) -> None:
    """The key, the value, and what is allowed."""
    values = {"dinp.io/inject": "on"}
    pod = build.pod(
        annotations=values if source == "annotation" else None,
        labels=values if source == "label" else None,
    )
    expected = (
        f"{source} dinp.io/inject: 'on' is not valid: expected sidecar, daemonset, service or false"
    )
    assert expected == str(requested(pod, build.ANNOTATED))


@pytest.mark.parametrize("path", ANYWHERE)
def test_label_and_annotation_that_differ(path: str) -> None:
    """Nobody can say which of the two was meant, not even with `false`."""
    assert Reason.CONFLICTING_REQUEST == ask(path, annotation="sidecar", label="false")
    assert Reason.CONFLICTING_REQUEST == ask(path, annotation="false", label="nonsense")


@pytest.mark.parametrize("path", ANYWHERE)
def test_nothing_said_is_the_namespaces_rule(path: str) -> None:
    """By default, under migrate for Pods with the socket only; none where only annotations count."""
    parts = path.split("/")
    if parts[2] == "annotated":
        assert Reason.NOT_REQUESTED == ask(path)
    else:
        expected = Request(Mode(parts[3]), explicit=False, migrate=parts[2] == "migrate")
        assert expected == ask(path)


@pytest.mark.parametrize("value", [None, "sidecar"])
def test_mirror_pods_get_nothing(value: str | None) -> None:
    """Static Pods run already, annotated or not."""
    annotations = {"kubernetes.io/config.mirror": "x"}
    if value is not None:
        annotations["dinp.io/inject"] = value
    found = requested(build.pod(annotations=annotations), build.INJECT_SIDECAR)
    assert found == Reason.MIRROR_POD.say()
