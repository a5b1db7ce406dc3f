"""dinp in a cluster: manifests/base applied as it is, and `dinp serve` on its Service's address."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from certs import authority
from certs.authority import KeyPair
from tests.cluster.api import JSON_PATCH, Answer, Api, Cluster, Object
from tests.cluster.control_plane import USERS, user_token
from tests.cluster.processes import StartError, wait_until
from tools.certificates import DAY, write_server_pair
from tools.serving import Serving, serving
from webhook.asking import rules

MANIFESTS: Final = Path(__file__).parents[2] / "manifests"
BASE: Final = MANIFESTS / "base"
SHARED: Final = MANIFESTS / "shared"
REGISTRATION: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIGURATION: Final = f"{REGISTRATION}/zz-dinp"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/dinp-system/endpointslices"
SERVICE_NAME: Final = "dinp.dinp-system.svc"
_REVIEWS: Final = re.compile(r'^dinp_reviews_total\{.*rule="([^"]+)"\} ([0-9.]+)$', re.MULTILINE)

# A namespace for each rule: name -> labels.
RULE_NAMESPACES: Final[Mapping[str, Mapping[str, str]]] = {
    "annotated": {},
    "annotated-shared": {rules.SHARED_DAEMON: "allowed"},
    "inject-sidecar": {rules.INJECT: "sidecar"},
    "inject-sidecar-shared": {rules.INJECT: "sidecar", rules.SHARED_DAEMON: "allowed"},
    "inject-daemonset": {rules.INJECT: "daemonset"},
    "inject-service": {rules.INJECT: "service"},
    "migrate-sidecar": {rules.MIGRATE: "sidecar"},
    "migrate-sidecar-shared": {rules.MIGRATE: "sidecar", rules.SHARED_DAEMON: "allowed"},
    "migrate-daemonset": {rules.MIGRATE: "daemonset"},
    "migrate-service": {rules.MIGRATE: "service"},
}

# Made before the policy that refuses such typos now.
OLDER_NAMESPACES: Final[Mapping[str, Mapping[str, str]]] = {
    "typo-inject": {"dinp.io/inject": "sidcar"},
    "typo-inject-beside-migrate": {"dinp.io/inject": "sidcar", "dinp.io/migrate": "sidecar"},
    "typo-migrate": {"dinp.io/migrate": "Sidecar"},
    "typo-shared": {"dinp.io/shared-daemon": "true"},
    "typo-shared-inject": {"dinp.io/inject": "sidecar", "dinp.io/shared-daemon": "yes"},
    "typo-everywhere": {
        "dinp.io/inject": "false",
        "dinp.io/migrate": "deamonset",
        "dinp.io/shared-daemon": "Allowed",
    },
}


class Installation:
    """dinp as it runs in one cluster; everything that it starts ends with it."""

    def __init__(self, cluster: Cluster, directory: Path, flags: Sequence[str] = ()) -> None:
        """`flags` are further ones of `dinp serve`."""
        self.cluster = cluster
        self.api = Api(cluster)
        self._flags = tuple(flags)
        self._directory = directory
        self._ca = _issue_ca()
        self._running = ExitStack()  # holds `dinp serve`
        self._server: Serving | None = None
        self._config: str | None = None
        self._address = ""

    def close(self) -> None:
        """End the server and the connection."""
        self._running.close()
        self.api.close()

    def install(self) -> None:
        """Apply manifests/base unchanged, serve, fill in caBundle, wait until all of it works.

        Raises:
            StartError: a part did not.
        """
        apply_base(self.cluster, self.api)
        service = self.api.must("GET", "/api/v1/namespaces/dinp-system/services/dinp")
        self._address = service["spec"]["clusterIP"]
        self.api.create_service_account("dinp-system", "default")
        self.serve()
        self.register(self._ca)
        wait_until(self._refuses_a_typo, "the policies on namespaces are in force")

    def serve(self, config: str = "{}\n") -> None:
        """Run `dinp serve` with this config file; one with another config file is ended first."""
        if self._server is not None and config == self._config:
            return
        self.stop()
        file = self._directory / "config.yaml"
        file.write_text(config, encoding="utf-8")
        certificate, key = write_server_pair(
            self._directory, self._ca, (SERVICE_NAME,), stem="serving"
        )
        self._server = self._running.enter_context(
            serving(
                *("--bind-address", self._address, "--secure-port", "443"),
                *("--tls-cert-file", str(certificate), "--tls-private-key-file", str(key)),
                *("--config", str(file)),
                *self._flags,
                within=self._directory,
            )
        )
        self._config = config

    def stop(self) -> None:
        """End `dinp serve`: from now on nobody answers."""
        self._running.close()
        self._server = self._config = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """Be without a server for a while."""
        self.stop()
        try:
            yield
        finally:
            self.serve()

    @contextmanager
    def wrong_ca(self) -> Iterator[None]:
        """Be registered with the certificate of a CA that has not issued the server's."""
        try:
            self.register(_issue_ca(), works=False)
            yield
        finally:
            self.register(self._ca)

    def register(self, ca: KeyPair, *, works: bool = True) -> None:
        """Fill in caBundle, as `dinp certs run` does, and wait until the API server goes by it."""
        publish(self.api, ca.certificate)
        wait_until(lambda: works == self._works(), f"the API server calls dinp: {works}")

    def _works(self) -> bool:
        """Whether each of the ten entries is called and answers."""
        pod = small_pod("sidecar")
        answers = [self.api.create_pod(name, pod) for name in RULE_NAMESPACES]
        return all(is_injected(answer) for answer in answers)

    def _refuses_a_typo(self) -> bool:
        labels = {rules.INJECT: "sidcar"}
        path = "/api/v1/namespaces?dryRun=All"
        return self.api.request("POST", path, _namespace("typo-probe", labels)).status == 422

    def reviews(self) -> Counter[str]:
        """How many reviews the server has answered, by the rule whose path was called."""
        assert self._server is not None
        url = f"http://{self._address}:{self._server.health_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        counted: Counter[str] = Counter()
        for rule, value in _REVIEWS.findall(text):
            counted[rule] += int(float(value))
        return counted

    def log_lines(self) -> list[dict[str, Any]]:
        """What the server has logged."""
        assert self._server is not None
        return self._server.log_lines()

    @property
    def server(self) -> Serving:
        """The process; it listens on port 443 of the Service's address."""
        assert self._server is not None
        return self._server

    @property
    def address(self) -> str:
        """Of the Service."""
        return self._address

    @property
    def ca_certificate(self) -> bytes:
        """What the server's certificate is verified by, PEM."""
        return self._ca.certificate

    @property
    def log(self) -> Path:
        """The file that it logs to."""
        assert self._server is not None
        return self._server.directory / "log"

    def user(self, name: str) -> Api:
        """The API as one of USERS sees it; to be closed."""
        assert name in USERS
        return Api(self.cluster, user_token(self.cluster.token, name))


