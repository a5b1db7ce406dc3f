"""annotations: the one table, and what a Pod asks over what the config file says."""

from __future__ import annotations

from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.asking import config as configs
from webhook.asking.annotations import TABLE, read_settings, unknown_annotations
from webhook.asking.config import Config
from webhook.asking.rules import Mode
from webhook.asking.settings import DaemonConfig, Settings, Share
from webhook.asking.storage import Storage
from webhook.pods import bounds
from webhook.reasons import Finding, Reason


def read(key: str, value: str, mode: Mode = Mode.SIDECAR) -> Settings | Finding:
    return read_settings(build.pod(annotations={f"dinp.io/{key}": value}), mode, build.DEFAULT)


@pytest.mark.parametrize(
    ("expected", "field", "key", "value"),
    [
        (("a", "b"), "containers", "containers", " a , b,"),
        ("tls", "transport", "transport", "tls"),
        ("unix", "transport", "transport", "unix"),
        (True, "rootless", "rootless", "true"),
        (False, "rootless", "rootless", "false"),
        ("docker:27-dind", "image", "image", "docker:27-dind"),
        (Storage("pvc", "cache"), "storage", "storage", "pvc:cache"),
        ((Share("/a", seed=False), Share("/b", seed=True)), "share", "share", "/a, /b:seed"),
        (
            ("https://m.example.com/",),
            "registry_mirrors",
            "registry-mirrors",
            "https://m.example.com/",
        ),
        (
            ("r:5000", "10.0.0.0/8", "[::1]:5000", "fd00::/8"),
            "insecure_registries",
            "insecure-registries",
            "r:5000,10.0.0.0/8,[::1]:5000,fd00::/8",
        ),
        (DaemonConfig("my.config", optional=False), "daemon_config", "daemon-config", "my.config"),
        (
            ("--label=a b", "--dns=10.0.0.10"),
            "dockerd_args",
            "dockerd-args",
            "--label='a b' --dns=10.0.0.10",
        ),
        (
            ("--max-concurrent-downloads=9", "--ipv6"),
            "dockerd_args",
            "dockerd-args",
            "--max-concurrent-downloads=9 --ipv6",
        ),
    ],
)
def test_good_values(expected: object, field: str, key: str, value: str) -> None:
    """Each row of the table fills its field of Settings."""
    found = read(key, value)
    assert isinstance(found, Settings)
    assert expected == getattr(found, field)


@pytest.mark.parametrize(
    ("says", "key", "value"),
    [
        ("expected container names", "containers", " , "),
        ("expected tcp or tls or unix", "transport", "TLS"),
        ("expected true or false", "rootless", "yes"),
        ("is not on the allow-list of the config file (docker:*-dind", "image", "evil:latest"),
        ("is not on the allow-list", "image", "docker:5000/evil-dind"),
        ("expected an image, such as docker:29-dind", "image", "docker:29-dind/../../x"),
        ("is not on the allow-list", "image", "docker.io/team/docker:29-dind"),
        ("'lots' is not a quantity", "limits", "memory=lots"),
        ("'' is not a quantity", "requests", "cpu"),
        ("cpu=-1 is negative", "requests", "cpu=-1"),
        ("expected a list such as cpu=2,memory=4Gi", "requests", "disk=1"),
        ("expected a list such as cpu=2,memory=4Gi", "requests", "cpu=1,cpu=2"),
        ("expected a list such as cpu=2,memory=4Gi", "limits", ","),
        ("expected emptydir", "storage", "nfs"),
        ("'emptydir:0' is not valid: the size '0'", "storage", "emptydir:0"),
        ("expected absolute, clean paths", "share", "work"),
        ("expected absolute, clean paths", "share", "/work/"),
        ("expected absolute, clean paths", "share", "/a/../b"),
        ("expected absolute, clean paths", "share", "/work:sed"),
        ("cannot be shared", "share", "/"),
        ("cannot be shared", "share", "/dinp"),
        ("cannot be shared", "share", "/dinp/x"),
        ("cannot be shared", "share", "/var/lib/docker"),
        ("cannot be shared", "share", "/usr/local/bin"),
        ("each once", "share", "/a,/a:seed"),
        ("each once", "share", ""),
        ("expected URLs", "registry-mirrors", "mirror.example.com"),
        ("expected URLs", "registry-mirrors", "https://m.example.com/path"),
        ("expected hosts", "insecure-registries", "http://r"),
        ("expected hosts", "insecure-registries", "r:port"),
        ("expected hosts", "insecure-registries", "10.0.0.1/8,10.0.0.0/33"),
        ("expected the name of a ConfigMap", "daemon-config", "My Config"),
        ("No closing quotation", "dockerd-args", "--label='"),
        ("'--host=tcp://0.0.0.0' is not allowed", "dockerd-args", "--host=tcp://0.0.0.0"),
        ("each as --flag=value", "dockerd-args", "--mtu=1400 -H"),
        ("each as --flag=value", "dockerd-args", "--mtu 1400"),
        ("each as --flag=value", "dockerd-args", ""),
        ("--label needs a value, as --label=value", "dockerd-args", "--label"),
        ("--mtu needs a value, as --mtu=value", "dockerd-args", "--ipv6 --mtu --ip6tables"),
        ("allowed are --mtu=…", "dockerd-args", "--data-root=/x"),
    ],
)
def test_bad_values(says: str, key: str, value: str) -> None:
    """Each is denied with the key, the value and what is allowed."""
    found = read(key, value)
    assert isinstance(found, Finding)
    assert found.reason in {Reason.BAD_VALUE, Reason.IMAGE_NOT_ALLOWED, Reason.FLAG_NOT_ALLOWED}
    assert f"annotation dinp.io/{key}: " in found.text
    assert says in found.text


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.name)
@pytest.mark.parametrize("mode", Mode)
def test_sidecars_annotations_on_a_shared_mode(row: object, mode: Mode) -> None:
    """All but inject, containers and status are for sidecar mode, and denied elsewhere."""
    name = getattr(row, "name", "")
    everywhere = name in {"dinp.io/inject", "dinp.io/containers", "dinp.io/status"}
    found = read_settings(build.pod(annotations={name: "?"}), mode, build.DEFAULT)
    denied = isinstance(found, Finding) and found.reason is Reason.SIDECAR_ONLY
    assert denied == (mode.is_shared and not everywhere)


