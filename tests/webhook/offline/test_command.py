"""`dinp inject`: what the webhook would do, on files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from click.testing import CliRunner, Result

from tests.parts import needs
from webhook import admission
from webhook.asking import rules
from webhook.asking.config import Config
from webhook.offline.command import inject
from webhook.offline.report import wrong_labels
from webhook.offline.yamledit.nodes import ManifestError

ROOT = Path(__file__).parents[3]
MIGRATE = ("--namespace-labels", "dinp.io/migrate=service")

BUILDER = """\
# The builder of CI
apiVersion: apps/v1
kind: Deployment
metadata: {name: builder, namespace: 'ci'}   # two spaces too many
spec:
    template:
        metadata:
            annotations:
        spec:
            containers:
              # compiles
              - name: "build"
                image: 'docker:24'  # old
                env:
                  # wanted by make
                  - {name: LANG, value: C}
                volumeMounts:
                  - name: sock
                    mountPath: /var/run/docker.sock
                  - name: src # sources
                    mountPath: /src
            volumes:
              - name: sock # of the node
                hostPath:
                    path: /var/run/docker.sock
              # sources
              - name: src
                emptyDir: {}
"""

# What a run that changed no Pod ends with.
FORGOTTEN = "; for a namespace's label pass --namespace-labels dinp.io/migrate=sidecar\n"

NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: ci
  labels: {dinp.io/migrate: service}
"""


def pod(**annotations: str) -> dict[str, Any]:
    marked = {f"dinp.io/{name}": value for name, value in annotations.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "annotations": marked},
        "spec": {"containers": [{"name": "a", "image": "docker:29"}]},
    }


def run(*arguments: str, text: str = "", **environment: str) -> Result:
    names = () if "-f" in arguments else ("-f", "-")
    runner = CliRunner(env=environment)
    return runner.invoke(inject, [*names, *arguments], input=text, auto_envvar_prefix="DINP_INJECT")


def test_comments_are_kept() -> None:
    """Comments, order and quoting of all that is not changed are kept byte for byte."""
    result = run(text=f"{BUILDER}---\n{NAMESPACE}")
    expected = """\
# The builder of CI
apiVersion: apps/v1
kind: Deployment
metadata: {name: builder, namespace: 'ci'}   # two spaces too many
spec:
    template:
        metadata:
            annotations:
                dinp.io/status: STATUS
            labels:
                dinp.io/mode: service
        spec:
            containers:
              # compiles
              - name: "build"
                image: 'docker:24'  # old
                env:
                  - name: DOCKER_HOST
                    value: tcp://dinp-docker.dinp-daemons.svc:2376
                  - name: DOCKER_TLS_VERIFY
                    value: "1"
                  - name: DOCKER_CERT_PATH
                    value: /dinp/certs
                  # wanted by make
                  - {name: LANG, value: C}
                volumeMounts:
                  - name: src # sources
                    mountPath: /src
                  - name: dinp-certs
                    mountPath: /dinp/certs
                    readOnly: true
            volumes:
              # sources
              - name: src
                emptyDir: {}
"""
    lines = result.stdout.splitlines()
    said = [at for at, line in enumerate(lines) if "dinp.io/status:" in line]
    lines[said[0]] = "                dinp.io/status: STATUS"
    assert expected.splitlines() == lines[: len(expected.splitlines())]
    assert result.stdout.endswith(f"---\n{NAMESPACE}")
    first = "Deployment ci/builder: migrated /var/run/docker.sock in container build (service)"
    assert first == result.stderr.splitlines()[0]
    assert all(
        line.startswith("Deployment ci/builder: warning: ")
        for line in result.stderr.splitlines()[1:]
    )
    assert result.exit_code == 0


def test_untouched_files_are_copied() -> None:
    """Files in which nothing asks for anything come out as they went in."""
    text = "\ufeff%YAML 1.1\n---\r\nkind:   Pod\nspec: {containers: [{name: a}]}\n--- # x\na : on"
    result = run(text=text)
    assert text.removeprefix("\ufeff").encode() == result.stdout_bytes
    assert result.stderr == f"dinp: 0 of 1 Pods changed{FORGOTTEN}"
    assert result.exit_code == 0


