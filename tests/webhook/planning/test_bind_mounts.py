"""bind_mounts: what of the clients' volumes the daemon sees."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking import config as configs
from webhook.asking.config import Config
from webhook.finding.found import find
from webhook.planning import bind_mounts
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, VolumeMount
from webhook.reasons import Reason


def mirror(
    pod: Pod, config: Config = build.DEFAULT
) -> tuple[tuple[VolumeMount, ...], list[Reason]]:
    everyone = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    found, warnings = bind_mounts.mirror(
        pod, everyone, find(pod, judged=False), build.settings(config)
    )
    return found, [warning.reason for warning in warnings]


def with_mount(name: str, *mounts: VolumeMount) -> Container:
    return build.container(name, volumeMounts=list(mounts))


@pytest.mark.parametrize(
    "path",
    [
        *("/work", "/builds/src", "/home/jenkins/agent", "/workspace", "/etc/app.conf"),
        *("/var/run/app", "/opt", "/usr/share/x", "/var/lib/dockerx", "/usr/local/share"),
    ],
)
def test_paths_of_the_work(path: str) -> None:
    """Mirrored at the same path, with nothing but what dockerd needs."""
    mount = build.mount("work", path, mountPropagation="Bidirectional")
    assert ((build.mount("work", path),), []) == mirror(build.pod(with_mount("build", mount)))


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/run", "/var/run", "/tekton", "/tekton/creds", "/tekton/home/"),
        *("/var/lib/docker", "/var/lib/docker/x", "/proc/x", "/dev/kvm", "/dinp", "/dinp/x"),
        *("/var/run/secrets/kubernetes.io/serviceaccount", "/run/secrets", "/usr/local/bin"),
        *(
            "/etc/hosts",
            "/dinp-config",
            "/var/lib/dinp",
            "/var/lib/dinp/x",
            "//var//lib/docker/",
            "relative",
        ),
        *("/etc/ld-musl-x86_64.path", "/etc/ld.so.preload", "/etc/ld.so.conf.d/x.conf"),
        *("/etc/alternatives/iptables", "/etc/containerd/config.toml", "/etc/cdi", "/run/cdi/x"),
    ],
)
def test_paths_of_the_system(path: str) -> None:
    """At, below or above what the daemon's image needs, and what chooses its code: never mirrored."""
    found = mirror(build.pod(with_mount("build", build.mount("work", path))))
    assert ((), []) == found


@pytest.mark.parametrize("path", ["/etc", "/usr", "/usr/local", "/var", "/var/lib"])
def test_paths_of_the_system_that_hold_the_users_files(path: str) -> None:
    """Whoever mounts them may want them in docker run -v, and hears that the daemon lacks them."""
    found = mirror(build.pod(with_mount("build", build.mount("work", path))))
    assert ((), [Reason.SYSTEM_PATH]) == found


@pytest.mark.parametrize("path", ["/home", "/home/rootless", "/home/rootless/x", "/home/jenkins"])
@pytest.mark.parametrize("rootless", [False, True])
def test_home_is_mirrored_unless_it_is_the_rootless_daemons(rootless: bool, path: str) -> None:
    """Only that daemon has its data below /home, in the home of its user."""
    config = configs.parse(f"sidecar: {{rootless: {str(rootless).lower()}}}".encode())
    found, warnings = mirror(build.pod(with_mount("build", build.mount("work", path))), config)
    kept = rootless and path != "/home/jenkins"
    assert (() if kept else (build.mount("work", path),)) == found
    assert ([Reason.SYSTEM_PATH] if kept else []) == warnings


@pytest.mark.parametrize(
    ("mirrored", "keys", "path"),
    [
        (True, "null", "/etc/docker"),
        (True, "[bip]", "/etc/docker/daemon.json"),
        (False, "[]", "/etc/docker"),
        (False, "[]", "/etc//docker/"),
        (False, "[]", "/etc/docker/daemon.json"),
        (False, "[]", "/etc/docker/certs.d/r.example.com"),
        (True, "[]", "/etc/dockerd"),
        (True, "[]", "/work"),
    ],
)
def test_what_configures_the_daemon(mirrored: bool, keys: str, path: str) -> None:
    """Left to the client where the config file lets no Pod configure a daemon, and said."""
    config = configs.parse(f"sidecar: {{daemonConfigKeys: {keys}}}".encode())
    found, warnings = mirror(build.pod(with_mount("build", build.mount("work", path))), config)
    assert mirrored == bool(found)
    assert ([] if mirrored else [Reason.DAEMON_CONFIG_MOUNT]) == warnings


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/ssl", "/etc/ssl/", "/etc/ssl/certs", "/etc/ssl/certs/ca-certificates.crt"),
        *("/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki", "/etc/pki/tls/certs/x.pem"),
    ],
)
def test_what_the_daemon_trusts(path: str) -> None:
    """A company's CAs would hide the public ones from every pull: the way for them is told."""
    found = mirror(build.pod(with_mount("build", build.mount("ca", path))))
    assert ((), [Reason.TRUST]) == found