def apply_base(cluster: Cluster, api: Api) -> None:
    """Apply manifests/base unchanged, and make a namespace for each of dinp's rules.

    Raises:
        StartError: kubectl or the API server refuses.
    """
    done = cluster.kubectl("apply", "--kustomize", str(BASE))
    if done.code:
        raise StartError(f"kubectl apply --kustomize manifests/base: {done.err}")
    for name, labels in RULE_NAMESPACES.items():
        answer = api.create_namespace(name, labels)
        if answer.status != 201:
            raise StartError(f"namespace {name}: {answer.message}")


def apply_shared(cluster: Cluster) -> None:
    """Apply manifests/shared unchanged, on top of the base.

    Raises:
        StartError: kubectl or the API server refuses.
    """
    done = cluster.kubectl("apply", "--kustomize", str(SHARED))
    if done.code:
        raise StartError(f"kubectl apply --kustomize manifests/shared: {done.err}")


def write_kubeconfig(api: Api, name: str, file: Path, namespace: str = "dinp-system") -> Path:
    """Write a kubeconfig by which one is a ServiceAccount; return the file."""
    token = api.service_account_token(namespace, name)
    known = json.loads(api.cluster.kubeconfig.read_text(encoding="utf-8"))
    known["users"] = [{"name": "admin", "user": {"token": token}}]
    file.write_text(json.dumps(known), encoding="utf-8")
    return file


def kustomization(directory: Path, *resources: str, components: Sequence[str] = ()) -> Path:
    """Write one to `directory` that has these folders of manifests; return the directory."""
    # kustomize takes paths that lead out of a folder, but no absolute ones.
    at = os.path.relpath(MANIFESTS, directory.resolve())
    whole = {
        "resources": [f"{at}/{name}" for name in resources],
        "components": [f"{at}/components/{name}" for name in components],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    return directory


def publish(api: Api, bundle: bytes) -> None:
    """Write this PEM bundle to every caBundle, as `dinp certs run` does."""
    value = base64.b64encode(bundle).decode()
    operations: Any = [
        {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": value}
        for index in range(len(rules.RULES))
    ]
    api.must("PATCH", CONFIGURATION, operations, media_type=JSON_PATCH)


def endpoint_slice(endpoints: Sequence[Object], port: int) -> Object:
    """The EndpointSlice of dinp's Service, as its controller would write it.

    With a manager of our own, so that such a controller leaves it alone where one runs.
    """
    labels = {
        "kubernetes.io/service-name": "dinp",
        "endpointslice.kubernetes.io/managed-by": "tests.dinp.io",
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "dinp-tests", "namespace": "dinp-system", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


@contextmanager
def installed(
    cluster: Cluster, directory: Path, flags: Sequence[str] = ()
) -> Iterator[Installation]:
    """Install dinp in `cluster`; `directory` is for its files, `flags` for `dinp serve`."""
    with closing(Installation(cluster, directory, flags)) as installation:
        installation.install()
        yield installation


def _issue_ca() -> KeyPair:
    return authority.issue_ca("dinp", now=datetime.now(UTC), lifetime=DAY)


def _namespace(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def small_pod(inject: str | None = None, *, name: str = "small") -> dict[str, Any]:
    """A Pod that asks by annotation, or does not."""
    metadata: dict[str, Any] = {"name": name}
    if inject is not None:
        metadata["annotations"] = {rules.INJECT: inject}
    container = {"name": "build", "image": "docker:29-cli", "command": ["sh", "-c", "docker info"]}
    return {"metadata": metadata, "spec": {"restartPolicy": "Never", "containers": [container]}}


def is_injected(answer: Answer) -> bool:
    """Whether the Pod that came out has a daemon of dinp's."""
    return answer.status == 201 and "dinp.io/mode" in answer.body["metadata"].get("labels", {})


def yaml_of(config: Mapping[str, Any]) -> str:
    """A config file."""
    return yaml.safe_dump(dict(config))