def test_the_same_as_the_server() -> None:
    """The new Pod is what admission makes of it, and so is the patch."""
    asking = pod(inject="sidecar", transport="tls")
    rule = rules.for_namespace("default", {})
    assert rule is not None
    expected = admission.inject(
        {**asking, "metadata": {**asking["metadata"], "namespace": "default"}}, rule, Config()
    )
    text = json.dumps(asking)
    new = json.loads(run("-o", "json", text=text).stdout)
    assert expected.pod["spec"] == new["spec"]
    assert new["metadata"].keys() == {"name", "annotations", "labels"}
    (entry,) = json.loads(run("-o", "patch", text=text).stdout)
    assert ("Pod", "default", "x", "stdin") == tuple(
        entry[name] for name in ("kind", "namespace", "name", "file")
    )
    assert new == jsonpatch.apply_patch(asking, entry["patch"])
    assert new == yaml.safe_load(run(text=text).stdout)


def test_twice_is_once() -> None:
    """Manifests that were injected come out unchanged."""
    once = run(*MIGRATE, text=BUILDER).stdout
    twice = run(*MIGRATE, text=once)
    assert once == twice.stdout


def test_daemonsets_by_default(tmp_path: Path) -> None:
    """A DaemonSet's Pods are judged as such, and its owner reference is not in the output."""
    text = BUILDER.replace("Deployment", "DaemonSet")
    (tmp_path / "ds.yaml").write_text(text)
    result = run("-f", str(tmp_path), "--namespace-labels", "dinp.io/inject=sidecar")
    assert text == result.stdout
    assert result.stderr.startswith("DaemonSet ci/builder: a Pod of a DaemonSet gets no daemon")
    asking = text.replace("annotations:", "annotations: {dinp.io/inject: sidecar}")
    (tmp_path / "ds.yaml").write_text(asking)
    result = run("-f", str(tmp_path))
    assert "(sidecar)" in result.stderr
    assert "ownerReferences" not in result.stdout
    assert "generateName" not in result.stdout


def test_denied() -> None:
    """A Pod that is denied is named, stays as it was, and makes exit code 1."""
    text = yaml.safe_dump(pod(inject="sidecarr"))
    result = run(text=text)
    assert result.stderr.startswith("Pod default/x: denied: annotation dinp.io/inject: 'sidecarr'")
    assert result.stderr.endswith(" [bad_value]\ndinp: 0 of 1 Pods changed\n")
    assert text == result.stdout
    assert result.exit_code == 1


def test_incomplete(tmp_path: Path) -> None:
    """A file that cannot be read is named with its line; the rest is done; exit code 3."""
    (tmp_path / "a.yaml").write_text("a: 1\nb: {{ .Values.b }}\n")
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(pod(inject="sidecarr")))
    result = run("-f", str(tmp_path / "a.yaml"), "-f", str(tmp_path / "b.yaml"))
    assert (
        f"{tmp_path}/a.yaml:2: a key must be a string (a template? render it first)\n"
        in result.stderr
    )
    assert "denied" in result.stderr
    assert (tmp_path / "b.yaml").read_text() == result.stdout
    assert result.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--namespace-labels", "a"), "'a' is not of the form label=value"),
        (("--namespace-labels", "=b"), "'=b' is not of the form label=value"),
        (
            ("--namespace-labels", "dinp.io/migrate=sidecarr"),
            "label dinp.io/migrate: 'sidecarr' is not a mode, expected sidecar, daemonset or service",
        ),
        (
            ("--namespace-labels", "a=b,dinp.io/inject=false"),
            "label dinp.io/inject: 'false' is not a mode, expected sidecar, daemonset or service",
        ),
        (
            ("--namespace-labels", "dinp.io/shared-daemon=true"),
            "label dinp.io/shared-daemon: 'true' means nothing, expected allowed",
        ),
        (("--config", "/none"), "/none: No such file or directory"),
        (("--diff", "-o", "json"), "leave out --output"),
        (("-o", "xml"), "'xml' is not one of"),
        (("--whole",), "--whole is for --diff"),
    ],
)
def test_usage(arguments: tuple[str, ...], problem: str) -> None:
    """Options that cannot be meant are exit code 2."""
    result = run(*arguments)
    assert problem in result.stderr
    assert result.exit_code == 2


def test_config(tmp_path: Path) -> None:
    """The config file counts as for the server; a wrong one is exit code 2 with its path."""
    config = tmp_path / "config.yaml"
    config.write_text("sidecar: {transport: unix}\n")
    text = yaml.safe_dump(pod(inject="sidecar"))
    assert "value: unix:///dinp/docker.sock" in run("--config", str(config), text=text).stdout
    config.write_text("sidecar: {transprt: unix}\n")
    result = run("--config", str(config), text=text)
    assert f"{config}: Object contains unknown field `transprt` - at `$.sidecar`" in result.stderr
    assert result.exit_code == 2