CONFIG = configs.parse(
    b"""
sidecar:
  transport: unix
  rootless: true
  rootlessImage: mine-rootless
  requests: {cpu: 1, memory: 1Gi}
  limits: {memory: 2Gi}
  storage: emptydir:9Gi
  registryMirrors: [https://m]
  insecureRegistries: [r]
  daemonConfig: theirs
  allowedImages: ["*"]
""".replace(b"cpu: 1", b"cpu: '1'")
)


def test_the_config_file_is_the_default() -> None:
    """What the Pod does not say, the config file says."""
    found = build.settings(CONFIG)
    expected = {
        "transport": "unix",
        "rootless": True,
        "image": "mine-rootless",
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"memory": "2Gi"},
        "storage": Storage("emptydir", size="9Gi"),
        "registry_mirrors": ("https://m",),
        "insecure_registries": ("r",),
        "daemon_config": DaemonConfig("theirs", optional=True),
    }
    assert expected == {name: getattr(found, name) for name in expected}


def test_settings_are_the_whole_file() -> None:
    """What no annotation may say is as the file has it: nobody reads the file beside them."""
    file = configs.parse(
        b"{sidecar: {bip: 10.0.0.1/24, socketGroup: 7}, service: {name: other}, clientTlsSecret: mine}"
    )
    found = build.settings(file)
    read = {"storage", "daemon_config", "image"}  # as the types of Settings have them
    for part in (file.sidecar, file):
        for field in part.__struct_fields__:
            if field not in read | {"sidecar", "never_inject", "node_watchers", "namespaces"}:
                assert getattr(part, field) == getattr(found, field), field
    assert file.sidecar.image == found.default_image


def test_the_annotation_wins() -> None:
    """Annotation over config file; of resources, the ones that are named."""
    found = build.settings(
        CONFIG, rootless="false", requests="cpu=4", limits="cpu=4", daemon_config="mine"
    )
    assert found.image == Config().sidecar.image
    assert found.requests == {"cpu": "4", "memory": "1Gi"}
    assert found.limits == {"cpu": "4", "memory": "2Gi"}
    assert found.asks_requests
    assert DaemonConfig("mine", optional=False) == found.daemon_config


