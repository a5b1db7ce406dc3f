"""sidecar: the dind container."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.webhook import small_pods as build
from webhook.asking import config as configs
from webhook.asking.config import Config
from webhook.planning import sidecar
from webhook.pods.pod import Container, Pod
from webhook.reasons import Finding, Reason

TLS_FLAGS = [
    "--host=tcp://127.0.0.1:2376",
    "--tlsverify",
    "--tlscacert=/dinp/certs/ca.pem",
    "--tlscert=/dinp/server/cert.pem",
    "--tlskey=/dinp/server/key.pem",
]


def fresh(
    pod: Pod | None = None, config: Config = build.DEFAULT, /, **annotations: str
) -> Container:
    settings = build.settings(config, **annotations)
    return sidecar.container(
        pod or build.pod(),
        settings,
        resources={"requests": {"cpu": "1"}},
        mirrored=[build.mount("work", "/work")],
        proxy=[{"name": "HTTP_PROXY", "value": "p"}],
    )


@pytest.mark.parametrize(
    ("listener", "transport"),
    [
        (["--host=tcp://127.0.0.1:2375", "--tls=false"], "tcp"),
        (TLS_FLAGS, "tls"),
        ([], "unix"),
    ],
)
def test_listeners(listener: list[str], transport: str) -> None:
    """The two sockets always, TCP on loopback alone and with an explicit --tls."""
    args = fresh(transport=transport).get("args") or []
    assert [
        "dockerd",
        "--host=unix:///dinp/docker.sock",
        "--host=unix:///var/run/docker.sock",
        *listener,
        "--group=2375",
        "--bip=198.18.0.1/24",
        "--default-address-pool=base=198.19.0.0/16,size=24",
    ] == args
    assert all("127.0.0.1" in arg for arg in args if arg.startswith("--host=tcp"))


def test_flags_that_are_asked_for() -> None:
    """Mirrors and registries, then the Pod's own flags, which replace dinp's and come literally."""
    args = (
        fresh(
            registry_mirrors="https://m",
            insecure_registries="r:5000",
            dockerd_args="--bip=10.9.0.1/24 --default-address-pool=base=10.8.0.0/16,size=24 --label=$(X)",
        ).get("args")
        or []
    )
    assert args[6:] == [
        "--registry-mirror=https://m",
        "--insecure-registry=r:5000",
        "--bip=10.9.0.1/24",
        "--default-address-pool=base=10.8.0.0/16,size=24",
        "--label=$$(X)",
    ]


@pytest.mark.parametrize(
    ("group", "flag", "fs_group", "rootless"),
    [
        (2375, "--group=2375", None, "false"),
        (1000, "--group=1000", 1000, "false"),
        (0, "--group=0", 0, "false"),
        (1000, "--group=0", None, "true"),
        (1000, "--group=0", 77, "true"),
    ],
)
def test_group_of_the_socket(group: int, flag: str, fs_group: int | None, rootless: str) -> None:
    """The Pod's fsGroup if it has one; rootless, gid 0 inside is 1000 outside."""
    pod = build.pod(securityContext={"fsGroup": fs_group})
    settings = build.settings(rootless=rootless)
    assert group == sidecar.socket_group(pod, settings)
    assert flag in (fresh(pod, rootless=rootless).get("args") or [])


@pytest.mark.parametrize(
    ("directory", "rootless"),
    [(None, "false"), ("/home/rootless/.local/share/docker/data", "true")],
)
def test_data_directory(directory: str | None, rootless: str) -> None:
    """Rootless, one of dockerd's own in the volume, which belongs to root."""
    args = fresh(rootless=rootless).get("args") or []
    found = [arg.partition("=")[2] for arg in args if arg.startswith("--data-root=")]
    assert found == ([] if directory is None else [directory])


def test_a_native_sidecar() -> None:
    """KEP-753, with the settings of the config file, and a probe that talks to the daemon."""
    config = configs.parse(b"sidecar: {imagePullPolicy: Always, startupSeconds: 90}")
    container: Any = fresh(None, config)
    assert container["name"] == "dinp-dind"
    assert container["restartPolicy"] == "Always"
    assert container["imagePullPolicy"] == "Always"
    assert container["command"][:2] == ["sh", "-c"]
    assert container["command"][2] == sidecar.SCRIPT
    assert container["resources"] == {"requests": {"cpu": "1"}}
    assert container["startupProbe"] == {
        "exec": {"command": ["docker", "--host=unix:///dinp/docker.sock", "version"]},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 90,
    }
    assert not {"livenessProbe", "readinessProbe"} & container.keys()


