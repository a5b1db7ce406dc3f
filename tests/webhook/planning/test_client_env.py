"""client_env: the Docker variables of one client."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.webhook import small_pods as build
from webhook.asking import config as configs
from webhook.asking.rules import Mode
from webhook.planning.client_env import ClientEnv, client_env
from webhook.planning.endpoint import Endpoint, endpoint
from webhook.reasons import Reason

TCP = endpoint(build.settings(), socket=False)
TLS = endpoint(build.settings(transport="tls"), socket=False)
UNIX = endpoint(build.settings(transport="unix"), socket=False)
NODE = endpoint(build.settings(build.DEFAULT, Mode.DAEMONSET), socket=False)
PUBLISHED = endpoint(
    build.settings(configs.parse(b"daemonset: {hostNetwork: true}"), Mode.DAEMONSET), socket=False
)


def decide(where: Endpoint, *env: dict[str, Any], sockets: tuple[str, ...] = ()) -> ClientEnv:
    return client_env(build.container(env=list(env)), where, sockets, aliases={"docker"})


def values(found: ClientEnv) -> dict[str, str | None]:
    return {var["name"]: var.get("value") for var in found.variables}


def reasons(found: ClientEnv) -> list[Reason]:
    return [finding.reason for finding in found.warnings]


def var(name: str, value: str | None) -> dict[str, Any]:
    return {"name": name, "value": value}


def from_secret(name: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}


@pytest.mark.parametrize(
    ("expected", "where"),
    [
        ({"DOCKER_HOST": "tcp://localhost:2375", "DOCKER_TLS_VERIFY": ""}, TCP),
        (
            {
                "DOCKER_HOST": "tcp://localhost:2376",
                "DOCKER_TLS_VERIFY": "1",
                "DOCKER_CERT_PATH": "/dinp/certs",
            },
            TLS,
        ),
        (
            {
                "DOCKER_HOST": "unix:///dinp/docker.sock",
                "DOCKER_TLS_VERIFY": "",
                "TESTCONTAINERS_HOST_OVERRIDE": "localhost",
            },
            UNIX,
        ),
        (
            {
                "DINP_HOST_IP": None,
                "DOCKER_HOST": "tcp://$(DINP_HOST_IP):2376",
                "DOCKER_TLS_VERIFY": "1",
                "DOCKER_CERT_PATH": "/dinp/certs",
                "TESTCONTAINERS_HOST_OVERRIDE": "$(DINP_HOST_IP)",
            },
            PUBLISHED,
        ),
    ],
)
def test_variables_of_a_bare_container(expected: dict[str, str | None], where: Endpoint) -> None:
    """As docs/design.md, section 1 has them, what is referred to declared first."""
    found = decide(where)
    assert expected == values(found)
    assert list(expected) == list(values(found))
    assert found.uses_daemon
    assert () == found.removed
    assert () == found.warnings


@pytest.mark.parametrize(
    ("replaced", "there"),
    [
        (True, var("DOCKER_HOST", "")),
        (True, var("DOCKER_HOST", None)),
        (True, {"name": "DOCKER_HOST"}),
        (True, {"name": "DOCKER_HOST", "value": "", "valueFrom": None}),
        (True, var("DOCKER_HOST", "unix:///var/run/docker.sock")),
        (True, var("DOCKER_HOST", "unix:///run//docker.sock")),
        (True, var("DOCKER_HOST", "unix:///custom/docker.sock")),
        (True, var("DOCKER_HOST", "unix:///dinp/docker.sock")),
        (True, var("DOCKER_HOST", "unix://var/run/docker.sock")),
        (True, var("DOCKER_HOST", "unix:/var/run/docker.sock")),
        (True, var("DOCKER_HOST", " unix:////run/docker.sock \n")),
        (True, var("DOCKER_HOST", "UNIX:///run/docker.sock")),
        (True, var("DOCKER_HOST", "http+unix://%2Fvar%2frun%2Fdocker.sock")),
        (True, var("DOCKER_HOST", "/var/run/docker.sock")),
        (True, var("DOCKER_HOST", "tcp://localhost:2375")),
        (True, var("DOCKER_HOST", "localhost:2375")),
        (True, var("DOCKER_HOST", "127.0.0.1")),
        (True, var("DOCKER_HOST", "tcp://[::1]:2375/")),
        (True, var("DOCKER_HOST", "tcp://docker:2375")),
        (False, var("DOCKER_HOST", "tcp://dock:2375")),
        (False, var("DOCKER_HOST", "tcp://localhost:2376")),
        (False, var("DOCKER_HOST", "tcp:///var/run/docker.sock")),
        (False, var("DOCKER_HOST", "unix:///other/docker.sock")),
        (False, var("DOCKER_HOST", "ssh://me@there")),
        (False, var("DOCKER_HOST", "unix://")),
        (False, var("DOCKER_HOST", "$(X)")),
        (False, from_secret("DOCKER_HOST")),
    ],
)
def test_a_docker_host_that_is_there(replaced: bool, there: dict[str, Any]) -> None:
    """The migrated socket, ours, or empty: replaced. Anything else is the user's."""
    found = decide(TCP, there, var("DOCKER_CERT_PATH", "/c"), sockets=("/custom/docker.sock",))
    assert replaced == found.uses_daemon
    if replaced:
        assert values(found)["DOCKER_HOST"] == "tcp://localhost:2375"
    else:
        assert () == found.variables
        assert () == found.removed
        assert [Reason.USERS_DOCKER_HOST] == reasons(found)


