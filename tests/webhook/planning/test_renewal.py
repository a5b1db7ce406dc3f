"""renewal: what of a container of dinp's that is there already stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import kubernetes_validate
import pytest

from tests.webhook import small_pods as build
from webhook import names
from webhook.planning import renewal, sidecar
from webhook.pods.pod import Container

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def made(**annotations: str) -> Container:
    """The dinp-dind that dinp makes."""
    return sidecar.container(
        build.pod(),
        build.settings(**annotations),
        resources={"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
        mirrored=[build.mount("work", "/work")],
        proxy=[{"name": "HTTP_PROXY", "value": "http://proxy"}],
    )


def with_field(field: str, value: Any) -> Container:
    return cast("Container", {**made(), field: value})


def field_of(container: Container, field: str) -> Any:
    return container.get(field)


def renewed(there: Container, *credentials: str) -> Container:
    return renewal.renewed(there, made(), credentials)


def test_the_table_has_every_field_of_a_container() -> None:
    """A Kubernetes with another field needs a decision on it: until then the field goes."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    text = (folder / "v1.34.0-local" / "container-v1.json").read_text(encoding="utf-8")
    assert set(json.loads(text)["properties"]) == set(renewal.FIELDS)


_EACH: dict[str, Any] = {
    "name": "x",
    "image": "x",
    "resources": {"requests": {"cpu": "1"}},
    "env": [{"name": "X", "value": "x"}],
    "volumeMounts": [{"name": "x", "mountPath": "/x"}],
    "startupProbe": {"exec": {"command": ["x"]}},
    "terminationMessagePath": "/dev/termination-log",
}


@pytest.mark.parametrize("field", [*renewal.FIELDS, build.UNKNOWN])
def test_what_is_on_one_side_only(field: str) -> None:
    """Each row takes an absent field on either side, and says dinp's or the other's."""
    value = _EACH.get(field, "x")
    row = renewal.FIELDS.get(field, lambda *_: None)
    assert row(None, None) is None
    assert row(value, None) in (value, None)
    assert row(None, value) in (value, None)
    assert row(value, value) in (value, None)


@pytest.mark.parametrize("odd", [True, 3, "x", ["x"]])
def test_a_probe_of_another_type(odd: Any) -> None:
    """Nobody has checked it yet: the API server does so after dinp, and dinp's own takes its place."""
    found = renewed(with_field("startupProbe", odd))
    assert field_of(made(), "startupProbe") == field_of(found, "startupProbe")


def test_a_seed_with_a_probe() -> None:
    """dinp's have none, so it goes."""
    seed: Any = {"name": "dinp-seed-0", "volumeMounts": [build.mount("dinp-share-0", "/r")]}
    there: Any = {**seed, "restartPolicy": "Always", "startupProbe": PROBE}
    assert seed == renewal.renewed(there, seed)


PROBE = {"exec": {"command": ["sh", "-c", "evil"]}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("command", ["sh", "-c", "evil"]),
        ("args", ["dockerd", "--host=tcp://0.0.0.0:2375"]),
        ("securityContext", {"privileged": True, "procMount": "Unmasked"}),
        ("restartPolicy", None),
        ("restartPolicy", "Never"),
        ("startupProbe", PROBE),
        ("startupProbe", None),
        ("livenessProbe", PROBE),
        ("readinessProbe", PROBE),
        ("lifecycle", {"postStart": PROBE}),
        ("restartPolicyRules", [{"action": "Restart"}]),
        ("workingDir", "/work"),
        ("ports", [{"containerPort": 2375, "hostPort": 2375}]),
        ("volumeDevices", [{"name": "disk", "devicePath": "/disk"}]),
        ("stdin", True),
        ("stdinOnce", True),
        ("tty", True),
        ("envFrom", [{"secretRef": {"name": "s"}}]),
        ("imagePullPolicy", "Never"),
        ("terminationMessagePath", "/usr/local/bin/dockerd"),
        (build.UNKNOWN, {"exec": "evil"}),
    ],
)
def test_what_is_dinps(field: str, value: Any) -> None:
    """Whatever somebody else says of what runs, as what, and where it listens, dinp's is back."""
    assert made() == renewed(with_field(field, value))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", "registry.example.com/mirror/docker:29-dind"),
        ("imagePullPolicy", "Always"),
        ("resizePolicy", [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
        ("terminationMessagePath", "/dev/termination-log"),
        ("terminationMessagePolicy", "FallbackToLogsOnError"),
        ("startupProbe", {**field_of(made(), "startupProbe"), "successThreshold": 1}),
        ("resources", {"requests": {"cpu": "0.1", "memory": "1Gi"}, "limits": {"memory": "1024Mi"}}),
        ("ports", None),
    ],
)  # fmt: skip
def test_what_stays(field: str, value: Any) -> None:
    """What other webhooks say of every container, and what the API server fills in: untouched."""
    there = with_field(field, value)
    assert renewed(there) is there