def test_no_resources_are_none() -> None:
    """Under Pod-level resources the container has no field for them."""
    container = sidecar.container(
        build.pod(), build.settings(), resources=None, mirrored=(), proxy=()
    )
    assert "resources" not in container


@pytest.mark.parametrize(
    ("uid", "privileged", "runtime", "rootless"),
    [
        (0, True, None, "false"),
        (0, True, "gvisor", "false"),
        (0, False, "sysbox-runc", "false"),
        (1000, True, None, "true"),
    ],
)
def test_security_context(uid: int, privileged: bool, runtime: str | None, rootless: str) -> None:
    """Everything that a Pod-level securityContext could bring is said.

    But for the profiles without privileges: Pod Security `baseline` takes none that is Unconfined.
    """
    context = fresh(build.pod(runtimeClassName=runtime), rootless=rootless).get("securityContext")
    unconfined = {"type": "Unconfined"}
    profiles = {"seccompProfile": unconfined, "appArmorProfile": unconfined}
    assert context == {
        "privileged": privileged,
        "runAsUser": uid,
        "runAsGroup": uid,
        "runAsNonRoot": rootless == "true",
        "readOnlyRootFilesystem": False,
        **(profiles if privileged else {}),
    }


@pytest.mark.parametrize(
    ("expected", "annotations"),
    [
        ({}, {}),
        ({"DINP_DAEMON_CONFIG": "/dinp-config"}, {"daemon_config": "dockerd"}),
        (
            {"DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS": "-p 127.0.0.1:2375:2375/tcp"},
            {"rootless": "true"},
        ),
        (
            {"DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS": "-p 127.0.0.1:2376:2376/tcp"},
            {"rootless": "true", "transport": "tls"},
        ),
        ({}, {"rootless": "true", "transport": "unix"}),
        ({"DINP_CLI_PLUGINS": "docker-buildx docker-compose"}, {"cli": "true"}),
        ({"DINP_DATA_OUTLIVES_POD": "true"}, {"storage": "pvc:a"}),
    ],
)
def test_environment(expected: dict[str, str], annotations: dict[str, str]) -> None:
    """Old clients are served; never a variable of the clients'."""
    found = build.env(fresh(**annotations))
    assert {"DOCKER_MIN_API_VERSION": "1.24", **expected, "HTTP_PROXY": "p"} == found


def test_authorities_of_the_config_file() -> None:
    """dind.sh gets them as they are, whatever the kubelet makes of dollars in variables."""
    config = msgspec.structs.replace(Config().sidecar, certificate_authorities="$(PATH)\nb")
    found = build.env(fresh(None, Config(config))).get("DINP_CERTIFICATE_AUTHORITIES")
    assert found == "$$(PATH)\nb"


@pytest.mark.parametrize(("expected", "storage"), [(True, "pvc:a"), (False, "emptydir")])
def test_containers_of_a_former_pod_stay_down(expected: bool, storage: str) -> None:
    """Those in data that outlive the Pod, with `restart: always`."""
    assert expected == ("--restart=false" in (fresh(storage=storage).get("args") or ()))


@pytest.mark.parametrize(
    ("expected", "keys"), [(None, "null"), ("bip mtu", "[bip, mtu]"), ("", "[]")]
)
def test_keys_of_daemon_json(expected: str | None, keys: str) -> None:
    """dind.sh learns which are allowed, of Pods without the annotation, too: none is not any."""
    config = configs.parse(f"sidecar: {{daemonConfigKeys: {keys}}}".encode())
    assert expected == build.env(fresh(None, config)).get("DINP_DAEMON_CONFIG_KEYS")