@pytest.mark.parametrize("config", ["{}", "{tls: false}"])
def test_spellings_of_the_service(config: str) -> None:
    """The same host by the names that a Pod's resolver knows, with the same port, is the same."""
    settings = build.settings(configs.parse(f"service: {config}".encode()), Mode.SERVICE)
    where = endpoint(settings, socket=False)
    host, _, port = where.docker_host.removeprefix("tcp://").partition(":")
    for name in (host, host.removesuffix(".svc"), f"{host}.cluster.local"):
        assert decide(where, var("DOCKER_HOST", f"tcp://{name}:{port}")).uses_daemon
        assert not decide(where, var("DOCKER_HOST", f"tcp://{name}:1")).uses_daemon


@pytest.mark.parametrize("value", ["localhost", "tcp://127.0.0.1:2376", "https://docker"])
def test_another_spelling_of_an_address_with_tls(value: str) -> None:
    """Without a port it is that of TLS, where the container asks for TLS."""
    found = decide(TLS, var("DOCKER_HOST", value), var("DOCKER_TLS_VERIFY", "1"))
    assert "tcp://localhost:2376" == values(found)["DOCKER_HOST"]
    assert () == found.warnings


def test_the_last_of_two_counts() -> None:
    """As the kubelet takes it."""
    first, last = var("DOCKER_HOST", "tcp://a:1"), var("DOCKER_HOST", "")
    assert decide(TCP, first, last).uses_daemon
    assert not decide(TCP, last, first).uses_daemon


@pytest.mark.parametrize("name", ["DOCKER_CERT_PATH", "DOCKER_TLS"])
def test_what_else_turns_tls_on_goes(name: str) -> None:
    """docker-py turns TLS on by DOCKER_CERT_PATH alone, the CLI by DOCKER_TLS."""
    found = decide(TCP, var(name, "1"))
    assert (name,) == found.removed
    assert [Reason.VARIABLE_REMOVED] == reasons(found)
    assert () == decide(TLS, var(name, "1")).removed


@pytest.mark.parametrize(
    ("warned", "where", "there"),
    [
        (True, TCP, var("DOCKER_TLS_VERIFY", "0")),
        (True, TCP, from_secret("DOCKER_TLS_VERIFY")),
        (False, TCP, var("DOCKER_TLS_VERIFY", "")),
        (False, TCP, var("DOCKER_TLS_VERIFY", None)),
        (False, TLS, var("DOCKER_TLS_VERIFY", "1")),
        (True, TLS, var("DOCKER_CERT_PATH", "/certs")),
        (False, TLS, var("DOCKER_CERT_PATH", "/dinp/certs")),
    ],
)
def test_a_tls_setting_that_gives_way(warned: bool, where: Endpoint, there: Any) -> None:
    """A user's value that ours replaces is told, an equal or empty one not."""
    assert ([Reason.VARIABLE_REPLACED] if warned else []) == reasons(decide(where, there))


@pytest.mark.parametrize(
    ("names", "where", "env"),
    [
        ("DOCKER_HOST", TCP, [var("DOCKER_HOST", "unix:///var/run/docker.sock")]),
        ("DOCKER_TLS_VERIFY", TCP, [var("DOCKER_TLS_VERIFY", "1")]),
        ("DOCKER_TLS_VERIFY", TCP, [from_secret("DOCKER_TLS_VERIFY")]),
        (
            "DOCKER_CERT_PATH, DOCKER_TLS_VERIFY",
            TCP,
            [var("DOCKER_TLS_VERIFY", "1"), var("DOCKER_CERT_PATH", "/certs")],
        ),
        ("DOCKER_CERT_PATH", TLS, [var("DOCKER_CERT_PATH", "/c"), var("DOCKER_TLS_VERIFY", "1")]),
        ("", TCP, [var("DOCKER_TLS_CERTDIR", "/certs"), var("DOCKER_TLS_VERIFY", "")]),
        ("", TCP, [var("DOCKER_HOST", "tcp://localhost:2375")]),
        ("", TCP, []),
    ],
)
def test_what_gitlab_exports_again(names: str, where: Endpoint, env: list[Any]) -> None:
    """A value that is not ours comes back in each script: only its removal in GitLab helps."""
    container = build.container(env=env)
    found = client_env(container, where, (), exports=True)
    assert ([Reason.EXPORTED_AGAIN] if names else []) == reasons(found)
    assert not names or f"remove {names} from the CI/CD variables" in found.warnings[0].text
    assert client_env(container, where, ()).variables == found.variables


