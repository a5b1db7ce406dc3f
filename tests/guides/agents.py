"""Agents that wait for jobs, and Pods of one job: Jenkins, GitLab, GitHub.

Each function takes the parsed block of a guide and gives the Pods, as kubernetes-plugin's
PodTemplateBuilder, gitlab-runner's executors/kubernetes, and the charts and controllers of
actions-runner-controller make them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tests.guides.pod import Pod, everywhere, made, variables

# ---- Jenkins ---------------------------------------------------------------------------------


def jenkins_yaml(block: Any) -> list[Pod]:
    """Of the field `yaml` of a podTemplate: jnlp and the workspace are added."""
    spec = copy.deepcopy(block["spec"])
    containers = spec["containers"]
    if all(container["name"] != "jnlp" for container in containers):
        containers.append({"name": "jnlp", "image": "jenkins/inbound-agent:latest"})
    everywhere(containers, {"name": "workspace-volume", "mountPath": "/home/jenkins/agent"})
    spec.setdefault("volumes", []).append({"name": "workspace-volume", "emptyDir": {}})
    annotations = (block.get("metadata") or {}).get("annotations")
    labels = {"jenkins": "slave", "jenkins/label": "app-1-x7k2p"}
    return [made("app-1-x7k2p-9wq4z", spec, labels=labels, annotations=annotations)]


def jenkins_values(block: Any) -> list[Pod]:
    """Of the chart jenkins: its `agent` is one podTemplate, whose volumes go to every container."""
    agent = block["agent"]
    jnlp: Pod = {"name": "jnlp", "image": "jenkins/inbound-agent:latest", "volumeMounts": []}
    volumes = []
    for index, volume in enumerate(agent.get("volumes", ())):
        assert volume["type"] == "HostPath"
        name = f"volume-{index}"
        jnlp["volumeMounts"].append({"name": name, "mountPath": volume["mountPath"]})
        volumes.append({"name": name, "hostPath": {"path": volume["hostPath"]}})
    template: Pod = {"spec": {"containers": [jnlp], "volumes": volumes}}
    return jenkins_yaml({**template, "metadata": {"annotations": agent.get("annotations")}})


def jenkins_casc(block: Any) -> list[Pod]:
    """Of configuration as code: each template of each cloud."""
    pods = []
    for cloud in block["jenkins"]["clouds"]:
        for template in cloud["kubernetes"]["templates"]:
            containers = [
                {"name": each["name"], "image": each["image"]} for each in template["containers"]
            ]
            annotations = {each["key"]: each["value"] for each in template["annotations"]}
            spec = {"spec": {"containers": containers}}
            pods += jenkins_yaml({**spec, "metadata": {"annotations": annotations}})
    return pods


# ---- GitLab ----------------------------------------------------------------------------------


def gitlab_runner(block: Any) -> list[Pod]:
    """Of config.toml: the Pod of a job that says nothing of Docker, one of each runner."""
    return [_gitlab(runner["kubernetes"], {}) for runner in block["runners"]]


def gitlab_job(block: Any) -> list[Pod]:
    """Of .gitlab-ci.yml: the Pod of each job, by a runner that allows what the job asks."""
    jobs = {name: job for name, job in block.items() if "script" in job}
    return [_gitlab({"privileged": True}, job) for job in jobs.values()]


def _gitlab(runner: Mapping[str, Any], job: Mapping[str, Any]) -> Pod:
    given = dict(job.get("variables", {}))
    annotations = {"job.runner.gitlab.com/id": "4711", **runner.get("pod_annotations", {})}
    for name in [name for name in given if name.startswith("KUBERNETES_POD_ANNOTATIONS_")]:
        key, _, value = given[name].partition("=")
        annotations[key] = value
    shell = {"stdin": True, "command": ["sh", "-c", "exec sh"], "env": variables(given)}
    containers: list[Pod] = [
        {"name": "build", "image": job.get("image", "docker:28-cli"), **copy.deepcopy(shell)},
        {"name": "helper", "image": "gitlab/gitlab-runner-helper:x86_64-latest", **shell},
    ]
    aliases = [
        {"ip": each["ip"], "hostnames": each["hostnames"]}
        for each in runner.get("host_aliases", ())
    ]
    for index, service in enumerate(job.get("services", ())):
        privileged = {"privileged": bool(runner.get("privileged"))}
        container = {"name": f"svc-{index}", "image": service, "securityContext": privileged}
        containers.append({**container, "env": variables(given)})
        aliases.append({"ip": "127.0.0.1", "hostnames": [service.partition(":")[0]]})
    everywhere(containers, {"name": "repo", "mountPath": "/builds"})
    volumes: list[Pod] = [{"name": "repo", "emptyDir": {}}]
    for host_path in runner.get("volumes", {}).get("host_path", ()):
        mount = {"name": host_path["name"], "mountPath": host_path["mount_path"]}
        everywhere(containers, mount)
        path = host_path.get("host_path", host_path["mount_path"])
        volumes.append({"name": host_path["name"], "hostPath": {"path": path}})
    spec: Pod = {"containers": containers, "volumes": volumes}
    spec |= {"hostAliases": aliases} if aliases else {}
    labels = {"pod": "runner-t3xqk7b2m-project-12", "project.runner.gitlab.com/id": "12"}
    return made("runner-t3xqk7b2m-project-12", spec, labels=labels, annotations=annotations)


# ---- GitHub ----------------------------------------------------------------------------------


def scale_set(block: Any) -> list[Pod]:
    """Of the chart gha-runner-scale-set, also with `containerMode: {type: dind}`."""
    template = copy.deepcopy(block.get("template") or {"spec": {"containers": []}})
    spec = template["spec"]
    if not spec["containers"]:
        image = "ghcr.io/actions/actions-runner:latest"
        spec["containers"] = [
            {"name": "runner", "image": image, "command": ["/home/runner/run.sh"]}
        ]
    if block.get("containerMode", {}).get("type") == "dind":
        _arc_dind(spec)
    labels = {"app.kubernetes.io/component": "runner", "actions.github.com/scale-set-name": "x"}
    annotations = (template.get("metadata") or {}).get("annotations")
    return [made("linux-x64-runner-5vkcn", spec, labels=labels, annotations=annotations)]


def _arc_dind(spec: Pod) -> None:
    dind = {
        "name": "dind",
        "image": "docker:dind",
        "args": ["dockerd", "--host=unix:///var/run/docker.sock", "--group=123"],
        "securityContext": {"privileged": True},
        "restartPolicy": "Always",
        "volumeMounts": [{"name": "dind-sock", "mountPath": "/var/run"}],
    }
    spec["initContainers"] = [*spec.get("initContainers", ()), dind]
    runner = spec["containers"][0]
    host = {"name": "DOCKER_HOST", "value": "unix:///var/run/docker.sock"}
    runner["env"] = [*runner.get("env", ()), host]
    everywhere([runner], {"name": "dind-sock", "mountPath": "/var/run"})
    spec["volumes"] = [*spec.get("volumes", ()), {"name": "dind-sock", "emptyDir": {}}]


def runner_deployment(block: Any) -> list[Pod]:
    """Of the older controller's RunnerDeployment: a dind container unless `dockerEnabled: false`."""
    template = block["spec"]["template"]
    runner: Pod = {"name": "runner", "image": "summerwind/actions-runner:latest"}
    everywhere([runner], {"name": "runner", "mountPath": "/runner"})
    containers = [runner]
    volumes: list[Pod] = [{"name": "runner", "emptyDir": {}}]
    if template["spec"].get("dockerEnabled", True):
        runner["env"] = variables({"DOCKER_HOST": "unix:///run/docker.sock"})
        args = ["dockerd", "--host=unix:///run/docker.sock", "--group=123"]
        dind: Pod = {"name": "docker", "image": "docker:dind", "args": args}
        containers.append({**dind, "securityContext": {"privileged": True}})
        everywhere(containers, {"name": "var-run", "mountPath": "/run"})
        volumes.append({"name": "var-run", "emptyDir": {"medium": "Memory", "sizeLimit": "1M"}})
    annotations = (template.get("metadata") or {}).get("annotations")
    spec = {"containers": containers, "volumes": volumes}
    return [made("app-runner-x7k2p", spec, annotations=annotations)]


def hook_job(block: Any) -> list[Pod]:
    """Of the template of runner-container-hooks: the Pod of a job in container mode kubernetes."""
    container: Pod = {"name": "job", "image": "docker:28-cli", "command": ["tail"]}
    container["args"] = ["-f", "/dev/null"]
    everywhere([container], {"name": "work", "mountPath": "/__w"})
    claim = {"name": "work", "persistentVolumeClaim": {"claimName": "linux-x64-work"}}
    annotations = block["metadata"]["annotations"]
    spec = {"containers": [container], "volumes": [claim]}
    return [made("linux-x64-workflow", spec, annotations=annotations)]
