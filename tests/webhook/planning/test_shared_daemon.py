"""shared_daemon: what daemonset and service mode add."""

from __future__ import annotations

from tests.webhook import small_pods as build
from webhook import names
from webhook.asking import config as configs
from webhook.asking.config import Config
from webhook.planning import shared_daemon


def test_volumes_that_are_used() -> None:
    """Of the five, those with these names, and no other."""
    assert [] == list(shared_daemon.volumes((), build.settings()))
    (certs,) = shared_daemon.volumes(["dinp-certs", "work"], build.settings())
    assert {
        "name": "dinp-certs",
        "secret": {"secretName": "dinp-client-tls", "defaultMode": 0o444},
    } == certs
    everything = shared_daemon.volumes(names.VOLUMES, build.settings())
    expected = {"dinp-certs", "dinp-run", "dinp-socket", "dinp-cli", "dinp-no-token"}
    assert expected == {volume["name"] for volume in everything}


def test_names_of_the_config_file() -> None:
    """The Secret and the socket's directory on the node."""
    config = configs.parse(b"{clientTlsSecret: mine, daemonset: {socketDirectory: /run/x}}")
    settings = build.settings(config)
    run, socket = shared_daemon.volumes(["dinp-socket", "dinp-run"], settings)
    assert run.get("hostPath") == {"path": "/run/x", "type": "Directory"}
    assert socket.get("hostPath") == {"path": "/run/x/docker.sock", "type": "Socket"}
    (certs,) = shared_daemon.volumes(["dinp-certs"], settings)
    assert (certs.get("secret") or {})["secretName"] == "mine"


def test_the_cli_is_copied_without_privileges() -> None:
    """As restricted Pod Security asks, and from the dind image."""
    container = shared_daemon.cli_container(build.settings(), build.container())
    context = container.get("securityContext") or {}
    assert container["name"] == "dinp-cli"
    assert Config().sidecar.image == container.get("image")
    assert context["runAsNonRoot"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert "resources" not in container


def test_the_copier_has_the_clients_resources() -> None:
    """So that the Pod's QoS class stays, and nothing is added to its requests."""
    resources = {"limits": {"cpu": "1"}}
    container = shared_daemon.cli_container(build.settings(), build.container(resources=resources))
    assert container.get("resources") is resources
