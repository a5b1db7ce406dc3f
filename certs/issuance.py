"""`dinp certs issue`: one CA and one serving certificate, as files or as manifests for GitOps.

Nobody renews these: it is for clusters where certs does not run. The CA's key goes into no
manifest, and to a file only if asked: without it there is nothing to guard, and the next
issue makes a new CA.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from certs.authority import KeyPair
from certs.policy import Policy

_LABELS: Final = {
    "app.kubernetes.io/name": "dinp",
    "app.kubernetes.io/part-of": "dinp",
}


@dataclass(frozen=True, slots=True)
class Issued:
    """A CA and the serving certificate by it."""

    ca: KeyPair
    leaf: KeyPair

    @property
    def files(self) -> dict[str, bytes]:
        """By the names that they have in a Secret of type kubernetes.io/tls."""
        return {
            "ca.crt": self.ca.certificate,
            "tls.crt": self.leaf.certificate,
            "tls.key": self.leaf.key,
        }


def issue(policy: Policy, now: datetime) -> Issued:
    """Issue both."""
    ca = policy.issue_ca(now)
    return Issued(ca, policy.issue_leaf(ca, now))


def write_files(issued: Issued, directory: Path, *, with_ca_key: bool) -> list[Path]:
    """Write ca.crt, tls.crt, tls.key and, if asked, ca.key; return them. Keys are for the owner only.

    Raises:
        OSError: they cannot be written.
    """
    contents = issued.files
    if with_ca_key:
        contents["ca.key"] = issued.ca.key
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        _write(directory / name, content)
    return [directory / name for name in contents]


def _write(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)  # an old one might be readable for others
    file.touch(mode=0o600 if file.suffix == ".key" else 0o644)
    file.write_bytes(content)


def secret_manifest(issued: Issued, *, name: str, namespace: str) -> dict[str, Any]:
    """The Secret that the webhook mounts."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(_LABELS)},
        "type": "kubernetes.io/tls",
        "data": {key: b64encode(value).decode() for key, value in issued.files.items()},
    }


def with_bundle(configuration: Mapping[str, Any], issued: Issued) -> dict[str, Any]:
    """The MutatingWebhookConfiguration with the CA in every caBundle."""
    bundle = b64encode(issued.ca.certificate).decode()
    webhooks = [
        {**webhook, "clientConfig": {**webhook.get("clientConfig", {}), "caBundle": bundle}}
        for webhook in configuration.get("webhooks", [])
    ]
    return {**configuration, "webhooks": webhooks}


def read_configuration(text: str) -> dict[str, Any]:
    """Find the one MutatingWebhookConfiguration among YAML documents.

    Raises:
        ValueError: it is not YAML, or has none or several.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from error
    found = [
        document
        for document in documents
        if isinstance(document, dict) and document.get("kind") == "MutatingWebhookConfiguration"
    ]
    if len(found) != 1:
        raise ValueError(f"{len(found)} documents of kind MutatingWebhookConfiguration, expected 1")
    return found[0]


def to_yaml(documents: list[dict[str, Any]]) -> str:
    """Write manifests."""
    return yaml.dump_all(documents, Dumper=_NoAliases, sort_keys=False, explicit_start=True)


class _NoAliases(yaml.SafeDumper):
    """What the configuration shares by YAML anchors is written out: other tools read it, too."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True
