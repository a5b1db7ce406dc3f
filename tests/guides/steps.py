"""Steps of pipelines: Tekton, Argo, Buildkite, Woodpecker, Drone, Prow.

Each function takes the parsed block of a guide and gives the Pods, as tektoncd/pipeline pkg/pod,
argo-workflows workflow/controller, agent-stack-k8s internal/controller/scheduler, woodpecker
pipeline/backend/kubernetes, drone-runner-kube engine and prow pkg/decorate make them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tests.guides.pod import Pod, everywhere, made, variables


def task_run(block: Any) -> list[Pod]:
    """Of a TaskRun with its Task in it."""
    annotations = block["metadata"].get("annotations", {})
    return [_task(block["metadata"]["name"], block["spec"]["taskSpec"], annotations)]


def pipeline_run(block: Any) -> list[Pod]:
    """Of a PipelineRun with its tasks in it: one Pod for each."""
    own = block["metadata"].get("annotations", {})
    asked = {each["pipelineTaskName"]: each for each in block["spec"].get("taskRunSpecs", ())}
    return [
        _task(
            task["name"],
            task["taskSpec"],
            {**own, **asked.get(task["name"], {}).get("metadata", {}).get("annotations", {})},
        )
        for task in block["spec"]["pipelineSpec"]["tasks"]
    ]


def _task(name: str, task: Mapping[str, Any], annotations: Mapping[str, str]) -> Pod:
    steps = []
    for step in task["steps"]:
        command = ["-entrypoint", "/tekton/scripts/script", "--"]
        container = {"name": f"step-{step['name']}", "image": step["image"], "args": command}
        container |= {key: step[key] for key in ("env", "volumeMounts") if key in step}
        steps.append({**copy.deepcopy(container), "command": ["/tekton/bin/entrypoint"]})
    sidecars = [
        {**copy.deepcopy(sidecar), "name": f"sidecar-{sidecar['name']}"}
        for sidecar in task.get("sidecars", ())
    ]
    everywhere(steps, {"name": "tekton-internal-workspace", "mountPath": "/workspace"})
    volumes = [*task.get("volumes", ()), {"name": "tekton-internal-workspace", "emptyDir": {}}]
    spec = {"containers": [*steps, *sidecars], "volumes": copy.deepcopy(volumes)}
    labels = {"tekton.dev/taskRun": name, "app.kubernetes.io/managed-by": "tekton-pipelines"}
    return made(f"{name}-pod", spec, labels=labels, annotations=annotations)


def workflow(block: Any) -> list[Pod]:
    """Of a Workflow: one Pod for each template with a container."""
    return [
        _argo(template, template.get("metadata", {}).get("annotations", {}))
        for template in block["spec"]["templates"]
        if "container" in template
    ]


def _argo(template: Mapping[str, Any], annotations: Mapping[str, str]) -> Pod:
    main = {**copy.deepcopy(template["container"]), "name": "main"}
    containers = [main, *copy.deepcopy(template.get("sidecars", []))]
    for container in containers:
        if mirrored := container.pop("mirrorVolumeMounts", False):
            assert mirrored is True
        command = container.get("command", [])
        container["command"] = ["/var/run/argo/argoexec", "emissary", "--", *command]
    wait = {"name": "wait", "image": "quay.io/argoproj/argoexec:latest", "command": ["argoexec"]}
    containers.append({**wait, "args": ["wait"]})
    everywhere(containers, {"name": "var-run-argo", "mountPath": "/var/run/argo"})
    volumes = [*template.get("volumes", ()), {"name": "var-run-argo", "emptyDir": {}}]
    labels = {"workflows.argoproj.io/workflow": "build-x7k2p"}
    added = {"kubectl.kubernetes.io/default-container": "main", **annotations}
    spec = {"containers": containers, "volumes": copy.deepcopy(volumes)}
    return made("build-x7k2p", spec, labels=labels, annotations=added)


def buildkite(block: Any) -> list[Pod]:
    """Of pipeline.yml: one Pod for each step, by the plugin `kubernetes`."""
    return [_buildkite(step) for step in block["steps"]]


def _buildkite(step: Mapping[str, Any]) -> Pod:
    (plugin,) = (each["kubernetes"] for each in step["plugins"] if "kubernetes" in each)
    spec = copy.deepcopy(plugin["podSpec"])
    start = ["--", "/workspace/buildkite-agent", "kubernetes-bootstrap"]
    for index, container in enumerate(spec["containers"]):
        command = {"name": "BUILDKITE_COMMAND", "value": step["command"]}
        container |= {"name": f"container-{index}", "command": ["/workspace/tini-static"]}
        container |= {"args": list(start), "env": [*container.get("env", ()), command]}
    for name in ("agent", "checkout"):
        agent: Pod = {"name": name, "image": "ghcr.io/buildkite/agent:latest"}
        spec["containers"].append(agent)
    everywhere(spec["containers"], {"name": "workspace", "mountPath": "/workspace"})
    spec["volumes"] = [*spec.get("volumes", ()), {"name": "workspace", "emptyDir": {}}]
    annotations = plugin.get("metadata", {}).get("annotations")
    labels = {"buildkite.com/job-uuid": "019a-1"}
    return made("buildkite-019a-1", spec, labels=labels, annotations=annotations)


def woodpecker(block: Any) -> list[Pod]:
    """Of .woodpecker.yaml: one Pod for each step, and one for each service.

    Woodpecker's names are random; here they are those of the steps.
    """
    return [_woodpecker(step) for step in (*block["steps"], *block.get("services", ()))]


def _woodpecker(step: Mapping[str, Any]) -> Pod:
    container: Pod = {"name": step["name"], "image": step["image"]}
    container["env"] = variables(step.get("environment", {}))
    if "commands" in step:
        container["command"] = ["/bin/sh", "-c", "echo $CI_SCRIPT | base64 -d | /bin/sh -e"]
    if step.get("privileged"):
        container["securityContext"] = {"privileged": True}
    everywhere([container], {"name": "wp-default", "mountPath": "/woodpecker"})
    claim = {"claimName": "wp-default"}
    volumes = [{"name": "wp-default", "persistentVolumeClaim": claim}]
    options = step.get("backend_options", {}).get("kubernetes", {})
    spec = {"containers": [container], "volumes": volumes}
    labels = {"step": step["name"], "woodpecker-ci.org/repo-name": "app"}
    return made(f"wp-{step['name']}", spec, labels=labels, annotations=options.get("annotations"))


def drone(block: Any) -> list[Pod]:
    """Of .drone.yml: one Pod for all steps. Drone's names of containers are random."""
    volumes: list[Pod] = [{"name": "drone-workspace", "emptyDir": {}}]
    volumes.extend(
        {"name": volume["name"], "hostPath": {"path": volume["host"]["path"]}}
        for volume in block.get("volumes", ())
    )
    containers = []
    for step in block["steps"]:
        container: Pod = {"name": step["name"], "image": "drone/placeholder:1"}
        container |= {"command": ["/bin/sh", "-c"], "args": ['echo "$DRONE_SCRIPT" | /bin/sh']}
        container["volumeMounts"] = [
            {"name": each["name"], "mountPath": each["path"]} for each in step.get("volumes", ())
        ]
        containers.append(container)
    everywhere(containers, {"name": "drone-workspace", "mountPath": "/drone/src"})
    annotations = block.get("metadata", {}).get("annotations")
    spec = {"containers": containers, "volumes": volumes}
    labels = {"io.drone": "true", "io.drone.name": "drone-4jqk2v7s"}
    return [made("drone-4jqk2v7s", spec, labels=labels, annotations=annotations)]


