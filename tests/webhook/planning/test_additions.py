"""daemon: what the Pod gets beside its clients."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook import admission
from webhook.asking import config as configs
from webhook.asking.config import Config
from webhook.asking.rules import RULES, Mode
from webhook.finding.found import find
from webhook.planning import clients
from webhook.planning.additions import Additions, additions, known_volumes
from webhook.pods import pod as pods
from webhook.pods.pod import Pod
from webhook.reasons import Finding, Reason


def decide(
    pod: Pod, mode: Mode = Mode.SIDECAR, config: Config = build.DEFAULT, /, **annotations: str
) -> Additions | Finding:
    settings = build.settings(config, mode, **annotations)
    found = find(pod, judged=False)
    chosen = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    chosen = [one for one in chosen if clients.is_eligible(one["name"], settings)]
    decided = clients.clients(chosen, found, settings)
    return additions(pod, found, decided, settings)


def decided(
    pod: Pod, mode: Mode = Mode.SIDECAR, config: Config = build.DEFAULT, /, **annotations: str
) -> Additions:
    found = decide(pod, mode, config, **annotations)
    assert isinstance(found, Additions)
    return found


def test_a_contradiction_is_a_finding() -> None:
    """Requests over limits, both the Pod's own."""
    found = decide(build.pod(), requests="cpu=2", limits="cpu=1")
    assert isinstance(found, Finding)
    assert found.reason is Reason.REQUEST_OVER_LIMIT


CLI_VOLUMES = [build.host_path("cli", "/usr/bin/docker")]


@pytest.mark.parametrize(
    ("volumes", "init", "group", "pod", "mode"),
    [
        (["dinp-certs"], [], None, build.pod(), Mode.DAEMONSET),
        (["dinp-certs"], [], None, build.pod(), Mode.SERVICE),
        (["dinp-run", "dinp-socket"], [], 2375, build.with_socket(), Mode.DAEMONSET),
        (["dinp-certs"], [], None, build.with_socket(), Mode.SERVICE),
        (
            ["dinp-certs", "dinp-cli", "dinp-no-token"],
            ["dinp-cli"],
            None,
            build.pod(
                build.container(volumeMounts=[build.mount("cli", "/usr/bin/docker")]),
                volumes=CLI_VOLUMES,
            ),
            Mode.DAEMONSET,
        ),
    ],
)
def test_shared_modes(
    volumes: list[str], init: list[str], group: int | None, pod: Pod, mode: Mode
) -> None:
    """Only what a client mounts; the group only where a socket is used."""
    found = decided(pod, mode)
    assert volumes == [volume["name"] for volume in found.volumes]
    assert init == [container["name"] for container in found.init_containers]
    assert group == found.supplemental_group
    assert 5 == len(known_volumes(build.settings(build.DEFAULT, mode)))


@pytest.mark.parametrize(
    ("group", "pod", "annotations"),
    [
        (None, build.pod(), {}),
        (2375, build.with_socket(), {}),
        (2375, build.pod(), {"transport": "unix"}),
        (None, build.with_socket(securityContext={"fsGroup": 1000}), {}),
        (1000, build.with_socket(), {"rootless": "true"}),
        (1000, build.with_socket(securityContext={"fsGroup": 5}), {"rootless": "true"}),
        (None, build.with_socket(securityContext={"fsGroup": 1000}), {"rootless": "true"}),
    ],
)
def test_group_in_sidecar_mode(group: int | None, pod: Pod, annotations: dict[str, str]) -> None:
    """Where a client opens a socket, unless the Pod's fsGroup is the group already."""
    assert group == decided(pod, **annotations).supplemental_group


@pytest.mark.parametrize(
    ("links", "path", "more"),
    [
        (None, "/var/run/docker.sock", []),
        (None, "/run//docker.sock", []),
        ("/host/docker.sock", "/host/docker.sock", []),
        ("/host/docker.sock", "/host//docker.sock", []),
        (None, "/src/docker.sock", [build.mount("src", "/src")]),
        ("/srcs/docker.sock", "/srcs/docker.sock", [build.mount("src", "/src")]),
        *(
            (None, path, [])
            for path in ("/usr/local/bin/dockerd-entrypoint.sh", "/dev/docker.sock")
        ),
        *((None, path, []) for path in ("/var/lib/dinp/daemon.json", "/run/docker/docker.sock")),
        *((None, path, []) for path in ("/etc/ld-musl-x86_64.path", "/etc", "/", "usr/bin/runc")),
    ],
)
def test_links_to_the_socket(links: str | None, path: str, more: list[Any]) -> None:
    """Each migrated path, but for Docker's own, the system's, and those inside a mirrored mount."""
    mounts = [build.mount("socket", path), *more]
    pod = build.with_socket(build.container(volumeMounts=mounts), volumes=[{"name": "src"}])
    (dind,) = decided(pod).init_containers
    assert links == build.env(dind).get("DINP_SOCKET_LINKS")


