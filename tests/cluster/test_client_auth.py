"""The API server proves who it is: the steps of docs/security.md, followed as they are written.

openssl makes the certificates, the API server is started with both files, and `dinp serve` with
what manifests/components/client-auth adds. Then reviews pass, and strangers do not.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
import yaml

from certs import authority
from certs.authority import Usage
from tests.cluster import assets
from tests.cluster.api import Cluster, Object
from tests.cluster.control_plane import control_plane
from tests.cluster.installation import (
    MANIFESTS,
    SERVICE_NAME,
    Installation,
    installed,
    is_injected,
    kustomization,
    small_pod,
)
from tests.terminal import teller
from tools.certificates import DAY, write_secret
from tools.serving import admission_review

pytestmark = pytest.mark.cluster

PAGE: Final = MANIFESTS.parent / "docs" / "security.md"
FOLDER: Final = "/etc/kubernetes/dinp"  # as the page has it
MOUNT: Final = "/client-ca"  # as the component has it


def blocks(language: str) -> list[str]:
    """The code of the section, without the indentation of its steps."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition("## The API server proves who it is")[2].partition("\n## ")[0]
    found = re.findall(
        rf"^( *)```{language}[^\n]*\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL
    )
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


@dataclass(frozen=True)
class Site:
    """dinp with the component, and an API server that has a certificate for it."""

    cluster: Cluster
    dinp: Installation
    directory: Path  # FOLDER, and ca.crt with ca.key

    def review(self, pair: tuple[Path, Path] | None) -> int:
        """Send a review with this certificate and key, and return the status.

        Raises:
            OSError: the handshake failed; with TLS 1.3 the client learns of it when it reads.
        """
        context = ssl.create_default_context(cadata=self.dinp.ca_certificate.decode())
        context.check_hostname = False  # its name is the Service's
        if pair is not None:
            context.load_cert_chain(*pair)
        connection = http.client.HTTPSConnection(
            self.dinp.address, 443, context=context, timeout=30
        )
        try:
            body = json.dumps(admission_review(small_pod("sidecar")))
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/pods/annotated", body, headers)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Follow the steps, with a folder of ours in the place of the page's."""
    directory = tmp_path_factory.mktemp("client-auth")
    openssl, config_map = blocks("sh")
    subprocess.run(["sh", "-euc", openssl], cwd=directory, check=True, capture_output=True)  # noqa: S603, S607 - our page
    _, admission, kubeconfig = blocks("yaml")
    for name, text in (("admission.yaml", admission), ("kubeconfig.yaml", kubeconfig)):
        (directory / name).write_text(text.replace(FOLDER, str(directory)), encoding="utf-8")
    (flag,) = set(
        re.findall(r"`--(admission-control-config-file)=\S+/admission.yaml`", PAGE.read_text())
    )
    programs = assets.find_or_build(teller(request))
    flags = {flag: directory / "admission.yaml"}
    with control_plane(programs, tmp_path_factory.mktemp("plane"), flags=flags) as cluster:
        added = serve_flags(cluster, tmp_path_factory.mktemp("component"))
        local = [flag.replace(MOUNT, str(directory)) for flag in added]
        with installed(cluster, tmp_path_factory.mktemp("dinp"), local) as dinp:
            command = config_map.split("kubectl ", 1)[1].replace("=ca.crt", f"={directory}/ca.crt")
            done = cluster.kubectl(*command.split())
            assert done.code == 0, done.err
            yield Site(cluster, dinp, directory)


def deployment(cluster: Cluster, directory: Path, *components: str) -> Object:
    done = cluster.kubectl(
        "kustomize", str(kustomization(directory, "base", components=components))
    )
    assert done.code == 0, done.err
    objects = yaml.safe_load_all(done.out)
    (found,) = (
        it for it in objects if (it["kind"], it["metadata"]["name"]) == ("Deployment", "dinp")
    )
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def serve_flags(cluster: Cluster, directory: Path) -> list[str]:
    """The flags that the component adds."""
    plain = deployment(cluster, directory)["containers"][0]["args"]
    args = deployment(cluster, directory, "client-auth")["containers"][0]["args"]
    assert plain == args[: len(plain)]
    added: list[str] = args[len(plain) :]
    return added


def test_reviews_of_the_api_server_pass(site: Site) -> None:
    """By every entry: a Pod that asks gets its daemon."""
    assert is_injected(site.dinp.api.create_pod("annotated", small_pod("sidecar")))
    assert is_injected(site.dinp.api.create_pod("inject-sidecar", small_pod()))


STRANGERS: Final = {
    "nobody": None,
    "of another CA": "strangers",
    "of a CA of the same name": "dinp clients",
}


