"""What holds for every Pod, whatever it is and whoever asks."""

from __future__ import annotations

import base64
import contextlib
import copy
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.webhook import small_pods as build
from tests.webhook.small_pods import Case
from webhook import admission, names
from webhook.admission import Injection, ReviewError
from webhook.asking.annotations import read_settings
from webhook.asking.config import Config
from webhook.asking.rules import RULES, Rule
from webhook.asking.settings import Settings
from webhook.planning import plan
from webhook.planning.plan import Action
from webhook.planning.sidecar import script
from webhook.pods import patch
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod

every_pod = given(case=build.cases() | build.exported())
every_new_pod = given(case=build.cases())
many = settings(max_examples=settings().max_examples * 3 // 2)
more = settings(max_examples=settings().max_examples * 2)


def inject(pod: Pod, rule: Rule, config: Config) -> Injection:
    return admission.inject(pod, rule, config)  # type: ignore[arg-type]  # a Pod is a dict


def typed(value: Any) -> str:
    """JSON tells 1, 1.0 and true apart, where Python's == does not."""
    return json.dumps(value, sort_keys=True)


@many
@every_pod
def test_second_pass_changes_nothing(case: Case) -> None:
    """Reinvocation and re-applied exports find everything in place."""
    pod, rule, config = case
    first = inject(pod, rule, config)
    assert [] == inject(first.pod, rule, config).operations


@many
@every_pod
def test_second_pass_of_the_decoded_pod_changes_nothing(case: Case) -> None:
    """Idempotence does not rest on shared objects: the API server sends the Pod anew."""
    pod, rule, config = case
    first = inject(pod, rule, config)
    again: Pod = json.loads(json.dumps(first.pod))
    assert [] == inject(again, rule, config).operations


@many
@every_pod
def test_operations_give_the_result(case: Case) -> None:
    """Another implementation of RFC 6902 comes to the same Pod, and the input stays as it was."""
    pod, rule, config = case
    before = copy.deepcopy(pod)
    result = inject(pod, rule, config)
    assert typed(before) == typed(pod)
    assert typed(result.pod) == typed(jsonpatch.apply_patch(pod, result.operations))
    assert (result.pod is pod) == (not result.operations)


@many
@every_pod
def test_result_is_well_formed(case: Case) -> None:
    """Nothing is doubled that was not, every mount has its volume, and a Pod stays a Pod."""
    pod, rule, config = case
    new = inject(pod, rule, config).pod
    assert pods.problem(new) is None
    assert set() == doubled(v["name"] for v in pods.volumes(new))
    assert set() == doubled(c["name"] for c in pods.containers(new))
    known = {volume["name"] for volume in pods.volumes(new)}
    doubles_before = {
        c["name"]: doubled(v["name"] for v in pods.env(c)) for c in pods.containers(pod)
    }
    for container in pods.containers(new):
        mounts = pods.mounts(container)
        assert set() == doubled(mount["mountPath"] for mount in mounts)
        assert known.issuperset(mount["name"] for mount in mounts)
        assert not any(mount.get("subPath") and mount.get("subPathExpr") for mount in mounts)
        there = doubles_before.get(container["name"], set())
        assert there >= doubled(var["name"] for var in pods.env(container))


def doubled(items: Iterable[str]) -> set[str]:
    return {item for item, times in Counter(items).items() if times > 1}


@many
@every_new_pod
def test_untouched_parts_are_the_same_objects(case: Case) -> None:
    """What dinp has no business with is not even copied."""
    pod, rule, config = case
    decided = plan.decide(pod, rule, config)
    new = inject(pod, rule, config).pod
    clients = {client.name for client in decided.clients}
    old_by_name = {container["name"]: container for container in pods.containers(pod)}
    new_by_name = {container["name"]: container for container in pods.containers(new)}
    assert old_by_name.keys() <= new_by_name.keys()
    for name, old in old_by_name.items():
        if name not in clients and name != names.DIND:
            assert old is new_by_name[name]
        else:
            assert_shares_untouched(old, new_by_name[name])
    same_fields(pod, new, {"metadata", "spec"})
    same_fields(
        pod["spec"],
        new["spec"],
        {"containers", "initContainers", "volumes", "securityContext", "imagePullSecrets"},
    )
    old_volumes = {volume["name"]: volume for volume in pods.volumes(pod)}
    for volume in pods.volumes(new):
        assert old_volumes.get(volume["name"], volume) is volume


def assert_shares_untouched(old: Container, new: Container) -> None:
    same_fields(old, new, {"env", "volumeMounts", "restartPolicy"})
    kept = {id(var) for var in pods.env(new)}
    docker = {"DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_TLS", "DINP_HOST_IP"}
    touched = {*docker, "NO_PROXY", "no_proxy", "DINP_SOCKET_LINKS"}
    for var in pods.env(old):
        assert id(var) in kept or var["name"] in touched


def same_fields(old: Any, new: Any, but: set[str]) -> None:
    for key in (old.keys() | new.keys()) - but:
        assert old[key] is new[key]


@many
@every_new_pod
def test_unknown_fields_survive(case: Case) -> None:
    """A field newer than dinp is never dropped, at any level."""
    pod, rule, config = case
    new = inject(pod, rule, config).pod
    lost = marked(pod) - marked(new)
    # A mount that is removed, its volume, and a variable that is replaced take theirs along.
    assert not {path for path in lost if path[0] not in {"mount", "variable"}}


def marked(pod: Pod) -> set[tuple[str, ...]]:
    """Where the unknown field is."""
    found: set[tuple[str, ...]] = set()

    def look(part: Any, *path: str) -> None:
        if isinstance(part, dict) and build.UNKNOWN in part:
            found.add((*path, typed(part[build.UNKNOWN])))

    look(pod, "pod")
    look(pod.get("metadata"), "metadata")
    look(pod["spec"], "spec")
    look(pod["spec"].get("securityContext"), "securityContext")
    for container in pods.containers(pod):
        look(container, "container", container["name"])
        for mount in pods.mounts(container):
            look(mount, "mount", container["name"], mount["mountPath"])
        for var in pods.env(container):
            look(var, "variable", container["name"], var["name"])
    return found


@many
@every_pod
def test_denied_and_left_pods_stay_as_they_are(case: Case) -> None:
    """Where nothing is injected, nothing but dinp.io/status is written."""
    pod, rule, config = case
    decided = plan.decide(pod, rule, config)
    result = inject(pod, rule, config)
    assert (decided.action is Action.DENY) == (result.outcome == "denied")
    if decided.action is Action.DENY:
        assert [] == result.operations
    if decided.action is Action.LEAVE:
        assert typed(without_status(pod)) == typed(without_status(result.pod))
        assert decided.note_status or result.pod is pod


def without_status(pod: Pod) -> Any:
    new: Any = copy.deepcopy(pod)
    metadata = new.pop("metadata", None) or {}
    annotations = metadata.pop("annotations", None) or {}
    annotations.pop(names.STATUS, None)
    return [new, metadata, annotations]


@many
@every_pod
def test_clients_find_their_daemon(case: Case) -> None:
    """The kubelet resolves every reference in the variables that dinp sets."""
    pod, rule, config = case
    decided = plan.decide(pod, rule, config)
    new = {c["name"]: c for c in pods.containers(inject(pod, rule, config).pod)}
    for client in decided.clients if decided.action is Action.INJECT else ():
        seen = environment(new[client.name])
        for variable in client.variables:
            if variable["name"] in {"DOCKER_HOST", "TESTCONTAINERS_HOST_OVERRIDE"}:
                assert "$(" not in seen[variable["name"]]


@many
@every_pod
def test_daemon_gets_what_was_asked_literally(case: Case) -> None:
    """`$` in an annotation reaches dockerd as it is, whatever variables there are."""
    pod, rule, config = case
    decided = plan.decide(pod, rule, config)
    if decided.action is not Action.INJECT or decided.mode != "sidecar":
        return
    new = inject(pod, rule, config).pod
    dind = build.dind(new)
    seen = environment(dind)
    args = [expand(arg, seen) for arg in dind.get("args") or ()]
    settings = read_settings(pod, decided.mode, config)
    assert isinstance(settings, Settings)
    wanted = settings.dockerd_args
    assert list(wanted) == args[len(args) - len(wanted) :]
    assert script(args) == expand((dind.get("command") or ["", "", ""])[2], seen)
    if config.sidecar.proxy is not None:
        assert "http://a$(X)b" == seen["HTTP_PROXY"] == seen["http_proxy"]


@many
@given(case=build.exported())
def test_a_dind_that_is_there_is_dinps(case: Case) -> None:
    """What runs, as what, and where it listens, is as if the Pod had brought none."""
    pod, rule, config = case
    decided = plan.decide(pod, rule, config)
    if decided.action is not Action.INJECT or decided.mode != "sidecar":
        return
    new = inject(pod, rule, config).pod
    others = [c for c in pod["spec"].get("initContainers") or () if c["name"] != names.DIND]
    without: Pod = {**pod, "spec": {**pod["spec"], "initContainers": others}}
    expected = plan.decide(without, rule, config).additions
    found, made = build.dind(new), expected.init_containers[0] if expected is not None else None
    if made is not None:
        for field in ("command", "args", "securityContext", "startupProbe", "restartPolicy"):
            assert typed(made.get(field)) == typed(found.get(field))
        assert found.keys() - made.keys() <= _ALSO
        ours = {mount["mountPath"]: mount["name"] for mount in pods.mounts(made)}
        theirs = {mount["mountPath"]: mount["name"] for mount in pods.mounts(found)}
        system = {path: name for path, name in ours.items() if names.is_dinps_volume(name)}
        assert system.items() <= theirs.items()
        assert not any(
            names.is_system(path, rootless=False) for path in theirs.keys() - ours.keys()
        )
    assert not _OBEYED & {var["name"] for var in pods.env(found)}
    assert not any(mount.get("mountPropagation") for mount in pods.mounts(found))


_OBEYED = {"LD_PRELOAD", "PATH", "DOCKER_HOST", "OPENSSL_CONF", "XTABLES_LIBDIR", "HOME"}
_ALSO = {"imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy", "resources"}


def test_kubelet_leaves_the_script_alone() -> None:
    """dind.sh means to the shell what it says: the kubelet finds nothing to expand in it."""
    typical = ["PATH", "HOME", "HOSTNAME", "HTTP_PROXY", "no_proxy", "KUBERNETES_SERVICE_HOST"]
    for args in ((), ("--tlsverify",)):
        text = script(args)
        assert text == expand(text, dict.fromkeys(typical, "expanded"))


# ---- the kubelet's expansion (k8s.io/kubernetes third_party/forked/golang/expansion) ---------


def expand(text: str, variables: dict[str, str]) -> str:
    """`$(NAME)` is the variable or itself, `$$` is `$`, all else stays."""
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(" and (end := text.find(")", at)) > 0:
            name = text[at + 2 : end]
            out.append(variables.get(name, f"$({name})"))
            at = end + 1
        else:
            out.append(text[at : at + 2])
            at += 2
    return "".join(out)


def environment(container: Container) -> dict[str, str]:
    """The variables as the container's process sees them, valueFrom as some text."""
    seen: dict[str, str] = {}
    for var in pods.env(container):
        seen[var["name"]] = "from" if var.get("valueFrom") else expand(var.get("value") or "", seen)
    return seen


def test_expansion_is_the_kubelets() -> None:
    """The rows of Kubernetes' own test of its expansion."""
    variables = {"VAR_A": "A", "VAR_B": "B", "VAR_EMPTY": ""}
    rows = {
        "$(VAR_A)": "A",
        "___$(VAR_B)___": "___B___",
        "$$(VAR_A)_$(VAR_B)": "$(VAR_A)_B",
        "$$$(VAR_A)": "$A",
        "f000-$$VAR_A": "f000-$VAR_A",
        "foo\\$(VAR_A)": "foo\\A",
        "$(VAR_A": "$(VAR_A",
        "$VAR_A)": "$VAR_A)",
        "$(VAR_EMPTY)x": "x",
        "$(MISSING)": "$(MISSING)",
        "$": "$",
        "$$$$": "$$",
        "$($$VAR)": "$($$VAR)",
    }
    assert rows == {text: expand(text, variables) for text in rows}


# ---- diff ------------------------------------------------------------------------------------


@more
@given(old=build.json_values, new=build.json_values)
def test_diff_turns_one_document_into_the_other(old: Any, new: Any) -> None:
    """apply(diff(a, b), a) is b, its types included."""
    operations = patch.diff(old, new)
    assert typed(new) == typed(jsonpatch.apply_patch(copy.deepcopy(old), operations))


@more
@given(st.data())
def test_diff_of_related_documents(data: st.DataObject) -> None:
    """The same for documents that share most of their parts, as a Pod and its mutation do."""
    old = data.draw(st.lists(build.json_values, max_size=6))
    kept = data.draw(st.lists(st.sampled_from(old), max_size=6)) if old else []
    new = [*kept, *data.draw(st.lists(build.json_values, max_size=2))]
    operations = patch.diff(old, new)
    assert typed(new) == typed(jsonpatch.apply_patch(copy.deepcopy(old), operations))


@more
@given(document=build.json_values)
def test_diff_of_the_same_is_nothing(document: Any) -> None:
    """Equal documents need no operation, whether they are one object or two."""
    assert [] == patch.diff(document, document)
    assert [] == patch.diff(document, copy.deepcopy(document))


# ---- review ----------------------------------------------------------------------------------


def encoded(pod: Any) -> bytes:
    request = {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "object": pod}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(review).encode()


@many
@every_pod
def test_answer_carries_the_operations(case: Case) -> None:
    """What the API server gets is what inject decided."""
    pod, rule, config = case
    result = inject(pod, rule, config)
    outcome = admission.review(encoded(pod), rule, config)
    response = json.loads(outcome.body)["response"]
    assert (result.outcome != "denied") == response["allowed"]
    operations = json.loads(base64.b64decode(response.get("patch", "")) or "[]")
    assert typed(result.operations) == typed(operations)
    assert all(len(warning.encode()) <= 256 for warning in response.get("warnings", []))


def replaced(document: Any, value: Any) -> Iterator[Any]:
    """`document` with each of its parts in turn replaced by `value`."""
    yield value
    if isinstance(document, dict):
        for key, part in document.items():
            for new in replaced(part, value):
                yield {**document, key: new}
    if isinstance(document, list):
        for at, part in enumerate(document):
            for new in replaced(part, value):
                yield [*document[:at], new, *document[at + 1 :]]


@many
@given(document=build.json_values, rule=build.rules)
def test_garbage_is_a_review_error(document: Any, rule: Rule) -> None:
    """Whatever JSON comes, the answer is 400 or an AdmissionReview, never a traceback."""
    for body in (json.dumps(document).encode(), encoded(document)):
        with contextlib.suppress(ReviewError):
            assert admission.review(body, rule, build.DEFAULT).body


WHOLE = {
    "metadata": {
        "name": "ci",
        "labels": {"a": "b"},
        "annotations": {"dinp.io/inject": "sidecar", "dinp.io/share": "/share:seed"},
        "ownerReferences": [{"kind": "Job", "name": "j"}],
    },
    "spec": {
        "containers": [
            {
                "name": "build",
                "image": "golang",
                "command": ["cat"],
                "env": [{"name": "DOCKER_HOST", "value": ""}, {"name": "X", "valueFrom": {}}],
                "envFrom": [{}],
                "resources": {"limits": {"cpu": 1}, "requests": {"cpu": "1"}},
                "securityContext": {"privileged": False},
                "volumeMounts": [{"name": "socket", "mountPath": "/run/docker.sock"}],
            }
        ],
        "initContainers": [{"name": "prepare", "ports": []}],
        "volumes": [{"name": "socket", "hostPath": {"path": "/run/docker.sock"}}],
        "securityContext": {"fsGroup": 1, "supplementalGroups": [2]},
        "imagePullSecrets": [{"name": "pull"}],
        "tolerations": [{"key": "a"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "os": {"name": "linux"},
    },
}


def test_wrong_types_are_never_a_traceback() -> None:
    """Each part of a Pod in turn is something else: 400, or an answer."""
    odd: list[Any] = [None, True, 0, 1.5, 10**30, "", "x", "$(X)\n", [], [None], {}, {"name": None}]
    for value in odd:
        for pod in replaced(WHOLE, value):
            for path in ("/pods/annotated", "/pods/migrate/sidecar", "/pods/inject/service"):
                with contextlib.suppress(ReviewError):
                    assert admission.review(encoded(pod), RULES[path], build.CONFIGS[2]).body


@many
@given(body=st.binary(max_size=60))
def test_bytes_are_a_review_error(body: bytes) -> None:
    """What is not even JSON is 400 with a sentence."""
    with pytest.raises(ReviewError, match="not an AdmissionReview"):
        admission.review(body, build.ANNOTATED, build.DEFAULT)