def test_a_probe_of_anothers_with_our_command() -> None:
    """Not even its threshold is another's: the start would be gated by less."""
    probe = {**field_of(made(), "startupProbe"), "failureThreshold": 1}
    assert made() == renewed(with_field("startupProbe", probe))


def variables(there: list[Any]) -> list[Any]:
    return list(renewed(with_field("env", there)).get("env") or ())


@pytest.mark.parametrize(
    ("stays", "name"),
    [
        *((True, name) for name in ("HTTPS_PROXY", "no_proxy", "TZ", "LANG", "POD_NAME")),
        *((True, name) for name in ("AWS_REGION", "AZURE_CLIENT_ID", "KUBERNETES_SERVICE_HOST")),
        *((True, name) for name in ("DD_AGENT_HOST", "DOCKER_IPTABLES_LEGACY")),
        *((False, name) for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKERD_ROOTLESS_X")),
        *((False, name) for name in ("DINP_DAEMON_CONFIG", "DINP_SOCKET_LINKS", "LD_PRELOAD")),
        *((False, name) for name in ("PATH", "ENV", "BASH_ENV", "PS4", "IFS", "HOME", "TMPDIR")),
        *((False, name) for name in ("OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES")),
        *((False, name) for name in ("XTABLES_LIBDIR", "XDG_CONFIG_HOME", "AWS_CONFIG_FILE")),
        *((False, name) for name in ("SSL_CERT_DIR", "SSL_CERT_FILE", "GIT_SSH_COMMAND")),
        *((False, name) for name in ("_DOCKERD_ROOTLESS_CHILD", "ROOTLESSKIT", "GODEBUG")),
        *((False, name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "ANY_NEW_ONE", "hTTP_PROXY")),
    ],
)
def test_variables_of_others(stays: bool, name: str) -> None:
    """Those of a list stay, behind dinp's: of any other nobody knows what program obeys it."""
    ours = list(made().get("env") or ())
    other = {"name": name, "value": "theirs"}
    assert variables([other, *ours]) == [*ours, *([other] if stays else [])]


def test_variables_of_dinps() -> None:
    """Their values are dinp's, each once; an empty value may be missing, as the API server drops it."""
    ours = list(made().get("env") or ())
    wrong = [{"name": "HTTP_PROXY", "value": "evil"}, {"name": "HTTP_PROXY", "value": "evil"}]
    assert ours == variables([*wrong, {"name": "DOCKER_MIN_API_VERSION", "value": "1.44"}])


def paths(there: list[Any], *credentials: str) -> list[tuple[str, str]]:
    found = renewed(with_field("volumeMounts", there), *credentials)
    return [(mount["name"], mount["mountPath"]) for mount in found.get("volumeMounts") or ()]


OURS = paths([])


@pytest.mark.parametrize(
    ("stays", "name", "path"),
    [
        (True, "other", "/other"),
        (True, "other", "/etc/app.conf"),
        *((False, "other", path) for path in ("/", "/usr/local/bin", "/dinp/x", "/etc/passwd")),
        (False, "other", "/var/lib/docker/x"),
        (False, "other", f"{TOKEN}/x"),
        (False, "other", "relative"),
        (False, "token", "/token"),
        (False, "dinp-certs", "/dinp/certs"),
        (False, "dinp-share-0", "/tools"),
    ],
)
def test_mounts_of_others(stays: bool, name: str, path: str) -> None:
    """They stay behind dinp's, but for system paths, tokens, and volumes of dinp's."""
    mount = build.mount(name, path)
    expected = [*OURS, *([(name, path)] if stays else [])]
    assert expected == paths([mount, *(made().get("volumeMounts") or ())], "token")


@pytest.mark.parametrize("path", ["/other", "/work"])
def test_mounts_of_others_propagate_nothing(path: str) -> None:
    """As those that dinp mirrors: a privileged container would mount into the node's files."""
    there = build.mount("other", path, mountPropagation="Bidirectional")
    found = renewed(with_field("volumeMounts", [there])).get("volumeMounts") or []
    assert [build.mount("other", path)] == [m for m in found if m["name"] == "other"]
    assert renewed(with_field("volumeMounts", found)).get("volumeMounts") == found


@pytest.mark.parametrize("path", ["/dinp", "/var/lib/docker/", TOKEN])
def test_mounts_at_dinps_paths(path: str) -> None:
    """Whatever is there gives way, the token that the API server mounts, too."""
    assert OURS == paths([build.mount("other", path)])


@pytest.mark.parametrize(
    ("expected", "there"),
    [
        (build.mount("work", "/work"), build.mount("work", "/work/")),
        (build.mount("work", "/work"), build.mount("work", "/work", readOnly=True)),
        (build.mount("other", "/work"), build.mount("other", "/work")),
        (build.mount("work", "/work", subPath="a"), build.mount("work", "/work", subPath="a")),
        (build.mount("work", "/work"), build.mount("token", "/work")),
        (build.mount("work", "/work"), build.mount("dinp-run", "/work")),
    ],
)
def test_a_mirrored_mount_that_is_there(expected: Any, there: Any) -> None:
    """What an earlier pass has mirrored stays, as writable as the more writable one."""
    found = renewed(with_field("volumeMounts", [there]), "token")
    assert [expected] == [m for m in found.get("volumeMounts") or () if m["mountPath"] == "/work"]


def test_a_writer_of_an_earlier_pass() -> None:
    """Its containers may be none of this pass's: the daemon goes on writing for them."""
    reader = sidecar.container(
        build.pod(),
        build.settings(),
        resources=None,
        mirrored=[build.mount("work", "/work", readOnly=True, recursiveReadOnly="Enabled")],
        proxy=(),
    )
    there: Any = {**reader, "volumeMounts": [build.mount("work", "/work")]}
    (work,) = (m for m in renewal.mounts(there, reader) if m["mountPath"] == "/work")
    assert build.mount("work", "/work") == work


@pytest.mark.parametrize(
    ("same", "there", "ours"),
    [
        (True, {}, {}),
        (True, {"limits": {"cpu": "1"}, "requests": {"cpu": 1}}, {"limits": {"cpu": "1000m"}}),
        (True, {"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1024Mi"}, "limits": None}),
        (False, {"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}),
        (False, {"requests": {"cpu": "1"}}, {"limits": {"cpu": "1"}}),
        (False, {"requests": {"cpu": "1"}}, {"requests": {"cpu": "odd"}}),
        (False, {"requests": {"cpu": "1"}}, {"requests": {"cpu": "1", "memory": "1"}}),
        (False, {"claims": [{"name": "gpu"}]}, {}),
    ],
)
def test_same_resources(same: bool, there: Any, ours: Any) -> None:
    """As numbers, and limits count as requests where there are none."""
    assert same == renewal.same_resources(there, ours)


@pytest.mark.parametrize(
    ("told", "field", "value"),
    [
        (None, "command", ["older"]),
        (None, "env", [{"name": "DINP_DAEMON_CONFIG", "value": "/dinp-config"}]),
        (None, "volumeMounts", [build.mount("token", TOKEN), build.mount("dinp-certs", "/x")]),
        ("lifecycle", "lifecycle", {"preStop": PROBE}),
        ("variable LD_PRELOAD", "env", [{"name": "LD_PRELOAD", "value": "x"}]),
        ("the mount of other at /etc", "volumeMounts", [build.mount("other", "/etc/")]),
        (
            "mountPropagation of other at /x",
            "volumeMounts",
            [build.mount("other", "/x", mountPropagation="HostToContainer")],
        ),
        (None, "volumeMounts", [build.mount("other", "/x", mountPropagation="None")]),
    ],
)
def test_what_is_told(told: str | None, field: str, value: Any) -> None:
    """What somebody else gave the container and it lost; nothing of an older dinp's."""
    there = with_field(field, value)
    found = renewal.lost(there, renewed(there, "token"), {"token"})
    assert (told is None) == (found is None)
    assert found is None or found.text.endswith(f": {told}")


@pytest.mark.parametrize("rootless", [False, True])
def test_home_goes_where_a_rootless_daemon_lives(rootless: bool) -> None:
    """What an earlier pass has mirrored there stays, unless the daemon is made anew as rootless."""
    data = build.mount("dinp-storage", names.ROOTLESS_DATA if rootless else "/var/lib/docker")
    made: Container = {"name": names.DIND, "volumeMounts": [data]}
    there: Container = {"name": names.DIND, "volumeMounts": [build.mount("home", "/home")]}
    left = [mount["name"] for mount in renewal.mounts(there, made)]
    assert (["dinp-storage"] if rootless else ["dinp-storage", "home"]) == left