def test_environment() -> None:
    """Every option has its variable."""
    result = run(
        text=BUILDER,
        DINP_INJECT_NAMESPACE_LABELS="dinp.io/migrate=sidecar",
        DINP_INJECT_OUTPUT="patch",
    )
    assert [entry["name"] for entry in json.loads(result.stdout)] == ["builder"]


def test_namespaces() -> None:
    """Labels of a Namespace object count wherever it stands, and before the option's."""
    text = yaml.safe_dump_all(
        [pod(), yaml.safe_load(NAMESPACE.replace("migrate: service", "inject: sidecar"))]
    )
    assert "(sidecar)" not in run(text=text).stderr
    assert (
        "Pod ci/x: gave containers a a Docker daemon (sidecar)\n"
        in run("-n", "ci", text=text).stderr
    )
    unlabelled = BUILDER + "---\nkind: Namespace\nmetadata: {name: ci}\n"
    assert run(*MIGRATE, text=unlabelled).stderr == "dinp: 0 of 1 Pods changed\n"


def test_a_wrong_label_of_a_namespace() -> None:
    """It is refused as the cluster would refuse it; its Pods are judged without it."""
    text = f"{BUILDER}---\n{NAMESPACE.replace('service', 'sidecarr')}"
    result = run(text=text)
    assert result.stderr == (
        "Namespace ci: denied: label dinp.io/migrate: 'sidecarr' is not a mode, expected sidecar, "
        "daemonset or service\ndinp: 0 of 1 Pods changed\n"
    )
    assert text == result.stdout
    assert result.exit_code == 1


def test_labels_are_refused_as_by_the_policy() -> None:
    """The sentences are those of manifests/base, which tells them to who labels a namespace."""
    policy = (ROOT / "manifests" / "base" / "namespace-labels.yaml").read_text("utf-8")
    for label in (rules.INJECT, rules.MIGRATE, rules.SHARED_DAEMON):
        (problem,) = wrong_labels({label: "?"})
        start, end = problem.split("?")
        assert f'"{start}"' in policy
        assert f'"{end}"' in policy


def test_nothing_changed() -> None:
    """A run that changed no Pod says so; one that forgot a label is told which option there is."""
    text = yaml.safe_dump_all([pod(), pod(), pod()])
    assert run(text=text).stderr == f"dinp: 0 of 3 Pods changed{FORGOTTEN}"
    assert run(*MIGRATE, text=text).stderr == "dinp: 0 of 3 Pods changed\n"
    assert run(text=yaml.safe_dump_all([*[pod()] * 2, pod(inject="false")])).stderr.endswith(
        FORGOTTEN
    )
    opted_out = run(text=yaml.safe_dump(pod(inject="false"))).stderr
    assert opted_out.endswith("\ndinp: 0 of 1 Pods changed\n")
    assert run(text="a: 1\n").stderr == "dinp: no Pod is in there\n"
    assert "dinp:" not in run(text=yaml.safe_dump_all([pod(), pod(inject="sidecar")])).stderr


@pytest.mark.parametrize("value", [False, True, 1, 1.5])
@pytest.mark.parametrize("place", ["annotations", "labels"])
def test_a_value_without_quotes(place: str, value: object) -> None:
    """YAML takes it for no text, so the API server refuses the Pod; what to do is said."""
    asking = pod()
    asking["metadata"][place] = {"dinp.io/inject": value}
    result = run(text=yaml.safe_dump(asking))
    told = result.stderr.splitlines()[0]
    assert told.startswith("Pod default/x: not a valid Pod: Expected `str`, got `")
    assert f"`$.metadata.{place}" in told
    assert told.endswith("; put the value in quotes")
    assert result.exit_code == 1


def test_a_variable_without_quotes() -> None:
    """The same holds for the value of a variable."""
    asking = pod(inject="sidecar")
    asking["spec"]["containers"][0]["env"] = [{"name": "CI", "value": True}]
    result = run(text=yaml.safe_dump(asking))
    assert "; put the value in quotes" in result.stderr
    assert result.exit_code == 1


def test_another_invalid_pod() -> None:
    """Where quotes are no cure, none are asked for."""
    asking = pod(inject="sidecar")
    asking["spec"]["containers"][0]["env"] = {}
    result = run(text=yaml.safe_dump(asking))
    assert "not a valid Pod" in result.stderr
    assert "quotes" not in result.stderr