def test_the_nodes_docker_and_own_volumes_are_not_mirrored() -> None:
    """Judged by container: another one's mount at the same path is a mount like any other."""
    pod = build.with_socket(
        with_mount("build", build.mount("socket", "/s"), build.mount("dinp-run", "/x")),
        with_mount("other", build.mount("work", "/s")),
    )
    assert ((build.mount("work", "/s"),), []) == mirror(pod)


def test_options_that_are_kept() -> None:
    """subPath and readOnly, the path cleaned."""
    mount = build.mount("work", "/src//x/", subPath="a", readOnly=True)
    expected = build.mount("work", "/src/x", subPath="a", readOnly=True)
    assert ((expected,), []) == mirror(build.pod(with_mount("build", mount)))


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ({}, {"recursiveReadOnly": "Enabled"}),
        ({"readOnly": True}, {"readOnly": True, "recursiveReadOnly": None}),
        ({"readOnly": True}, {"readOnly": True, "recursiveReadOnly": "Odd"}),
        *(
            ({"readOnly": True, "recursiveReadOnly": said},) * 2
            for said in ("Enabled", "IfPossible", "Disabled")
        ),
    ],
)
def test_what_is_below_a_read_only_mount(expected: Any, fields: Any) -> None:
    """KEP-3857: kept, where the mount is readOnly, as the API server wants it."""
    mount = build.mount("work", "/work", mountPropagation="None", **fields)
    assert ((build.mount("work", "/work", **expected),), []) == mirror(
        build.pod(with_mount("build", mount))
    )


@pytest.mark.parametrize(
    ("expected", "one", "other"),
    [
        ("Enabled", "Enabled", "Enabled"),
        ("IfPossible", "IfPossible", "Enabled"),
        ("Disabled", "Disabled", "IfPossible"),
        (None, None, "Enabled"),
    ],
)
def test_the_looser_of_two_mounts(expected: str | None, one: Any, other: Any) -> None:
    """As one writer is enough, so is one client that may write below."""
    first, second = (
        build.mount("work", "/work", readOnly=True, **({"recursiveReadOnly": said} if said else {}))
        for said in (one, other)
    )
    for pair in ((first, second), (second, first)):
        pod = build.pod(with_mount("a", pair[0]), with_mount("b", pair[1]))
        (found,), _ = mirror(pod)
        assert expected == found.get("recursiveReadOnly")
        assert found.get("readOnly")


