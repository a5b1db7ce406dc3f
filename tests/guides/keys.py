"""The keys of CI systems that the guides use, each table with its source.

`x.*` is all below `x`, where that is Kubernetes' own (the strict schema knows those) or dinp's.
The sources are files of the systems' own repositories, and pages of their documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _keys(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# jenkinsci/helm-charts: charts/jenkins/VALUES.md
_JENKINS_VALUES = _keys("""
    agent agent.annotations agent.annotations.* agent.connectTimeout agent.yamlMergeStrategy
""")
# jenkinsci/helm-charts: charts/jenkins/templates/_helpers.tpl writes these, for the plugin to read
_JENKINS_CASC = _keys("""
    jenkins jenkins.clouds jenkins.clouds[].kubernetes jenkins.clouds[].kubernetes.name
    jenkins.clouds[].kubernetes.templates
    jenkins.clouds[].kubernetes.templates[].name jenkins.clouds[].kubernetes.templates[].label
    jenkins.clouds[].kubernetes.templates[].slaveConnectTimeoutStr
    jenkins.clouds[].kubernetes.templates[].yamlMergeStrategy
    jenkins.clouds[].kubernetes.templates[].annotations
    jenkins.clouds[].kubernetes.templates[].annotations[].key
    jenkins.clouds[].kubernetes.templates[].annotations[].value
    jenkins.clouds[].kubernetes.templates[].containers
    jenkins.clouds[].kubernetes.templates[].containers[].name
    jenkins.clouds[].kubernetes.templates[].containers[].image
    jenkins.clouds[].kubernetes.templates[].containers[].command
    jenkins.clouds[].kubernetes.templates[].containers[].ttyEnabled
""")
# gitlabhq/gitlab-runner: docs/executors/kubernetes/_index.md, "Other config.toml settings"
_GITLAB_RUNNER = _keys("""
    runners runners[].executor runners[].kubernetes runners[].kubernetes.namespace
    runners[].kubernetes.privileged runners[].kubernetes.poll_timeout
    runners[].kubernetes.retry_backoff_max
    runners[].kubernetes.retry_limits runners[].kubernetes.retry_limits.*
    runners[].kubernetes.pod_annotations runners[].kubernetes.pod_annotations.*
    runners[].kubernetes.pod_annotations_overwrite_allowed
    runners[].kubernetes.host_aliases runners[].kubernetes.host_aliases[].ip
    runners[].kubernetes.host_aliases[].hostnames
    runners[].kubernetes.volumes runners[].kubernetes.volumes.host_path
    runners[].kubernetes.volumes.host_path[].name runners[].kubernetes.volumes.host_path[].mount_path
""")
# The same page, "Overwrite pod annotations" and "Using docker:dind"; the rest is GitLab's CI/CD YAML
_GITLAB_JOB = _keys("""
    build build.image build.services build.script build.variables
    build.variables.DOCKER_HOST build.variables.DOCKER_TLS_CERTDIR
    build.variables.DOCKER_TLS_VERIFY build.variables.DOCKER_CERT_PATH
    build.variables.KUBERNETES_POD_ANNOTATIONS_1 build.variables.KUBERNETES_POD_ANNOTATIONS_2
    build.variables.KUBERNETES_POD_ANNOTATIONS_3
""")
# actions/actions-runner-controller: charts/gha-runner-scale-set/values.yaml
_SCALE_SET = _keys("""
    githubConfigUrl githubConfigSecret containerMode containerMode.type
    template template.metadata template.metadata.annotations template.metadata.annotations.*
    template.spec template.spec.*
""")
# actions/actions-runner-controller: charts/actions-runner-controller/crds,
# actions.summerwind.dev_runnerdeployments.yaml
_RUNNER_DEPLOYMENT = _keys("""
    apiVersion kind metadata metadata.* spec spec.template spec.template.metadata
    spec.template.metadata.* spec.template.spec spec.template.spec.repository
    spec.template.spec.dockerEnabled
""")
# actions/runner-container-hooks: examples/extension.yaml
_HOOK = _keys("metadata metadata.annotations metadata.annotations.*")
# tektoncd/pipeline: docs/taskruns.md, docs/tasks.md
_TASK_RUN = _keys("""
    apiVersion kind metadata metadata.* spec spec.taskSpec spec.taskSpec.steps
    spec.taskSpec.steps[].name spec.taskSpec.steps[].image spec.taskSpec.steps[].script
    spec.taskSpec.steps[].env spec.taskSpec.steps[].env[].*
    spec.taskSpec.steps[].volumeMounts spec.taskSpec.steps[].volumeMounts[].*
    spec.taskSpec.sidecars spec.taskSpec.sidecars[].*
    spec.taskSpec.volumes spec.taskSpec.volumes[].*