@pytest.mark.parametrize(
    ("image", "rootless", "asked"),
    [
        (Config().sidecar.image, False, {}),
        (Config().sidecar.rootless_image, True, {"rootless": "true"}),
        ("docker:1-dind", False, {"image": "docker:1-dind"}),
        ("docker:1-dind-rootless", True, {"image": "docker:1-dind-rootless"}),
        ("docker:1-dind-rootless", True, {"image": "docker:1-dind-rootless", "rootless": "true"}),
    ],
)
def test_image_and_rootless_go_together(image: str, rootless: bool, asked: dict[str, str]) -> None:
    """Docker's rootless images have it in their name; the other kind would not start."""
    found = build.settings(**asked)
    assert (image, rootless) == (found.image, found.rootless)


@pytest.mark.parametrize(
    ("image", "rootless"), [("docker:1-dind", "true"), ("docker:1-dind-rootless", "false")]
)
def test_image_and_rootless_that_contradict(image: str, rootless: str) -> None:
    """Denied, in whichever order they stand."""
    annotations = {"dinp.io/image": image, "dinp.io/rootless": rootless}
    for names in (list(annotations), list(annotations)[::-1]):
        pod = build.pod(annotations={name: annotations[name] for name in names})
        found = read_settings(pod, Mode.SIDECAR, build.DEFAULT)
        assert isinstance(found, Finding)
        assert found.reason is Reason.BAD_VALUE


def test_an_empty_allow_list_says_so() -> None:
    """With no image allowed, the sentence does not end in empty brackets."""
    config = configs.parse(b"sidecar: {allowedImages: []}")
    found = read_settings(build.pod(annotations={"dinp.io/image": "a"}), Mode.SIDECAR, config)
    assert "(nothing)" in str(found)


@pytest.mark.parametrize(("denied", "keys"), [(False, "null"), (False, "[bip]"), (True, "[]")])
def test_no_key_of_daemon_json(denied: bool, keys: str) -> None:
    """A Pod that may set none brings no ConfigMap either, nor a share where dockerd looks for one."""
    config = configs.parse(f"sidecar: {{daemonConfigKeys: {keys}}}".encode())
    for name, value in (("daemon-config", "mine"), ("share", "/etc/docker:seed")):
        pod = build.pod(annotations={f"dinp.io/{name}": value})
        found = read_settings(pod, Mode.SIDECAR, config)
        assert denied == isinstance(found, Finding)
    assert not denied or "sidecar.daemonConfigKeys" in str(
        read_settings(
            build.pod(annotations={"dinp.io/daemon-config": "mine"}), Mode.SIDECAR, config
        )
    )


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        ("; did you mean dinp.io/transport?", "dinp.io/transprot"),
        ("", "dinp.io/zzzzzzzzzzzzzzzzzz"),
    ],
)
def test_unknown_annotations_warn(hint: str, name: str) -> None:
    """Under dinp.io/, most are typos; others are nobody's business."""
    pod = build.pod(annotations={name: "x", "example.com/x": "y", "dinp.io/status": ""})
    expected = f"annotation {name} is not one of dinp's and has no effect{hint}"
    assert [expected] == [str(found) for found in unknown_annotations(pod)]


@pytest.mark.parametrize(
    ("expected", "metadata"),
    [
        (
            "annotation dinp.io/migrate is not one of dinp's and has no effect; it is a label of namespaces",
            {"annotations": {"dinp.io/migrate": "sidecar"}},
        ),
        (
            "label dinp.io/requests is not one of dinp's and has no effect; set it as an annotation of the Pod",
            {"labels": {"dinp.io/requests": "client"}},
        ),
        (None, {"labels": {"dinp.io/inject": "sidecar", "dinp.io/mode": "sidecar", "app": "a"}}),
    ],
)
def test_keys_where_they_do_not_count(expected: str | None, metadata: dict[str, Any]) -> None:
    """dinp.io/inject works as a label of a Pod, and nothing else does."""
    found = [str(one) for one in unknown_annotations(build.pod(**metadata))]
    assert ([expected] if expected else []) == found


def test_many_unknown_annotations() -> None:
    """A guess is made for the first ones, and for what a person could have written."""
    typos = {f"dinp.io/transpor{at}": "" for at in range(1000)}
    found = [str(one) for one in unknown_annotations(build.pod(annotations=typos))]
    assert 20 == sum("did you mean dinp.io/transport?" in one for one in found)
    assert bounds.WARNINGS < len(found) < 1000
    (long,) = unknown_annotations(build.pod(annotations={"dinp.io/transport" + "t" * 300: ""}))
    assert "did you mean" not in long.text