TOKENS: list[Any] = [
    {"sources": [{"serviceAccountToken": {"path": "token"}}]},
    {"sources": [{"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "token"}}]},
    {"sources": [{"podCertificate": {"signerName": "kubernetes.io/kube-apiserver-client-pod"}}]},
]
OTHERS: list[Any] = [
    None,
    {"sources": None},
    {"sources": [{"secret": {}, "serviceAccountToken": None}]},
]


@pytest.mark.parametrize(
    ("mirrored", "projected"), [*((False, it) for it in TOKENS), *((True, it) for it in OTHERS)]
)
def test_tokens_are_not_mirrored(mirrored: bool, projected: Any) -> None:
    """By what the volume holds, not by its name or path; told, but for the standard path."""
    standard = build.mount("v", "/var/run/secrets/kubernetes.io/serviceaccount")
    for mount in (build.mount("v", "/etc/vault"), build.mount("v", "/x", subPath="token")):
        volumes: Any = [{"name": "v", "projected": projected}]
        found, warnings = mirror(build.pod(with_mount("build", standard, mount), volumes=volumes))
        assert mirrored == bool(found)
        assert ([] if mirrored else [Reason.CREDENTIALS]) == warnings


def test_one_writer_is_enough() -> None:
    """Read-only in one client, writable in another: the daemon may write."""
    reader = with_mount("reader", build.mount("work", "/work", readOnly=True))
    writer = with_mount("writer", build.mount("work", "/work/", subPath=""))
    for pod in (build.pod(reader, writer), build.pod(writer, reader)):
        assert ((build.mount("work", "/work"),), []) == mirror(pod)
    assert mirror(build.pod(reader, {**reader, "name": "b"}))[0] == (
        build.mount("work", "/work", readOnly=True),
    )


def test_two_volumes_at_one_path() -> None:
    """The default container's wins, else the first container's; told either way."""
    first = with_mount("first", build.mount("a", "/work"))
    second = with_mount("second", build.mount("b", "/work"))
    prepare = with_mount("prepare", build.mount("c", "/work", readOnly=True))
    pod = build.pod(first, second, initContainers=[prepare])
    assert ((build.mount("a", "/work"),), [Reason.MOUNT_CONFLICT] * 2) == mirror(pod)
    named = {"kubectl.kubernetes.io/default-container": "second"}
    pod = build.pod(first, second, annotations=named)
    assert ((build.mount("b", "/work"),), [Reason.MOUNT_CONFLICT]) == mirror(pod)


def test_two_sub_paths_at_one_path() -> None:
    """One volume is two sources where the subPath differs."""
    first = with_mount("first", build.mount("a", "/work", subPath="x"))
    second = with_mount("second", build.mount("a", "/work", subPath="y"))
    assert [Reason.MOUNT_CONFLICT] == mirror(build.pod(first, second))[1]
    same = with_mount("second", build.mount("a", "/work", subPath="x/"))
    assert [] == mirror(build.pod(first, same))[1]


def test_sub_path_expr_is_the_clients_own() -> None:
    """Its variables are not the daemon's."""
    pod = build.pod(with_mount("build", build.mount("work", "/work", subPathExpr="$(X)")))
    assert ((), [Reason.SUB_PATH_EXPR]) == mirror(pod)


@pytest.mark.parametrize(
    ("mirrored", "init"),
    [
        (False, build.mount("work", "/out")),
        (True, build.mount("work", "/out", readOnly=True)),
        (True, build.mount("other", "/out")),
        # It gets a directory itself, where there is nothing; and cannot write beside it.
        (True, build.mount("work", "/out", subPath="settings.xml/")),
        (True, build.mount("work", "/out", subPath="settings")),
        (True, build.mount("work", "/out", subPath="settings.xml/below")),
        (False, build.mount("work", "/out", subPathExpr="$(NAME)")),
    ],
)
def test_a_file_that_an_init_container_renders(mirrored: bool, init: VolumeMount) -> None:
    """The kubelet would make the missing file a directory, before the init container runs."""
    ours = build.container("dinp-seed-0", volumeMounts=[build.mount("work", "/w")])
    pod = build.pod(
        with_mount("build", build.mount("work", "/app/settings.xml", subPath="settings.xml")),
        initContainers=[ours, with_mount("prepare", init)],
    )
    found, warnings = bind_mounts.mirror(
        pod, pod["spec"]["containers"], find(pod, judged=False), build.settings()
    )
    assert mirrored == bool(found)
    assert ([] if mirrored else [Reason.SUB_PATH_FILE]) == [w.reason for w in warnings]


@pytest.mark.parametrize(
    ("mirrored", "source"),
    [
        *((True, kind) for kind in ("configMap", "secret", "projected", "downwardAPI", "image")),
        *((False, kind) for kind in ("emptyDir", "persistentVolumeClaim", "hostPath", "nfs")),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_no_container_can_write(read_only: bool, mirrored: bool, source: str) -> None:
    """Files that the kubelet wrote, and a read-only source, are there before the daemon is."""
    volumes: Any = [{"name": "work", source: {"readOnly": read_only}}]
    everyone = build.mount("work", "/x"), build.mount("work", "/file", subPath="file")
    pod = build.pod(
        with_mount("build", *everyone),
        initContainers=[with_mount("prepare", *everyone)],
        volumes=volumes,
    )
    found, warnings = mirror(pod)
    assert (mirrored or read_only) == (len(found) == 2)
    assert (mirrored or read_only) == (warnings == [])


@pytest.mark.parametrize(
    ("mirrored", "labels", "init", "path"),
    [
        (True, {"job.runner.gitlab.com/pod": "x"}, "init-permissions", "/cache"),
        (True, {"project.runner.gitlab.com/id": "1"}, "init-build-uid-gid-collector", "/cache"),
        (False, {"job.runner.gitlab.com/pod": "x"}, "init-permissions", "/logs-1-2"),
        (False, {"job.runner.gitlab.com/pod": "x"}, "prepare", "/cache"),
        (False, {}, "init-permissions", "/cache"),
    ],
)
def test_gitlabs_init_containers_write_their_log_alone(
    mirrored: bool, labels: dict[str, str], init: str, path: str
) -> None:
    """Though they get each volume of the job; anybody else's may write what it mounts."""
    pod = build.pod(
        with_mount("job", build.mount("work", "/builds", subPath="builds")),
        labels=labels,
        initContainers=[with_mount(init, build.mount("work", path))],
    )
    found, _ = mirror(pod)
    assert mirrored == ("/builds" in {mount["mountPath"] for mount in found})


@pytest.mark.parametrize(
    ("expected", "labels"),
    [("below a volume of the step's own", {"workflows.argoproj.io/workflow": "w"}), ("whole", {})],
)
def test_the_way_for_a_file_of_an_init_container(expected: str, labels: dict[str, str]) -> None:
    """What works instead, on an Argo step what works there."""
    pod = build.pod(
        with_mount("main", build.mount("work", "/src", subPath="src")),
        labels=labels,
        initContainers=[with_mount("init", build.mount("work", "/all"))],
    )
    (text,) = said(pod, "main")
    assert expected in text


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/file", {"subPath": "file"}),
        ("/file", {"subPathExpr": "$(X)"}),
        ("/usr/local", {"subPath": "file"}),
    ],
)
def test_advice_is_nothing_that_the_pod_has(path: str, fields: Any) -> None:
    """Where the daemon has the whole volume, its path is the way."""
    part = build.mount("work", path, **fields)
    init = [with_mount("init", build.mount("work", "/out"))]
    (alone,) = said(build.pod(with_mount("build", part), initContainers=init), "build")
    both = with_mount("build", part, build.mount("work", "/all"))
    (beside,) = said(build.pod(both, initContainers=init), "build")
    assert "mount the " in alone
    assert "the daemon has the whole volume at /all" in beside
    assert "mount the " not in beside


@pytest.mark.parametrize(
    ("expected", "config"),
    [
        ("in dinp.io/daemon-config gives", "{}"),
        ("private CAs come from ConfigMap company", "{daemonConfig: company}"),
        ("of the config file gives", "{daemonConfigKeys: []}"),
    ],
)
def test_the_way_for_private_cas(expected: str, config: str) -> None:
    """By the annotation, unless the daemon has a ConfigMap already, or no Pod may bring one."""
    pod = build.pod(with_mount("build", build.mount("ca", "/etc/ssl/certs")))
    (text,) = said(pod, "build", configs.parse(f"sidecar: {config}".encode()))
    assert expected in text


def test_what_an_earlier_daemon_has() -> None:
    """It keeps that at its path, so nothing else is said of it."""
    part = build.mount("work", "/src", subPath="src")
    build_ = with_mount("build", part, build.mount("a", "/data"))
    other = with_mount("other", build.mount("b", "/data"))
    init = with_mount("init", build.mount("work", "/out", subPath=""))
    reasons = []
    for mounts in ([], [part], [build.mount("a", "/data")], [build.mount("c", "/data")]):
        dind = build.dind(admitted(build.asking()))
        there = {**dind, "volumeMounts": [*pods.mounts(dind), *mounts]}
        pod = build.pod(build_, other, initContainers=[there, init])
        found = find(pod, judged=False)
        clients = [build_, other]
        warned = bind_mounts.mirror(pod, clients, found, build.settings())[1]
        reasons.append([warning.reason for warning in warned])
    both = [Reason.MOUNT_CONFLICT, Reason.SUB_PATH_FILE]
    assert [both, both[:1], both, both[1:]] == reasons


def admitted(pod: Any) -> Any:
    return admission.inject(pod, build.ANNOTATED, build.DEFAULT).pod


def said(pod: Pod, only: str = "", config: Config = build.DEFAULT) -> list[str]:
    """The warnings' text of a Pod, all of whose containers, or one, are clients."""
    everyone = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    clients = [one for one in everyone if only in {"", one["name"]}]
    found = find(pod, judged=False)
    settings = build.settings(config)
    return [f.text for f in bind_mounts.mirror(pod, clients, found, settings)[1]]


def test_a_warning_says_what_is_so() -> None:
    """A certificate is no token, two parts of one volume are no two volumes, and none is "written"."""
    source: Any = {"podCertificate": {"signerName": "x/y", "keyType": "ED25519"}}
    certificate: Any = {"name": "cert", "projected": {"sources": [source]}}
    one = with_mount("one", build.mount("work", "/a"), build.mount("cert", "/cert"))
    two = with_mount("two", build.mount("work", "/a", subPath="q"))
    prepare = with_mount("prepare", build.mount("other", "/b", subPath="b"))
    whole = with_mount("whole", build.mount("other", "/w"))
    part = with_mount("part", build.mount("other", "/x", subPath="x"))
    pod = build.pod(one, two, part, initContainers=[prepare, whole], volumes=[certificate])
    credentials, conflict, sub_path, prepares = said(pod)
    assert "has a token" not in credentials
    assert "credentials of the Pod (a token or a certificate)" in credentials
    assert "different volumes at" not in conflict
    assert "container two: at /a the daemon has the volume of container one" in conflict
    assert "another one, or another part of it" in conflict
    for text in (sub_path, prepares):
        assert "is written by" not in text
        assert "as an init container can write its subPath" in text