@pytest.mark.parametrize(
    ("paths", "volumes", "annotations"),
    [
        (["/dinp", "/var/lib/docker"], ["dinp-run", "dinp-storage"], {}),
        (
            ["/dinp", "/home/rootless/.local/share/docker"],
            ["dinp-run", "dinp-storage"],
            {"rootless": "true"},
        ),
        (
            ["/dinp", "/var/lib/docker", "/dinp/certs"],
            ["dinp-run", "dinp-storage", "dinp-certs"],
            {"transport": "tls"},
        ),
        (
            ["/dinp", "/var/lib/docker", "/dinp-config"],
            ["dinp-run", "dinp-storage", "dinp-config"],
            {"daemon_config": "dockerd"},
        ),
    ],
)
def test_volumes_and_their_mounts(
    paths: list[str], volumes: list[str], annotations: dict[str, str]
) -> None:
    """Each volume has its mount, an empty one instead of a token; what the clients have comes after."""
    mounts = fresh(**annotations).get("volumeMounts") or []
    token = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert [*paths, token, "/work"] == [mount["mountPath"] for mount in mounts]
    found = list(sidecar.volumes(build.settings(**annotations)))
    assert [*volumes, "dinp-no-token"] == [volume["name"] for volume in found]
    assert [*volumes, "dinp-no-token"] == [mount["name"] for mount in mounts[:-1]]


def test_sources_of_the_volumes() -> None:
    """Certificates in memory; the ConfigMap of an annotation must be there, a default may not."""
    _, storage, certs, config_map, _ = sidecar.volumes(
        build.settings(transport="tls", daemon_config="mine", storage="pvc:cache")
    )
    assert storage.get("persistentVolumeClaim") == {"claimName": "cache"}
    assert certs.get("emptyDir") == {"medium": "Memory"}
    assert config_map.get("configMap") == {"name": "mine", "optional": False}
    file = configs.parse(b"sidecar: {daemonConfig: theirs}")
    *_, config_map, _ = sidecar.volumes(build.settings(file))
    assert config_map.get("configMap") == {"name": "theirs", "optional": True}


MIRROR = "sidecar: {allowedImages: ['docker:*-dind*', 'mirror/*:*'], image: 'own/docker:1'}"
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("expected", "there", "annotations"),
    [
        ("docker:27-dind", "docker:27-dind", {}),
        ("docker:27-dind", "docker:27-dind", {"image": "docker:28-dind"}),
        (f"mirror/docker:27@{DIGEST}", f"mirror/docker:27@{DIGEST}", {}),
        (f"own/docker:1@{DIGEST}", f"own/docker:1@{DIGEST}", {"image": "docker:28-dind"}),
        ("own/docker:1", None, {}),
        ("docker:29.7.2-dind-rootless", "docker:27-dind", {"rootless": "true"}),
        ("own/docker:1", "docker:27-dind-rootless", {}),
        ("docker:27-dind-rootless", "docker:27-dind-rootless", {"rootless": "true"}),
    ],
)
def test_image_in_place(expected: str, there: str | None, annotations: dict[str, str]) -> None:
    """An allowed one stays, in whatever registry and with its digest, unless it would not start."""
    config = configs.parse(MIRROR.encode())
    existing = build.container("dinp-dind", image=there)
    settings = build.settings(config, **annotations)
    assert expected == sidecar.image_in_place(existing, settings)


def test_rootless_image_of_another_name() -> None:
    """A dinp-dind that was rootless shows it by where its data is."""
    config = configs.parse(MIRROR.encode())
    data = build.mount("dinp-storage", "/home/rootless/.local/share/docker")
    existing = build.container("dinp-dind", image="mirror/small:27", volumeMounts=[data])
    settings = build.settings(config, rootless="true")
    assert sidecar.image_in_place(existing, settings) == "mirror/small:27"


@pytest.mark.parametrize(
    "there", ["evil", "docker:27-cli", f"docker@{DIGEST}", "elsewhere/docker:1"]
)
def test_image_in_place_that_is_not_allowed(there: str) -> None:
    """The sentence says which is allowed, and by which key."""
    config = configs.parse(MIRROR.encode())
    existing = build.container("dinp-dind", image=there)
    found = sidecar.image_in_place(existing, build.settings(config))
    assert isinstance(found, Finding)
    assert found.reason is Reason.DIND_IMAGE_NOT_ALLOWED
    for part in (repr(there), "allowedImages", "docker:*-dind*, mirror/*:*"):
        assert part in found.text


def test_links() -> None:
    """Each migrated path is one line, literally; none, no variable."""
    there = fresh()
    assert sidecar.with_links(there, []) is there
    linked = sidecar.with_links(there, ["/a", "/b$(X)"])
    assert build.env(linked)["DINP_SOCKET_LINKS"] == "/a\n/b$$(X)"
    assert sidecar.with_links(linked, ["/a", "/b$(X)"]) is linked