def test_verbose() -> None:
    """Pods that ask for nothing, or are never sent, are named only where that is asked for."""
    text = yaml.safe_dump(pod())
    assert run(text=text).stderr == f"dinp: 0 of 1 Pods changed{FORGOTTEN}"
    asks_for_nothing = "Pod default/x: nothing asks for a Docker daemon\n"
    assert run("-v", text=text).stderr.startswith(asks_for_nothing)
    excluded = yaml.safe_dump(pod(inject="sidecar"))
    result = run("-v", "-n", "kube-system", text=excluded)
    none = "dinp: 0 of 1 Pods changed\n"
    never = "Pod kube-system/x: namespace kube-system is never sent to the webhook\n"
    assert result.stderr == never + none
    assert excluded == result.stdout
    assert run("-n", "kube-system", text=excluded).stderr == none


def test_verbose_names_objects_without_a_pod() -> None:
    """A Tekton Task has none: what is in it becomes a Pod elsewhere."""
    task = {"apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "t"}, "spec": {}}
    text = yaml.safe_dump_all([task, {"kind": "Namespace", "metadata": {"name": "ci"}}])
    none = "dinp: no Pod is in there\n"
    assert run(text=text).stderr == none
    assert (
        run("-v", text=text).stderr
        == f"Task default/t: no Pod and no Pod template is in it\n{none}"
    )


def test_settings_of_the_namespace(tmp_path: Path) -> None:
    """The namespace of the option, as that of an object, chooses the entry of the config file."""
    config = tmp_path / "config.yaml"
    config.write_text("namespaces: [{match: [c*], sidecar: {transport: unix}}]")
    text = yaml.safe_dump(pod(inject="sidecar"))
    listens = "--host=tcp://127.0.0.1:2375"
    assert listens in run("--config", str(config), text=text).stdout
    assert listens not in run("--config", str(config), "-n", "ci", text=text).stdout


def test_several_templates() -> None:
    """Of several templates in one object each is named by its place, and all are in one patch."""
    template = {
        key: value for key, value in pod(inject="sidecar").items() if key in {"metadata", "spec"}
    }
    groups = [
        {"template": template},
        {"template": {"spec": template["spec"]}},
        {"template": template},
    ]
    ray = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"generateName": "r-"},
        "spec": {"groups": groups},
    }
    result = run("-o", "patch", text=json.dumps({"kind": "List", "items": [ray]}))
    assert "RayCluster default/r-* (spec.groups.0.template): gave containers" in result.stderr
    assert "RayCluster default/r-* (spec.groups.2.template): gave containers" in result.stderr
    (entry,) = json.loads(result.stdout)
    paths = {operation["path"].split("/")[3] for operation in entry["patch"]}
    assert paths == {"0", "2"}


def test_aliases() -> None:
    """A template that two objects share by an alias changes where it is to change."""
    text = """\
kind: List
items:
- kind: Job
  metadata: {name: a, namespace: ci}
  spec: {template: &t {spec: {containers: [{name: a, image: docker}]}}}
- kind: Job
  metadata: {name: b}
  spec:
    template: *t  # the same
"""
    result = run("-n", "kube-system", "--namespace-labels", "dinp.io/inject=service", text=text)
    first, second = yaml.safe_load(result.stdout)["items"]
    assert first["spec"]["template"]["spec"]["containers"][0]["env"]
    assert second["spec"]["template"] == {
        "spec": {"containers": [{"name": "a", "image": "docker"}]}
    }
    assert "# the same" in result.stdout


def test_diff() -> None:
    """A diff shows what changes; nothing changes, nothing is printed."""
    result = run("--diff", *MIGRATE, text=BUILDER)
    assert result.stdout.startswith("--- stdin\n+++ stdin\n@@ ")
    removed = [line for line in result.stdout.splitlines()[2:] if line.startswith("-")]
    expected = [
        "-                  - name: sock",
        "-                    mountPath: /var/run/docker.sock",
        "-              - name: sock # of the node",
        "-                hostPath:",
        "-                    path: /var/run/docker.sock",
    ]
    assert expected == removed
    assert run("--diff", text=BUILDER).stdout == ""