@pytest.mark.parametrize(
    ("seen", "there"),
    [
        (True, var("DOCKER_HOST", "tcp://a:1")),
        (False, var("DOCKER_HOST", "tcp://$(HOST):1")),
        (False, from_secret("DOCKER_HOST")),
    ],
)
def test_nobody_knows_where_a_reference_leads(seen: bool, there: dict[str, Any]) -> None:
    """It may be the daemon's address: the sentence does not say otherwise."""
    (found,) = decide(TCP, there).warnings
    assert seen == ("does not use the daemon" in found.text)


def test_the_way_to_gitlabs_docker_host() -> None:
    """One that is kept goes from the CI/CD variables, too; elsewhere nobody hears of GitLab."""
    container = build.container(env=[var("DOCKER_HOST", "tcp://docker:2375")])
    for exports in (False, True):
        (found,) = client_env(container, TCP, (), exports=exports).warnings
        assert exports == ("CI/CD" in found.text)


@pytest.mark.parametrize(
    ("expected", "context"),
    [
        (["'builders'"], var("DOCKER_CONTEXT", "builders")),
        (["'valueFrom'"], {"name": "DOCKER_CONTEXT", "valueFrom": {"configMapKeyRef": {}}}),
        ([], var("DOCKER_CONTEXT", "default")),
        ([], var("DOCKER_CONTEXT", "")),
        ([], var("CONTEXT", "builders")),
    ],
)
def test_a_context_that_no_longer_counts(expected: list[str], context: Any) -> None:
    """Docker's CLI takes DOCKER_HOST before DOCKER_CONTEXT: said where dinp sets DOCKER_HOST alone."""
    said = client_env(build.container(env=[context]), TCP, ()).warnings
    assert expected == re.findall("DOCKER_CONTEXT is ('.*'),", " ".join(one.text for one in said))
    assert {Reason.DOCKER_CONTEXT} >= {one.reason for one in said}
    users = build.container(env=[context, var("DOCKER_HOST", "ssh://there")])
    assert [Reason.USERS_DOCKER_HOST] == reasons(client_env(users, TCP, ()))


def test_env_from_cannot_be_seen() -> None:
    """What envFrom brings may be a DOCKER_HOST: said, not guessed."""
    container = build.container(envFrom=[{"secretRef": {"name": "s"}}])
    assert [Reason.ENV_FROM] == reasons(client_env(container, TCP, ()))


@pytest.mark.parametrize(
    ("expected", "where", "env"),
    [
        ({}, TCP, []),
        ({}, TCP, [var("HTTP_PROXY", "")]),
        ({}, UNIX, [var("HTTP_PROXY", "http://p")]),
        (
            {"NO_PROXY": "localhost", "no_proxy": "localhost"},
            TCP,
            [var("https_proxy", "http://p")],
        ),
        ({"NO_PROXY": "localhost", "no_proxy": "localhost"}, TCP, [from_secret("ALL_PROXY")]),
        (
            {"NO_PROXY": ".svc, a,localhost"},
            TCP,
            [var("HTTP_PROXY", "p"), var("NO_PROXY", ".svc, a")],
        ),
        ({"no_proxy": "localhost"}, TCP, [var("HTTP_PROXY", "p"), var("no_proxy", None)]),
        ({}, TCP, [var("HTTP_PROXY", "p"), var("NO_PROXY", "a, localhost")]),
        ({}, TCP, [var("HTTP_PROXY", "p"), var("NO_PROXY", "*")]),
        (
            {"NO_PROXY": "a,$(DINP_HOST_IP)"},
            NODE,
            [var("HTTP_PROXY", "p"), var("NO_PROXY", "a")],
        ),
        ({}, TCP, [var("HTTP_PROXY", "p"), from_secret("NO_PROXY")]),
    ],
)
def test_no_proxy(expected: dict[str, str], where: Endpoint, env: list[Any]) -> None:
    """Where there is a proxy, the daemon's host is kept from it, once."""
    found = values(decide(where, *env))
    assert expected == {name: found[name] for name in ("NO_PROXY", "no_proxy") if name in found}


def test_no_proxy_from_elsewhere_is_told() -> None:
    """Nothing can be added to a valueFrom."""
    proxied = decide(TCP, var("HTTP_PROXY", "p"), from_secret("no_proxy"), var("NO_PROXY", "a"))
    assert [Reason.NO_PROXY_VALUE_FROM] == reasons(proxied)
    assert values(proxied)["NO_PROXY"] == "a,localhost"
    assert [] == reasons(decide(TCP, from_secret("no_proxy")))


def test_testcontainers_host_is_the_users() -> None:
    """Set where it is unset."""
    assert "TESTCONTAINERS_HOST_OVERRIDE" in values(decide(UNIX))
    found = decide(UNIX, var("TESTCONTAINERS_HOST_OVERRIDE", ""))
    assert "TESTCONTAINERS_HOST_OVERRIDE" not in values(found)


def test_no_socket_has_a_long_path() -> None:
    """A DOCKER_HOST of any length is the user's own, and its path is not looked at."""
    for slashes, kept in ((10, False), (100_000, True)):
        value = f"unix://{'/' * slashes}var/run/docker.sock"
        container = build.container(env=[{"name": "DOCKER_HOST", "value": value}])
        assert kept == (not client_env(container, TCP, frozenset()).uses_daemon)
