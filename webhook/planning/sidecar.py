"""Sidecar mode: the dind container, its volumes and its probe.

A native sidecar (KEP-753: an init container with `restartPolicy: Always`), so that the
daemon answers before anything else starts, later init containers can use it, and a Job
still ends when its work does. dind.sh is its start script.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import scripts
from webhook import names
from webhook.asking import storage
from webhook.asking.config import Transport
from webhook.asking.settings import Settings
from webhook.planning import cli, storage_volumes
from webhook.pods import edits, image
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar, Pod, Resources, Volume, VolumeMount
from webhook.reasons import Finding, Reason

# By whether dockerd has clients show a certificate: only then does it make any.
SCRIPT: Final = scripts.read("dind.sh")
SCRIPT_WITH_TLS: Final = scripts.read("dind.sh", "tls")

SOCKET_LINKS: Final = "DINP_SOCKET_LINKS"
ROOTLESS_UID: Final = 1000
_DATA_DIRECTORY: Final = "/var/lib/docker"
_PROBE_PERIOD: Final = 1  # seconds

# 24 is the oldest API that dockerd 25 to 29 can be asked to serve; 29 alone would refuse
# the clients of Docker 19.03 and many testcontainers.
_OLDEST_API: Final = "1.24"


def container(
    pod: Pod,
    settings: Settings,
    *,
    resources: Resources | None,
    mirrored: Iterable[VolumeMount],
    proxy: Iterable[EnvVar],
) -> Container:
    """The dinp-dind container."""
    args = [pods.literal(arg) for arg in dockerd(pod, settings)]
    fresh: Container = {
        "name": names.DIND,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["sh", "-c", script(args), "dind.sh"],
        "args": args,
        "env": [*_environment(pod, settings), *proxy],
        "volumeMounts": [*_own_mounts(settings), *mirrored],
        "securityContext": _security_context(pod, settings),
    }
    if resources is not None:
        fresh["resources"] = resources
    # Without a note of dind.sh's the status has the end of the log: dockerd's reason not to start.
    policy = "FallbackToLogsOnError"
    unread = {"startupProbe": _startup_probe(settings), "terminationMessagePolicy": policy}
    return cast("Container", {**fresh, **unread})


def script(args: Sequence[str]) -> str:
    """dind.sh with what it needs for these arguments of dockerd."""
    return SCRIPT_WITH_TLS if "--tlsverify" in args else SCRIPT


def image_in_place(existing: Container, settings: Settings) -> str | Finding:
    """The image of a dinp-dind that is there already, or why the Pod is denied.

    Another webhook may have rewritten the registry, or said the digest: an allowed image stays.
    But for one of the other kind, by Docker's own names: it would not start.
    """
    there = existing.get("image") or settings.image
    allowed = (*settings.allowed_images, settings.default_image, settings.rootless_image)
    if not image.allowed(there, allowed):
        listed = ", ".join(settings.allowed_images) or "nothing"
        return Reason.DIND_IMAGE_NOT_ALLOWED.say(
            container=existing["name"], value=there, allowed=listed
        )
    return there if _is_rootless(existing) == settings.rootless else settings.image


def _is_rootless(existing: Container) -> bool:
    paths = {mount["mountPath"] for mount in pods.mounts(existing)}
    return names.ROOTLESS_DATA in paths or "rootless" in (existing.get("image") or "")


def with_links(dind: Container, paths: Sequence[str]) -> Container:
    """Have dind.sh link the migrated socket paths, for `docker run -v <path>:…`."""
    if not paths:
        return dind
    variable: EnvVar = {"name": SOCKET_LINKS, "value": "\n".join(map(pods.literal, paths))}
    return edits.with_env(dind, [variable])


def transport_of(existing: Container) -> Transport:
    """The transport of the dinp-dind that is there, by its dockerd arguments.

    It was that of its clients, too, until they are told of another.
    """
    args = existing.get("args") or []
    for transport, listener in _LISTENER.items():
        if listener and listener[0] in args:
            return transport
    return "unix"


def volumes(settings: Settings) -> Iterator[Volume]:
    """The volumes that dinp-dind needs."""
    yield {"name": names.RUN, "emptyDir": {}}
    data = storage.volume(settings.storage)
    if data is not None:
        yield data
    if settings.transport == "tls":
        yield {"name": names.CERTS, "emptyDir": {"medium": "Memory"}}
    if settings.daemon_config is not None:
        config_map = {
            "name": settings.daemon_config.name,
            "optional": settings.daemon_config.optional,
        }
        yield {"name": names.DAEMON_CONFIG, "configMap": config_map}
    yield names.NO_TOKEN_VOLUME


def socket_group(pod: Pod, settings: Settings) -> int:
    """The gid that may use the socket, as processes in the Pod see it.

    Rootless, gid 0 of the daemon's user namespace is gid 1000 outside; any other number
    would be mapped into the subordinate range.
    """
    if settings.rootless:
        return ROOTLESS_UID
    fs_group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
    return settings.socket_group if fs_group is None else fs_group


def dockerd(pod: Pod, settings: Settings) -> Iterator[str]:
    """The daemon's command line.

    The first word must be `dockerd`: for anything else the image's entrypoint adds a
    listener on 0.0.0.0. The socket in its own /var/run is for nested use.
    """
    yield "dockerd"
    yield f"--host=unix://{names.SOCKET_PATH}"
    yield "--host=unix:///var/run/docker.sock"
    yield from _LISTENER[settings.transport]
    group = 0 if settings.rootless else socket_group(pod, settings)
    yield f"--group={group}"
    if settings.rootless:
        # The volume itself belongs to root: dockerd could not set its mode, and would end.
        yield f"--data-root={names.ROOTLESS_DATA}/data"
    if storage_volumes.outlives(pod, settings.storage):
        # Containers of a former Pod with `restart: always` are in the data, and would come up.
        yield "--restart=false"
    own = {arg.partition("=")[0] for arg in settings.dockerd_args}
    if "--bip" not in own:
        yield f"--bip={settings.bip}"
    if "--default-address-pool" not in own:
        for pool in settings.default_address_pools:
            yield f"--default-address-pool=base={pool.base},size={pool.size}"
    for mirror in settings.registry_mirrors:
        yield f"--registry-mirror={mirror}"
    for registry in settings.insecure_registries:
        yield f"--insecure-registry={registry}"
    yield from settings.dockerd_args


# Never 0.0.0.0: the whole cluster reaches the Pod's address. Without a value for --tls,
# dockerd sleeps 15 seconds before it listens on TCP.
_LISTENER: Final[dict[Transport, tuple[str, ...]]] = {
    "tcp": ("--host=tcp://127.0.0.1:2375", "--tls=false"),
    "tls": (
        "--host=tcp://127.0.0.1:2376",
        "--tlsverify",
        f"--tlscacert={names.CERTS_PATH}/ca.pem",
        f"--tlscert={names.SERVER_CERTS_PATH}/cert.pem",
        f"--tlskey={names.SERVER_CERTS_PATH}/key.pem",
    ),
    "unix": (),
}
_PORT: Final = {"tcp": 2375, "tls": 2376}


def _environment(pod: Pod, settings: Settings) -> Iterator[EnvVar]:
    """Never the clients' variables: DOCKER_TLS_VERIFY would kill a dockerd with --tls=false."""
    yield {"name": "DOCKER_MIN_API_VERSION", "value": _OLDEST_API}
    if storage_volumes.outlives(pod, settings.storage):
        yield {"name": "DINP_DATA_OUTLIVES_POD", "value": "true"}
    if settings.daemon_config is not None:
        yield {"name": "DINP_DAEMON_CONFIG", "value": names.DAEMON_CONFIG_PATH}
    if settings.daemon_config_keys is not None:
        keys = " ".join(settings.daemon_config_keys)
        yield {"name": "DINP_DAEMON_CONFIG_KEYS", "value": keys}
    if settings.certificate_authorities is not None:
        authorities = pods.literal(settings.certificate_authorities)
        yield {"name": "DINP_CERTIFICATE_AUTHORITIES", "value": authorities}
    if settings.cli:
        yield {"name": "DINP_CLI_PLUGINS", "value": " ".join(cli.PLUGINS)}
    port = _PORT.get(settings.transport)
    if settings.rootless and port is not None:
        # dockerd's 127.0.0.1 is that of RootlessKit's network namespace, not the Pod's.
        forward = f"-p 127.0.0.1:{port}:{port}/tcp"
        yield {"name": "DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS", "value": forward}