def proxied(*env: dict[str, Any]) -> Pod:
    other = build.container("other", env=[{"name": "HTTPS_PROXY", "value": "http://other"}])
    return build.pod(build.container(env=list(env)), other)


def test_proxy_of_the_default_container() -> None:
    """Pulls go where the node's went: values, valueFrom too, but no reference to other variables."""
    secret = {"name": "https_proxy", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    pod = proxied(
        {"name": "HTTP_PROXY", "value": "http://proxy"},
        secret,
        {"name": "NO_PROXY", "value": "$(X)"},
        {"name": "ALL_PROXY", "value": "socks"},
    )
    found = decided(pod)
    env = found.init_containers[0].get("env") or []
    assert [{"name": "HTTP_PROXY", "value": "http://proxy"}, secret] == env[1:]
    assert Reason.PROXY_REFERENCE in {warning.reason for warning in found.warnings}


def test_an_empty_proxy_of_the_default_container() -> None:
    """It is none, as an absent one: a second pass would take it for what the first one left."""
    pod = proxied({"name": "HTTP_PROXY", "value": "http://proxy"}, {"name": "NO_PROXY", "value": ""},
                  {"name": "https_proxy"})  # fmt: skip
    assert [{"name": "HTTP_PROXY", "value": "http://proxy"}] == [
        var
        for var in decided(pod).init_containers[0].get("env") or ()
        if "proxy" in var["name"].lower()
    ]


@pytest.mark.parametrize(
    ("refers", "value"),
    [
        *((True, value) for value in ("http://$(HOST)", "$$$(X)", "$()", "$(a$$(b)", "$$(a)$(b)")),
        *((False, value) for value in ("http://u:p$$(x)@h", "$$$$(x)", "$(x", "$x", "a)$(", "$")),
    ],
)
def test_a_reference_is_what_the_kubelet_expands(refers: bool, value: str) -> None:
    """`$$(x)` is a text, and the daemon's kubelet makes the same of it as the client's."""
    variable = {"name": "HTTP_PROXY", "value": value}
    found = decided(proxied(variable))
    assert refers == (Reason.PROXY_REFERENCE in {warning.reason for warning in found.warnings})
    assert refers == (variable not in (found.init_containers[0].get("env") or ()))


def test_proxy_of_the_config_file() -> None:
    """In both spellings and literally, whatever the container has."""
    config = configs.parse(b"sidecar: {proxy: {HTTP_PROXY: 'http://$a', NO_PROXY: .svc}}")
    found = decided(proxied({"name": "HTTPS_PROXY", "value": "x"}), Mode.SIDECAR, config)
    assert build.env(found.init_containers[0]) == {
        "DOCKER_MIN_API_VERSION": "1.24",
        "HTTP_PROXY": "http://$$a",
        "http_proxy": "http://$$a",
        "NO_PROXY": ".svc",
        "no_proxy": ".svc",
    }


def test_proxy_from_a_secret() -> None:
    """By reference, so that no password is in the Pod's spec, nor in what the webhook answers."""
    config = configs.parse(
        b"sidecar: {proxy: {HTTP_PROXY: {secretKeyRef: {name: proxy, key: url}}, HTTPS_PROXY:"
        b" {secretKeyRef: {name: proxy, key: url, optional: true}}}}"
    )
    (dind,) = decided(build.pod(), Mode.SIDECAR, config).init_containers
    sources = {var["name"]: var.get("valueFrom") for var in (dind.get("env") or [])[1:]}
    needed = {"secretKeyRef": {"name": "proxy", "key": "url"}}
    optional = {"secretKeyRef": {"name": "proxy", "key": "url", "optional": True}}
    assert sources == {
        "HTTP_PROXY": needed,
        "http_proxy": needed,
        "HTTPS_PROXY": optional,
        "https_proxy": optional,
    }


def test_shares_and_their_seeds() -> None:
    """Seeds start after the daemon, with the image of the default container."""
    pod = build.pod(
        build.container("first", image="one"),
        build.container("second", image="two"),
        annotations={"kubectl.kubernetes.io/default-container": "second"},
    )
    found = decided(pod, share="/a:seed,/b")
    assert ["dinp-dind", "dinp-seed-0"] == [one["name"] for one in found.init_containers]
    assert found.init_containers[1].get("image") == "two"
    assert {"dinp-share-0", "dinp-share-1"} <= {volume["name"] for volume in found.volumes}
    mounts = found.init_containers[0].get("volumeMounts") or ()
    shared = [it["mountPath"] for it in mounts if it["name"].startswith("dinp-share-")]
    assert ["/a", "/b"] == shared


def test_seeds_of_a_pod_whose_default_is_no_client() -> None:
    """The first client that stays, else one that is an init container."""
    pod = build.pod(build.container("istio-proxy"), build.container("work", image="work"))
    assert decided(pod, share="/a:seed").init_containers[1].get("image") == "work"
    pod = build.pod(
        build.container("istio-proxy"), initContainers=[build.container("prepare", image="p")]
    )
    assert decided(pod, share="/a:seed").init_containers[1].get("image") == "p"


def test_what_is_in_place_stays() -> None:
    """On reinvocation the containers of ours are the same objects, with what is another's to say."""
    first = decided(build.pod(), share="/a:seed")
    policy = "FallbackToLogsOnError"
    dind, seed = ({**one, "terminationMessagePolicy": policy} for one in first.init_containers)
    again = decided(build.pod(initContainers=[dind, seed]), share="/a:seed")
    assert again.init_containers[0] is dind
    assert again.init_containers[1] is seed
    assert not {Reason.QOS_CHANGED, Reason.RENEWED} & {one.reason for one in again.warnings}


def test_a_foreign_seed_is_made_anew() -> None:
    """It runs as its client does, and what dinp says."""
    first = decided(build.pod(), share="/a:seed")
    dind, seed = first.init_containers
    foreign = {**seed, "command": ["evil"], "securityContext": {"privileged": True}}
    again = decided(build.pod(initContainers=[dind, foreign]), share="/a:seed")
    assert seed == again.init_containers[1]


def test_the_copier_that_is_there_is_made_anew() -> None:
    """The CLI's copier of the shared modes, too; it keeps its image, and has no privileges."""
    mounts = [build.mount("cli", "/usr/bin/docker")]
    client = build.container(volumeMounts=mounts)
    (ours,) = decided(build.pod(client, volumes=CLI_VOLUMES), Mode.DAEMONSET).init_containers
    foreign = build.container(
        "dinp-cli", image="mirrored/docker", securityContext={"privileged": True}, command=["evil"]
    )
    pod = build.pod(client, initContainers=[foreign], volumes=CLI_VOLUMES)
    (found,) = decided(pod, Mode.DAEMONSET).init_containers
    assert {**ours, "image": "mirrored/docker"} == found


@pytest.mark.parametrize("path", ["/pods/inject/daemonset", "/pods/inject/service"])
@pytest.mark.parametrize("used", [True, False])
def test_a_copier_of_the_pods_own(used: bool, path: str) -> None:
    """A second pass makes the one anew that a client needs; one that nobody needs is none of dinp's."""
    foreign = build.container(
        "dinp-cli",
        command=["evil"],
        securityContext={"privileged": True},
        volumeMounts=[build.mount("dinp-cli", "/x")],
    )
    mount = {**build.mount("dinp-cli", "/usr/bin/docker"), "subPath": "docker"}
    client = build.container(volumeMounts=[mount] if used else [])
    volumes = [{"name": "dinp-cli", "emptyDir": {}}]
    pod: Any = build.pod(client, initContainers=[foreign], volumes=volumes)
    new: Any = admission.inject(pod, RULES[path], build.DEFAULT).pod
    found = [one for one in new["spec"].get("initContainers") or () if one["name"] == "dinp-cli"]
    assert used == bool(found)
    assert all(one["securityContext"]["capabilities"] == {"drop": ["ALL"]} for one in found)
    assert used == any(one["name"] == "dinp-cli" for one in new["spec"]["volumes"])
    assert [] == admission.inject(new, RULES[path], build.DEFAULT).operations


def exported(**annotations: str) -> Pod:
    (dind,) = decided(build.pod(), **annotations).init_containers
    return build.pod(initContainers=[dind])


@pytest.mark.parametrize(
    ("told", "there", "asked"),
    [
        (False, "docker:28-dind", "docker:28-dind"),
        (True, "docker:28-dind", "docker:29-dind"),
        (True, "docker:28-dind", "docker:28.0-dind"),
    ],
)
def test_another_image_is_asked_for(told: bool, there: str, asked: str) -> None:
    """The one that is there is kept, which is told unless it is the same elsewhere."""
    found = decided(exported(image=there), image=asked)
    assert there == found.init_containers[0].get("image")
    assert told == (Reason.IMAGE_IN_PLACE in {one.reason for one in found.warnings})


def test_the_same_image_elsewhere() -> None:
    """A rewritten registry and a digest are no news."""
    config = configs.parse(b"sidecar: {allowedImages: ['docker:*-dind', 'mirror/docker:*-dind']}")
    pod = exported(image="docker:28-dind")
    dind = build.dind(pod)
    image = f"mirror/docker:28-dind@sha256:{'0123456789abcdef' * 4}"
    pod["spec"]["initContainers"] = [{**dind, "image": image}]
    found = decided(pod, Mode.SIDECAR, config, image="docker:28-dind")
    assert found.warnings == ()
    assert image == found.init_containers[0].get("image")


@pytest.mark.parametrize(
    ("cpu", "there", "annotations", "pod_level"),
    [
        ("3", "3", {}, None),
        ("3", "3", {"transport": "unix"}, None),
        ("1", "3", {"requests": "cpu=1"}, None),
        ("100m", "3", {"limits": "cpu=5"}, None),
        ("100m", None, {}, None),
        ("3", "3", {"requests": "cpu=1"}, {"limits": {"cpu": "4"}}),
        (None, None, {}, {"limits": {"cpu": "4"}}),
    ],
)
def test_resources_in_place(
    cpu: str | None, there: str | None, annotations: dict[str, str], pod_level: Any
) -> None:
    """Others' stay, as of LimitRanger, VPA or a policy, unless the Pod's annotations ask."""
    pod = exported()
    dind = build.dind(pod)
    requests: Any = {"resources": {"requests": {"cpu": there}} if there else {}}
    pod["spec"]["initContainers"] = [{**dind, **requests}]
    pod["spec"]["resources"] = pod_level
    found = decided(pod, **annotations).init_containers[0].get("resources") or {}
    assert cpu == (found.get("requests") or {}).get("cpu")


@pytest.mark.parametrize("value", ["localhost", "a,localhost", "localhost,a", "a", "", None])
def test_no_proxy_of_a_second_pass(value: str | None) -> None:
    """What the first pass has added for the client is not the daemon's."""
    env = [{"name": "HTTP_PROXY", "value": "http://proxy"}, {"name": "no_proxy", "value": value}]
    client = build.container(env=env if value is not None else env[:1])
    pod: Any = admission.inject(build.asking("sidecar", client), build.ANNOTATED, build.DEFAULT).pod  # type: ignore[arg-type]  # a Pod is a dict
    assert "localhost" in (build.env(pod["spec"]["containers"][0])["no_proxy"] or "")
    first = build.env(build.dind(pod))
    again = build.env(decided(build.pod(*pod["spec"]["containers"])).init_containers[0])
    for name in ("no_proxy", "NO_PROXY"):
        assert (first.get(name) or None) == again.get(name)


def test_a_seed_beside_a_dind_of_before() -> None:
    """Whatever a container of ours mounts is there, also where the dinp-dind in place has a token."""
    dind = {
        "name": "dinp-dind",
        "image": "docker:28-dind",
        "restartPolicy": "Always",
        "volumeMounts": [build.mount("dinp-run", "/dinp"), build.mount("dinp-storage", "/data")],
    }
    seeded = decided(build.pod(initContainers=[dind]), share="/cache:seed")
    mounted = {
        mount["name"]
        for container in seeded.init_containers
        for mount in container.get("volumeMounts") or ()
    }
    assert "dinp-no-token" in mounted
    assert mounted <= {volume["name"] for volume in seeded.volumes}


@pytest.mark.parametrize(("kept", "keys"), [(True, "null"), (True, "[bip]"), (False, "[]")])
def test_a_dind_of_before_is_not_configured_either(kept: bool, keys: str) -> None:
    """A mount at Docker's configuration goes from it where the config file lets no Pod configure."""
    config = configs.parse(f"sidecar: {{daemonConfigKeys: {keys}}}".encode())
    pod = exported()
    dind = build.dind(pod)
    mine = build.mount("mine", "/etc/docker")
    pod["spec"]["initContainers"] = [{**dind, "volumeMounts": [*pods.mounts(dind), mine]}]
    found = decided(pod, Mode.SIDECAR, config)
    paths = {mount["mountPath"] for mount in pods.mounts(found.init_containers[0])}
    assert kept == ("/etc/docker" in paths)
    assert kept != (Reason.RENEWED in {one.reason for one in found.warnings})
