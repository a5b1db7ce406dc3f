"""Which CAs the API server trusts for dinp, and whether it calls dinp."""

from __future__ import annotations

from typing import Any, Final

from certs.authority import KeyPair
from tests.cluster.api import APPLY_PATCH, Api
from tests.cluster.installation import (
    REGISTRATION,
    RULE_NAMESPACES,
    is_injected,
    publish,
    small_pod,
)
from tests.cluster.processes import StartError, wait_until

_MARK: Final = "soak-mark"
_CONFIG_MAPS: Final = "/api/v1/namespaces/default/configmaps?dryRun=All"


def wait_until_called(api: Api) -> None:
    """Wait until a Pod gets a daemon in each of the namespaces.

    Raises:
        StartError: it does not.
    """
    pod = small_pod("sidecar")
    messages: list[str] = []

    def works() -> bool:
        answers = [api.create_pod(name, pod) for name in RULE_NAMESPACES]
        messages[:] = [answer.message for answer in answers if not is_injected(answer)]
        return not messages

    try:
        wait_until(works, "the API server calls dinp")
    except StartError as error:
        raise StartError(f"{error}: {messages[0]}") from error


class Trust:
    """caBundle of every entry, as `dinp certs run` has to fill it in."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._marks = 0

    def set(self, *cas: KeyPair) -> None:
        """Trust these from now on: returns when the API server goes by it."""
        publish(self._api, b"".join(ca.certificate for ca in cas))
        self._wait_until_read()

    def _wait_until_read(self) -> None:
        """Change another configuration behind it, one whose effect can be seen.

        The API server reads both from one watch, so in the order of the writes. A working
        caBundle has no effect that tells it from the one before.
        """
        self._marks += 1
        name = f"mark-{self._marks}.soak.dinp.io"
        path = f"{REGISTRATION}/{_MARK}?fieldManager=soak&force=true"
        self._api.must("PATCH", path, _mark(name), media_type=APPLY_PATCH)
        config_map = {"metadata": {"name": "probe"}}

        def is_read() -> bool:
            return name in self._api.request("POST", _CONFIG_MAPS, config_map).message

        wait_until(is_read, "the API server reads the new caBundle", interval=0.02)


def _mark(name: str) -> dict[str, Any]:
    """A webhook that nobody answers: the API server's refusal names it."""
    by_name = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["default"]}
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["configmaps"],
    }
    webhook = {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:9/nobody"},
        "rules": [rule],
        "namespaceSelector": {"matchExpressions": [by_name]},
        "failurePolicy": "Fail",
        "sideEffects": "None",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": _MARK},
        "webhooks": [webhook],
    }