@needs("the command patch", is_there=shutil.which("patch") is not None)
def test_a_diff_folds_the_start_script(tmp_path: Path) -> None:
    """It is one line and a count, which `patch` refuses; with --whole, `patch` makes the Pod of it."""
    asking = yaml.safe_dump(pod(inject="sidecar"))
    file = tmp_path / "pod.yaml"
    file.write_text(asking)
    short = run("--diff", "-f", str(file)).stdout
    (line,) = [line for line in short.splitlines() if "#!/bin/sh" in line]
    assert re.fullmatch(r"\+ +#!/bin/sh \.\.\. \d{2,3} more lines", line)
    whole = run("--diff", "--whole", "-f", str(file)).stdout
    assert int(line.split()[-3]) == len(whole.splitlines()) - len(short.splitlines())
    assert patched(file, short) == (1, asking)
    assert patched(file, whole) == (0, run("-f", str(file)).stdout)
    expected = re.sub(r"(?s)(#!/bin/sh) .*? more lines", "", short).splitlines()
    assert set(expected) - {re.sub(r"#!.*", "", line)} <= set(whole.splitlines())


def patched(file: Path, diff: str) -> tuple[bool, str]:
    """Whether `patch` refuses a diff of a file, and what it makes of the file; the file stays."""
    copy = file.with_name("patched.yaml")
    copy.write_bytes(file.read_bytes())
    command = ["patch", "--batch", "--reject-file=-", "--no-backup-if-mismatch", copy.name]
    done = subprocess.run(  # noqa: S603 - what people have
        command, input=diff, text=True, cwd=file.parent, capture_output=True, check=False
    )
    return bool(done.returncode), copy.read_text()


def test_json_of_several() -> None:
    """Several objects, out of Lists too, become one List."""
    text = json.dumps({"kind": "List", "items": [pod(), pod()]}) + "\n---\n" + NAMESPACE
    listed = json.loads(run("-o", "json", text=text).stdout)
    assert listed["kind"] == "List"
    assert [item["kind"] for item in listed["items"]] == ["Pod", "Pod", "Namespace"]


def test_one_line_each() -> None:
    """Names cannot bring newlines or escapes to the terminal."""
    wild = pod(inject="x\n\x1b[2Jy")
    wild["metadata"]["name"] = "a\nb\x1b[0m"
    result = run(text=json.dumps(wild))
    assert len(result.stderr.splitlines()) == 2
    assert result.stderr.startswith("Pod default/a\\nb\\x1b[0m: denied: ")


@pytest.mark.parametrize("field", ["annotations", "labels", "volumes", "env", "initContainers"])
def test_null_is_absent(field: str) -> None:
    """A field that is null is as good as one that is not there."""
    asking = pod()
    place = {
        "annotations": asking["metadata"],
        "labels": asking["metadata"],
        "env": asking["spec"]["containers"][0],
    }
    place.get(field, asking["spec"])[field] = None
    result = run("--namespace-labels", "dinp.io/inject=sidecar", text=yaml.safe_dump(asking))
    assert "(sidecar)" in result.stderr
    assert yaml.safe_load(result.stdout)["spec"]["initContainers"][0]["name"] == "dinp-dind"


def test_written_afresh() -> None:
    """Where the text cannot be edited in place, that is said."""
    text = "? kind\n: Pod\nspec: {containers: [{name: a}]} # c\n"
    result = run("--namespace-labels", "dinp.io/inject=service", text=text)
    assert "stdin:1: warning: written afresh, without its comments\n" in result.stderr
    assert yaml.safe_load(result.stdout)["kind"] == "Pod"
    assert result.exit_code == 0


def test_what_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for which no right text is found is left out, named, and exit code 3."""

    def refuse(_file: object) -> object:
        raise ManifestError("cannot be rewritten", 1)

    monkeypatch.setattr("webhook.offline.files.written", refuse)
    result = run(text=BUILDER)
    assert (result.stdout, result.stderr.splitlines()[0]) == ("", "stdin:1: cannot be rewritten")
    assert result.exit_code == 3


def test_as_a_process(tmp_path: Path) -> None:
    """The real command reads files and standard input, and writes bytes."""
    path = tmp_path / "a.yaml"
    path.write_bytes(BUILDER.replace("\n", "\r\n").encode())
    dinp = Path(sys.executable).with_name("dinp")
    done = subprocess.run(  # noqa: S603 - the command under test
        [dinp, "inject", "-f", path, "-f", "-", *MIGRATE],
        input="a: é".encode(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (
        0,
        done.stderr.count(b"Deployment ci/builder: "),
    )
    assert done.stdout.endswith("---\na: é".encode())
    new = done.stdout.removesuffix("---\na: é".encode())
    assert new.count(b"\r\n") == new.count(b"\n") > BUILDER.count("\n")