def prow(block: Any) -> list[Pod]:
    """Of presubmits: each job, decorated."""
    return [_prow(job) for jobs in block["presubmits"].values() for job in jobs]


def _prow(job: Mapping[str, Any]) -> Pod:
    spec = copy.deepcopy(job["spec"])
    test = spec["containers"][0] | {"name": "test", "command": ["/tools/entrypoint"]}
    options = '{"args":["make","image"],"container_name":"test"}'
    test["env"] = [*test.get("env", ()), {"name": "ENTRYPOINT_OPTIONS", "value": options}]
    test.pop("args", None)
    containers: list[Pod] = [test]
    everywhere(containers, {"name": "code", "mountPath": "/home/prow/go"})
    everywhere(containers, {"name": "tools", "mountPath": "/tools"})
    volumes: list[Pod] = [{"name": name, "emptyDir": {}} for name in ("code", "tools")]
    spec |= {"containers": containers, "volumes": [*spec.get("volumes", ()), *volumes]}
    labels = {"created-by-prow": "true", "prow.k8s.io/type": "presubmit"}
    annotations = {"prow.k8s.io/job": job["name"], **job.get("annotations", {})}
    return made(
        "0b1c2d3e", spec, labels={**labels, **job.get("labels", {})}, annotations=annotations
    )