@pytest.mark.parametrize("who", STRANGERS)
def test_strangers_do_not(site: Site, tmp_path: Path, who: str) -> None:
    """Refused in the handshake, before a review is read; the API server's own pair is let in."""
    before = site.dinp.reviews()
    stranger = STRANGERS[who]
    pair = None
    if stranger is not None:
        ca = authority.issue_ca(stranger, now=datetime.now(UTC), lifetime=DAY)
        pair = write_pair(tmp_path, ca, Usage.CLIENT)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        site.review(pair)
    assert site.dinp.reviews() == before
    assert site.review((site.directory / "tls.crt", site.directory / "tls.key")) == 200
    assert site.dinp.reviews() != before


def test_a_servers_certificate_is_no_clients(site: Site, tmp_path: Path) -> None:
    """Of the right CA, but for servers."""
    ca = authority.KeyPair(
        (site.directory / "ca.crt").read_bytes(), (site.directory / "ca.key").read_bytes()
    )
    with pytest.raises((ssl.SSLError, ConnectionError)):
        site.review(write_pair(tmp_path, ca, Usage.SERVER))
    assert site.review(write_pair(tmp_path, ca, Usage.CLIENT)) == 200


def write_pair(directory: Path, ca: authority.KeyPair, usage: Usage) -> tuple[Path, Path]:
    pair = authority.issue_leaf(
        ca, "stranger", names=["stranger"], usage=usage, now=datetime.now(UTC), lifetime=DAY
    )
    certificate, key = directory / "tls.crt", directory / "tls.key"
    certificate.write_bytes(pair.certificate)
    write_secret(key, pair.key)
    return certificate, key


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_needs_no_certificate(site: Site, path: str) -> None:
    """The kubelet and Prometheus have none."""
    url = f"http://{site.dinp.address}:{site.dinp.server.health_port}{path}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.status == 200


def test_the_pod_is_where_the_steps_say(site: Site, tmp_path: Path) -> None:
    """The flag names a file of the ConfigMap that the steps make, at the path where it is mounted."""
    (flag,) = serve_flags(site.cluster, tmp_path)
    assert flag == f"--client-ca-file={MOUNT}/ca.crt"
    spec = deployment(site.cluster, tmp_path, "client-auth")
    mounts = {it["name"]: it for it in spec["containers"][0]["volumeMounts"]}
    assert mounts["client-ca"] == {"name": "client-ca", "mountPath": MOUNT, "readOnly": True}
    sources = {it["name"]: it for it in spec["volumes"]}
    name = sources["client-ca"]["configMap"]["name"]
    path = f"/api/v1/namespaces/dinp-system/configmaps/{name}"
    data: Mapping[str, str] = site.dinp.api.must("GET", path)["data"]
    assert data["ca.crt"].encode() == (site.directory / "ca.crt").read_bytes()


def test_the_network_policy_of_the_page(site: Site, tmp_path: Path) -> None:
    """It leaves 8443 to those addresses alone, and the health port to all."""
    kustomization(tmp_path, "base")
    file = tmp_path / "kustomization.yaml"
    file.write_text(f"{file.read_text()}{blocks('yaml')[0]}")
    done = site.cluster.kubectl("kustomize", str(tmp_path))
    assert done.code == 0, done.err
    (policy,) = (
        it
        for it in yaml.safe_load_all(done.out)
        if (it["kind"], it["metadata"]["name"]) == ("NetworkPolicy", "dinp")
    )
    text = yaml.safe_dump(policy)
    done = site.cluster.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-", given=text
    )
    assert done.code == 0, done.err
    https, health = policy["spec"]["ingress"]
    assert https["from"] == [{"ipBlock": {"cidr": "192.0.2.0/28"}}]
    assert [https["ports"][0]["port"], health["ports"][0]["port"]] == ["https", "health"]
    assert "from" not in health


def test_without_its_certificate_the_api_server_is_refused(site: Site, tmp_path: Path) -> None:
    """Last, as it ends the server: a Pod that asks is refused with the cause, others are not."""
    ca = authority.issue_ca("others", now=datetime.now(UTC), lifetime=DAY)
    (tmp_path / "ca.crt").write_bytes(ca.certificate)
    own = (site.directory / "ca.crt").read_bytes()
    (site.directory / "ca.crt").write_bytes(ca.certificate)
    try:
        with site.dinp.down():
            pass  # comes up again with the CA of others
        answer = site.dinp.api.create_pod("annotated", small_pod("sidecar"))
        assert answer.status == 500
        # The server breaks the handshake off, and its alert may not arrive.
        assert 'failed calling webhook "annotated.dinp.io"' in answer.message
        assert re.search(r"EOF|remote error: tls|connection reset", answer.message)
        assert site.dinp.api.create_pod("annotated", small_pod()).status == 201
    finally:
        (site.directory / "ca.crt").write_bytes(own)
        with site.dinp.down():
            pass
    assert SERVICE_NAME in blocks("yaml")[2]
    assert is_injected(site.dinp.api.create_pod("annotated", small_pod("sidecar")))
