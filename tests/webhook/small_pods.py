"""Builders of Pods for tests: small ones by hand, odd ones by hypothesis."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, cast

import msgspec
from hypothesis import strategies as st

from webhook import admission
from webhook.asking import config as configs
from webhook.asking.annotations import read_settings
from webhook.asking.config import Config
from webhook.asking.rules import RULES, Mode, Rule
from webhook.asking.settings import Settings
from webhook.pods.pod import Container, EnvVar, Pod, Volume, VolumeMount

ANNOTATED = RULES["/pods/annotated"]
ANNOTATED_SHARED = RULES["/pods/annotated/shared"]
INJECT_SIDECAR = RULES["/pods/inject/sidecar"]
MIGRATE_SIDECAR = RULES["/pods/migrate/sidecar"]
DEFAULT = Config()


# ---- by hand -------------------------------------------------------------------------------


def container(name: str = "build", **fields: Any) -> Container:
    return cast("Container", {"name": name, "image": "golang", **fields})


def pod(
    *containers: Container,
    annotations: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Pod:
    """A Pod of `containers` (one called build, if none), with further fields of its spec."""
    metadata: dict[str, Any] = {"name": "ci"}
    if annotations is not None:
        metadata["annotations"] = annotations
    if labels is not None:
        metadata["labels"] = labels
    found: Any = {
        "metadata": metadata,
        "spec": {"containers": list(containers) or [container()], **spec},
    }
    return cast("Pod", found)


def asking(mode: str = "sidecar", *containers: Container, **fields: Any) -> Pod:
    """A Pod that asks for `mode`; `annotations` are added to it."""
    annotations = {"dinp.io/inject": mode, **fields.pop("annotations", {})}
    return pod(*containers, annotations=annotations, **fields)


def mount(volume: str = "work", path: str = "/work", **fields: Any) -> VolumeMount:
    return cast("VolumeMount", {"name": volume, "mountPath": path, **fields})


def host_path(name: str, path: str) -> Volume:
    return {"name": name, "hostPath": {"path": path}}


def with_socket(*containers: Container, **fields: Any) -> Pod:
    """A Pod with the volume `socket`; its container build mounts it, if none are given."""
    volumes = [host_path("socket", "/var/run/docker.sock"), *fields.pop("volumes", [])]
    ours = containers or (container(volumeMounts=[mount("socket", "/var/run/docker.sock")]),)
    return pod(*ours, volumes=volumes, **fields)


def env(container_: Container) -> dict[str, str | None]:
    """The values of the variables by name; the last one counts."""
    return {var["name"]: var.get("value") for var in container_.get("env") or ()}


def settings(
    config: Config = DEFAULT, mode: Mode = Mode.SIDECAR, /, **annotations: str
) -> Settings:
    """Settings by annotations, named without dinp.io/ and with _ for -; in any mode those of sidecar's."""
    keys = {f"dinp.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    found = read_settings(pod(annotations=keys), Mode.SIDECAR, config)
    assert isinstance(found, Settings), found
    return msgspec.structs.replace(found, mode=mode)


def dind(found: Pod) -> Container:
    """The injected daemon."""
    return next(c for c in found["spec"].get("initContainers") or () if c["name"] == "dinp-dind")


# ---- by hypothesis -------------------------------------------------------------------------

UNKNOWN = "brandNewField2028"

ODD_TEXT = ("", "x", '~/"$(X)', "$$(HOME) $$", "$(DOCKER_HOST)", "ünï ☃ 𝄞", "two\nlines", "a~1b/c")

odd_text = st.sampled_from(ODD_TEXT) | st.text(max_size=6)

_HOST_PATHS = {
    "socket": "/var/run/docker.sock",
    "socket-2": "/run//docker.sock",
    "socket-3": "/opt/engine/docker.sock",
    "run": "/var/run",
    "root": "/",
    "cli": "/usr/bin/docker",
    "ltdl": "/usr/lib/x86_64-linux-gnu/libltdl.so.7",
    "state": "/var/lib/docker",
    "cri": "/run/containerd/containerd.sock",
}
_VOLUMES: dict[str, dict[str, Any]] = {
    **{name: {"hostPath": {"path": path, "type": ""}} for name, path in _HOST_PATHS.items()},
    "work": {"emptyDir": {}},
    "home": {"persistentVolumeClaim": {"claimName": "home"}, "hostPath": None},
    "files": {"configMap": {"name": "files"}},
    "token": {"projected": {"sources": []}},
    # Of dinp's names: an exported Pod, or one that somebody edited.
    "dinp-run": {"emptyDir": {}},
    "dinp-share-0": {"emptyDir": {}},
}
_COMMON_VOLUMES = ("socket", "socket", "socket", "work", "work", "home", "files", "token")
_MOUNT_PATHS = (
    *("/var/run/docker.sock", "/run/docker.sock", "/host/docker.sock", "/var/run"),
    *("/work", "/work", "/work/", "/builds", "/builds/src", "/home/jenkins", "/etc/app.conf"),
    *("/usr/bin/docker", "/usr/lib/libltdl.so.7", "/var/lib/docker", '/odd ~"$(X)', "relative"),
    *("/home", "/tekton/bin", "/usr/local", "/etc/ssl/certs"),
    *("/var/run/secrets/kubernetes.io/serviceaccount", "/share", "/dinp"),
)
_ENV_VALUES: dict[str, tuple[str | None, ...]] = {
    "DOCKER_HOST": (
        *("", None, "unix:///var/run/docker.sock", "unix:///run//docker.sock"),
        *("unix:///host/docker.sock", "tcp://localhost:2375", "tcp://remote:2375"),
        *("unix://var/run/docker.sock", " unix:/run/docker.sock"),
        *("127.0.0.1:2375", "tcp://engine:2375", "localhost:2376"),
    ),
    "DOCKER_TLS_VERIFY": ("", "0", "1", None),
    "DOCKER_TLS": ("1",),
    "DOCKER_CERT_PATH": ("/certs", "/dinp/certs"),
    "HTTP_PROXY": ("http://proxy:3128", "", "http://$(X):3128"),
    "https_proxy": ("http://proxy:3128",),
    "NO_PROXY": ("", "10.0.0.0/8, localhost", "*", "$(X)", ".svc"),
    "no_proxy": ("a,b", None),
    "TESTCONTAINERS_HOST_OVERRIDE": ("here",),
    "DINP_HOST_IP": ("10.0.0.1",),
    "SOCKET": ("/var/run/docker.sock", "unix:///host/docker.sock"),
    "X": ODD_TEXT,
}
_CONTAINER_NAMES = ("build", "docker", "lint", "db", "istio-proxy", "vault-agent", "dinp-client")
_INIT_NAMES = ("prepare", "clone", "istio-init", "dinp-cli", "dinp-seed-0", "dinp-dind")

_ANNOTATIONS: dict[str, tuple[str, ...]] = {
    "dinp.io/containers": ("build", "build,docker"),
    "dinp.io/injekt": ("true",),
    "kubernetes.io/limit-ranger": ("LimitRanger plugin set: cpu",),
    "kubectl.kubernetes.io/default-container": ("docker", "nobody"),
    "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": ("work", "work,dinp-run", ""),
    "dinp.io/status": ('{"warnings":["x"],"changed":1}', "not JSON", "[]", "null"),
    "example.com/odd": ODD_TEXT,
}
_SIDECAR_ANNOTATIONS: dict[str, tuple[str, ...]] = {
    "dinp.io/transport": ("tcp", "tls", "unix"),
    "dinp.io/rootless": ("true", "false"),
    "dinp.io/image": ("docker:27-dind",),
    "dinp.io/requests": ("cpu=1,memory=1Gi", "cpu=8", "client"),
    "dinp.io/limits": ("cpu=2,memory=4Gi", "ephemeral-storage=5Gi", "client"),
    "dinp.io/storage": ("emptydir:5Gi", "ephemeral:fast:10Gi", "pvc:cache", "volume:work"),
    "dinp.io/cli": ("true", "false"),
    "dinp.io/share": ("/share", "/share:seed", "/share:seed,/srv/x~y", "/opt/tools:seed"),
    "dinp.io/registry-mirrors": ("https://mirror.example.com",),
    "dinp.io/insecure-registries": ("registry:5000,10.0.0.0/8",),
    "dinp.io/daemon-config": ("dockerd",),
    "dinp.io/dockerd-args": (
        *("--mtu=1400", "--label='a=$(X) $$ b' --dns=10.0.0.10", "--bip=10.9.0.1/24"),
    ),
}
_BAD_ANNOTATIONS: dict[str, tuple[str, ...]] = {
    "dinp.io/containers": ("build,dinp-dind", "nobody", ","),
    "dinp.io/transport": ("udp",),
    "dinp.io/rootless": ("yes",),
    "dinp.io/image": ("evil",),
    "dinp.io/requests": ("cpu=-1", "disk=1"),
    "dinp.io/limits": ("memory=lots",),
    "dinp.io/storage": ("nfs", "volume:nowhere"),
    "dinp.io/cli": ("yes",),
    "dinp.io/share": ("/work", "share", "/var/lib/docker", "/usr/local/bin"),
    "dinp.io/registry-mirrors": ("mirror",),
    "dinp.io/insecure-registries": ("http://x",),
    "dinp.io/daemon-config": ("No Name",),
    "dinp.io/dockerd-args": ("--host=tcp://0.0.0.0", "--label='"),
    "dinp.io/status": ('{"warnings":["\\ud800"]}', '{"warnings":[[[]]]}'),
}
_LABELS: dict[str, tuple[str, ...]] = {
    "tekton.dev/taskRun": ("run",),
    "jenkins/label": ("agent",),
    "job.runner.gitlab.com/pod": ("job",),
    "workflows.argoproj.io/workflow": ("build",),
    "dinp.io/mode": ("sidecar", "mine"),
    "app.kubernetes.io/component": ("web",),
}
_BAD_LABELS: dict[str, tuple[str, ...]] = {
    "app.kubernetes.io/component": ("jenkins-controller",),
    "io.drone": ("true",),
    "dinp.io/inject": ("sidecar", "false"),
}
_SPEC: dict[str, tuple[Any, ...]] = {
    "securityContext": (
        *(None, {}, {"fsGroup": 1000}, {"fsGroup": None, "supplementalGroups": [1, 2375]}),
        {UNKNOWN: 1, "supplementalGroups": None},
    ),
    "hostAliases": ([{"ip": "127.0.0.1", "hostnames": ["engine"]}], [{}], None),
    "hostNetwork": (False, None),
    "hostUsers": (True, None),
    "dnsPolicy": ("ClusterFirst", None),
    "os": ({"name": "linux"}, None),
    "resources": ({"limits": {"cpu": "1"}}, {}, None),
    "imagePullSecrets": ([{"name": "pull"}], [{}], None),
    "runtimeClassName": ("sysbox-runc", "kata", None),
    "nodeSelector": ({"kubernetes.io/os": "linux"}, None),
    UNKNOWN: (["anything", {"a/b~c": None}],),
}
_BAD_SPEC: dict[str, tuple[Any, ...]] = {
    "hostNetwork": (True,),
    "hostUsers": (False,),
    "dnsPolicy": ("Default", "ClusterFirstWithHostNet"),
    "os": ({"name": "windows"},),
    "tolerations": ([{"operator": "Exists"}], None),
    "priorityClassName": ("system-node-critical", None),
    "nodeName": ("node-1", None),
    "hostPID": (True, None),
}
_RESOURCES: tuple[Any, ...] = (
    *(None, {}, {"limits": None}, {"limits": {"ephemeral-storage": "1Gi"}}),
    *({"limits": {"cpu": 1, "memory": "1Gi"}}, {"requests": {"cpu": "nonsense"}}),
)

CONFIGS = tuple(
    configs.parse(json.dumps(file).encode())
    for file in (
        {},
        {
            "daemonset": {"tls": False, "ipFamily": "IPv6", "hostNetwork": True},
            "service": {"tls": False},
        },
        {
            "sidecar": {
                "transport": "tls",
                "imagePullSecret": "pull",
                "daemonConfig": "dockerd",
                "proxy": {"HTTP_PROXY": "http://a$(X)b", "NO_PROXY": ".svc"},
            },
            "daemonset": {"hostNetwork": True},
        },
        {
            "sidecar": {
                "transport": "unix",
                "rootless": True,
                "limits": {"cpu": "50m"},
                "storage": "emptydir:9Gi",
            },
            "infrastructureContainers": ["doc*"],
            "neverInject": [{"matchLabels": {"a": "b"}}, {"name": "gitea", "enabled": False}],
            "nodeWatchers": [{"images": ["registry/app"]}],
        },
    )
)

Draw = Callable[[st.SearchStrategy[Any]], Any]


def _few(table: dict[str, tuple[Any, ...]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """A few rows of a table, each with one of its values."""
    row = st.sampled_from(
        [(key, value) for key, values in table.items() for value in values],
    )
    return st.lists(row, max_size=most).map(dict)


_ENV_VARS: list[EnvVar] = [
    *(EnvVar(name=name, value=value) for name, values in _ENV_VALUES.items() for value in values),
    {"name": "DOCKER_HOST"},
    {"name": "DOCKER_HOST", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
    {"name": "NO_PROXY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    {"name": "HTTP_PROXY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    cast("EnvVar", {"name": "X", "value": "1", "valueFrom": None, UNKNOWN: 1}),
]
_env_var: st.SearchStrategy[EnvVar] = st.sampled_from(_ENV_VARS).map(copy.copy)

_usual = st.sampled_from(
    [
        *({"resources": value} for value in _RESOURCES),
        *(
            {"image": value}
            for value in (
                "docker:27-cli",
                "registry/app@sha256:0",
                "mirror/traefik",
                "gitea/gitea",
                None,
            )
        ),
        {"envFrom": [{"configMapRef": {"name": "c"}}]},
        {"envFrom": None},
        {"command": ["cat"], "args": None},
        {"securityContext": {"runAsUser": 1000}},
        {"securityContext": {"privileged": True}, "ports": None},
        {"restartPolicy": "Always"},
        {UNKNOWN: {"deep": [None, 1.5, {"~": "/"}]}},
    ]
)
_own_daemon = st.sampled_from(
    [
        {"image": "docker:27-dind"},
        {"command": ["dockerd"], "tty": True},
        {"command": ["sh", "-c", "echo 'dockerd"], "tty": True},
        {"image": "docker", "securityContext": {"privileged": True}},
        {"image": "engine", "securityContext": {"privileged": True}, "ports": [{"containerPort": 2375}]},
        {"env": [{"name": "ENTRYPOINT_OPTIONS", "value": "{"}]},
    ]
)  # fmt: skip
_mount_options = st.sampled_from(
    [
        *({}, {}, {}, {"readOnly": True}, {"readOnly": None}, {"subPath": "docker.sock"}),
        *({"subPath": "a/b"}, {"subPath": None}, {"subPathExpr": "$(X)"}, {UNKNOWN: True}),
    ]
)


def _mounts(*, odd: bool) -> st.SearchStrategy[list[dict[str, Any]] | None]:
    names = (*_COMMON_VOLUMES, *_VOLUMES) if odd else (*_COMMON_VOLUMES, *_HOST_PATHS)
    paths = _MOUNT_PATHS if odd else _MOUNT_PATHS[:-1]
    one = st.builds(
        lambda name, path, options: {"name": name, "mountPath": path, **options},
        st.sampled_from(names),
        st.sampled_from(paths),
        _mount_options,
    )
    many = st.lists(one, max_size=4, unique_by=lambda mount: cast("str", mount["mountPath"]))
    return many | many | many | st.none()


@st.composite
def _containers(draw: Draw, names: tuple[str, ...], least: int, odd: bool) -> list[dict[str, Any]]:
    found = []
    mounts, options = _mounts(odd=odd), _usual | _own_daemon if odd else _usual
    for name in draw(st.lists(st.sampled_from(names), min_size=least, max_size=4, unique=True)):
        one: dict[str, Any] = {"name": name, "image": "golang"}
        for extra in draw(st.lists(options, max_size=2)):
            one |= extra
        if draw(st.booleans()):
            one["env"] = draw(st.none() | st.lists(_env_var, max_size=5))
        if draw(st.booleans()):
            one["volumeMounts"] = draw(mounts)
        found.append(one)
    return found


@st.composite
def _spec(draw: Draw, odd: bool) -> dict[str, Any]:
    init = draw(_containers(_INIT_NAMES if odd else _INIT_NAMES[:3], 0, odd))
    main = draw(_containers(_CONTAINER_NAMES if odd else _CONTAINER_NAMES[:-1], 1, odd))
    used = {mount["name"] for one in (*init, *main) for mount in one.get("volumeMounts") or ()}
    unused = draw(st.sampled_from([(), (), ("state",), ("socket",), *[("dinp-run",)] * odd]))
    spec: dict[str, Any] = {"containers": main, **draw(_few(_SPEC, 2))}
    if odd:
        spec |= draw(_few(_BAD_SPEC, 1))
    if init or draw(st.booleans()):
        spec["initContainers"] = init or None
    if volumes := [{"name": name, **_VOLUMES[name]} for name in sorted({*used, *unused})]:
        spec["volumes"] = volumes
    return spec


@st.composite
def _metadata(draw: Draw, mode: str | None, odd: bool) -> dict[str, Any] | None:
    annotations = draw(_few(_ANNOTATIONS, 2))
    if mode not in {"daemonset", "service"}:
        annotations |= draw(_few(_SIDECAR_ANNOTATIONS, 3))
    labels = draw(_few(_LABELS, 1))
    if odd:
        annotations |= draw(_few(_BAD_ANNOTATIONS, 1))
        labels |= draw(_few(_BAD_LABELS, 1))
    if mode is not None:
        annotations["dinp.io/inject"] = mode
    found = {"annotations": annotations or None, "labels": labels or None, UNKNOWN: "metadata"}
    owners = [
        {
            "kind": draw(st.sampled_from(("DaemonSet", "ReplicaSet"))) if odd else "Job",
            "name": "o",
            UNKNOWN: 1,
        }
    ]
    more: tuple[dict[str, Any], ...] = (
        {},
        {"name": None},
        {"name": "ci"},
        {"generateName": "ci-"},
        {"ownerReferences": owners},
    )
    return {**found, **draw(st.sampled_from(more))}


Case = tuple[Pod, Rule, Config]


@st.composite
def cases(draw: Draw) -> Case:
    """Well-formed Pods as the API server might send them, with a rule and a config file.

    Three of four are such that nothing is wrong with the request.
    """
    odd = draw(st.sampled_from([False, False, False, True]))
    mode = draw(st.sampled_from([None, "sidecar", "sidecar", "sidecar", "daemonset", "service"]))
    known = list(RULES.values())
    if odd:
        mode = draw(st.sampled_from([mode, "false", "?"]))
    elif mode is None:
        known = [rule for rule in known if rule.mode is not None]
    elif mode != "sidecar":
        known = [rule for rule in known if rule.allows_shared]
    rule = draw(st.sampled_from(known))
    found: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "spec": draw(_spec(odd))}
    by_default = None if rule.mode is None else rule.mode.value
    metadata = draw(_metadata(mode or by_default, odd))
    if mode is None and metadata is not None:
        (metadata["annotations"] or {}).pop("dinp.io/inject", None)
    if mode is not None or draw(st.booleans()):
        found["metadata"] = metadata
    if draw(st.booleans()):
        found[UNKNOWN] = {"status": []}
    return cast("Pod", found), rule, draw(st.sampled_from(CONFIGS))


_FOREIGN: dict[str, tuple[Any, ...]] = {
    "image": ("docker:27-dind", "docker:27-dind-rootless", None),
    "imagePullPolicy": ("Always", "Never"),
    "command": (["evil"], None),
    "args": (["dockerd", "--host=tcp://127.0.0.1:2376"], ["evil"]),
    "restartPolicy": (None,),
    "lifecycle": ({"postStart": {"exec": {"command": ["evil"]}}},),
    "securityContext": ({"privileged": True, "procMount": "Unmasked"}, None),
    "startupProbe": ({"exec": {"command": ["evil"]}}, None),
    "resources": (*_RESOURCES, {"requests": {"cpu": "0.10", "memory": "1Gi"}}),
    "envFrom": ([{"secretRef": {"name": "s"}}],),
    "terminationMessagePath": ("/dev/termination-log", "/dinp/log"),
    UNKNOWN: ({"deep": 1},),
}
_FOREIGN_VARIABLES: list[Any] = [
    *({"name": name, "value": "theirs"} for name in ("LD_PRELOAD", "PATH", "DINP_X", "AWS_REGION")),
    *({"name": name, "value": "theirs"} for name in ("DOCKER_HOST", "HTTP_PROXY", "NO_PROXY")),
    *({"name": name, "value": "theirs"} for name in ("OPENSSL_CONF", "XTABLES_LIBDIR", "HOME")),
    {"name": "DINP_SOCKET_LINKS", "value": "/evil"},
]


@st.composite
def exported(draw: Draw) -> Case:
    """Pods that dinp has seen, with other annotations, another config file, a meddled dinp-dind."""
    pod, rule, config = draw(cases())
    seen: Any = admission.inject(cast("dict[str, Any]", pod), rule, config).pod
    found = json.loads(json.dumps(seen))
    metadata, spec = found.get("metadata") or {}, found["spec"]
    annotations = metadata.get("annotations") or {}
    if metadata.get("labels", {}) and annotations.get("dinp.io/inject", "sidecar") == "sidecar":
        metadata["annotations"] = {**annotations, **draw(_few(_SIDECAR_ANNOTATIONS, 2))}
    dinds = [one for one in spec.get("initContainers") or () if one["name"] == "dinp-dind"]
    volumes = [volume["name"] for volume in spec.get("volumes") or ()]
    for dind in dinds:
        whole = {field: values[0] for field, values in _FOREIGN.items() if field != "image"}
        dind.update(draw(st.just(whole) | _few(_FOREIGN, 4)))
        more = draw(st.lists(st.sampled_from(_FOREIGN_VARIABLES), max_size=3))
        dind["env"] = [*more, *(dind.get("env") or ())]
        paths = {mount["mountPath"] for mount in dind.get("volumeMounts") or ()}
        mounts = draw(_mounts(odd=True)) or []
        dind["volumeMounts"] = [
            *(m for m in mounts if m["mountPath"] not in paths and m["name"] in volumes),
            *(dind.get("volumeMounts") or ()),
        ]
    return cast("Pod", found), rule, draw(st.sampled_from((config, *CONFIGS)))


rules: st.SearchStrategy[Rule] = st.sampled_from(list(RULES.values()))

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.text(max_size=4) | st.sampled_from(["name", "mountPath"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)