def _own_mounts(settings: Settings) -> Iterator[VolumeMount]:
    data = names.ROOTLESS_DATA if settings.rootless else _DATA_DIRECTORY
    yield {"name": names.RUN, "mountPath": names.DIRECTORY}
    yield {"name": storage.volume_name(settings.storage), "mountPath": data}
    if settings.transport == "tls":
        yield {"name": names.CERTS, "mountPath": names.CERTS_PATH}
    if settings.daemon_config is not None:
        path = names.DAEMON_CONFIG_PATH
        yield {"name": names.DAEMON_CONFIG, "mountPath": path, "readOnly": True}
    yield names.NO_TOKEN_MOUNT


def _security_context(pod: Pod, settings: Settings) -> dict[str, Any]:
    """All that a Pod-level securityContext could bring, said here: it must not leak in.

    But for the profiles where the runtime needs no privileges: Pod Security `baseline` refuses
    Unconfined, and admits this Pod.
    """
    runtime = pod["spec"].get("runtimeClassName")
    uid = ROOTLESS_UID if settings.rootless else 0
    context: dict[str, Any] = {
        "privileged": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "runAsNonRoot": settings.rootless,
        "readOnlyRootFilesystem": False,
    }
    if runtime in settings.unprivileged_runtime_classes:
        return {**context, "privileged": False}
    unconfined = {"type": "Unconfined"}
    return {**context, "seccompProfile": unconfined, "appArmorProfile": unconfined}


def _startup_probe(settings: Settings) -> dict[str, Any]:
    """It gates the Pod's start. The socket file alone is no sign: it may hang for 16 s.

    No liveness or readiness probe: the one would kill builds when the daemon is busy, the
    other would flip the Pod's Ready.
    """
    return {
        "exec": {"command": ["docker", f"--host=unix://{names.SOCKET_PATH}", "version"]},
        "periodSeconds": _PROBE_PERIOD,
        "timeoutSeconds": 5,
        "failureThreshold": math.ceil(settings.startup_seconds / _PROBE_PERIOD),
    }