""")
# tektoncd/pipeline: docs/pipelineruns.md, "Specifying taskRunSpecs"
_PIPELINE_RUN = _keys("""
    apiVersion kind metadata metadata.* spec spec.taskRunSpecs spec.taskRunSpecs[].pipelineTaskName
    spec.taskRunSpecs[].metadata spec.taskRunSpecs[].metadata.annotations
    spec.taskRunSpecs[].metadata.annotations.*
    spec.pipelineSpec spec.pipelineSpec.tasks spec.pipelineSpec.tasks[].name
    spec.pipelineSpec.tasks[].taskSpec spec.pipelineSpec.tasks[].taskSpec.steps
    spec.pipelineSpec.tasks[].taskSpec.steps[].*
""")
# argoproj/argo-workflows: docs/fields.md, examples/sidecar-dind.yaml
_WORKFLOW = _keys("""
    apiVersion kind metadata metadata.* spec spec.entrypoint spec.templates spec.templates[].name
    spec.templates[].metadata spec.templates[].metadata.annotations
    spec.templates[].metadata.annotations.*
    spec.templates[].container spec.templates[].container.*
    spec.templates[].sidecars spec.templates[].sidecars[].*
    spec.templates[].volumes spec.templates[].volumes[].*
""")
# argoproj/argo-workflows: docs/environment-variables.md, "Controller"
_WORKFLOW_CONTROLLER = _keys("spec spec.template spec.template.*")
# kedacore/keda: ScaledJob of v1alpha1, and its page "Azure Pipelines"
_SCALED_JOB = _keys("""
    apiVersion kind metadata metadata.* spec spec.jobTargetRef spec.jobTargetRef.template
    spec.jobTargetRef.template.* spec.triggers spec.triggers[].type spec.triggers[].metadata
    spec.triggers[].metadata.poolName spec.triggers[].metadata.organizationURLFromEnv
    spec.triggers[].metadata.personalAccessTokenFromEnv
""")
# buildkite/agent-stack-k8s: internal/controller/scheduler/scheduler.go, KubernetesPlugin; the
# documentation's page "Default job metadata"
_BUILDKITE = _keys("""
    steps steps[].label steps[].command steps[].agents steps[].agents.queue steps[].plugins
    steps[].plugins[].kubernetes steps[].plugins[].kubernetes.metadata
    steps[].plugins[].kubernetes.metadata.annotations
    steps[].plugins[].kubernetes.metadata.annotations.*
    steps[].plugins[].kubernetes.podSpec steps[].plugins[].kubernetes.podSpec.*
""")
# woodpecker-ci/woodpecker: docs, "Kubernetes backend", "Annotations and labels"
_WOODPECKER = _keys("""
    steps steps[].name steps[].image steps[].environment steps[].environment.DOCKER_HOST
    steps[].commands steps[].backend_options steps[].backend_options.kubernetes
    steps[].backend_options.kubernetes.annotations steps[].backend_options.kubernetes.annotations.*
    services services[].name services[].image services[].privileged
""")
# drone-runners/drone-runner-kube: engine/resource/pipeline.go
_DRONE = _keys("""
    kind type name metadata metadata.annotations metadata.annotations.* steps steps[].name
    steps[].image steps[].commands steps[].volumes steps[].volumes[].name steps[].volumes[].path
    volumes volumes[].name volumes[].host volumes[].host.path
""")
# kubernetes-sigs/prow: pkg/config/jobs.go, JobBase; pkg/apis/prowjobs/v1/types.go, DecorationConfig
_PROW = _keys("""
    presubmits presubmits.example/app presubmits.example/app[].name
    presubmits.example/app[].decorate presubmits.example/app[].decoration_config
    presubmits.example/app[].decoration_config.pod_pending_timeout
    presubmits.example/app[].annotations presubmits.example/app[].annotations.*
    presubmits.example/app[].spec presubmits.example/app[].spec.*
""")

# The field `yaml` of a podTemplate is a Pod.
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "yaml of a podTemplate": _keys("apiVersion kind metadata metadata.* spec spec.*"),
    "values.yaml of the chart jenkins": _JENKINS_VALUES,
    "Configuration as code": _JENKINS_CASC,
    "config.toml": _GITLAB_RUNNER,
    ".gitlab-ci.yml": _GITLAB_JOB,
    "values.yaml of the chart gha-runner-scale-set": _SCALE_SET,
    "A RunnerDeployment": _RUNNER_DEPLOYMENT,
    "The hook's template": _HOOK,
    "A TaskRun": _TASK_RUN,
    "A PipelineRun": _PIPELINE_RUN,
    "A Workflow": _WORKFLOW,
    "Part of the Deployment workflow-controller": _WORKFLOW_CONTROLLER,
    "A ScaledJob": _SCALED_JOB,
    "pipeline.yml": _BUILDKITE,
    ".woodpecker.yaml": _WOODPECKER,
    ".drone.yml": _DRONE,
    "A presubmit": _PROW,
}
