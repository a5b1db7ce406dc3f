"""What a Pod had, and has not with a daemon of its own: said, where nothing else would say it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from webhook import names
from webhook.asking.request import Request
from webhook.asking.rules import Mode
from webhook.asking.settings import Settings
from webhook.finding.found import Found
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, Volume
from webhook.reasons import Finding, Reason

_DATA: Final = "/var/lib/docker"
# RuntimeClasses of Kata Containers and gVisor, as their manuals and clouds name them.
_VIRTUAL: Final = ("kata", "gvisor", "runsc")
# Owners of Pods that stand for each other, and stay.
_LASTING: Final = frozenset({"ReplicaSet", "StatefulSet", "ReplicationController"})


def losses(
    pod: Pod, request: Request, seen: Found, chosen: Sequence[Container], settings: Settings
) -> Iterator[Finding]:
    """Yield warnings; `chosen` are the clients."""
    yield from _caches(pod, seen, chosen, settings)
    if settings.mode is not Mode.SIDECAR:
        return
    name = pod["spec"].get("runtimeClassName") or ""
    if name.startswith(_VIRTUAL) and name not in settings.unprivileged_runtime_classes:
        yield Reason.VIRTUAL_MACHINE.say(name=name)
    if request.migrate:
        for owner in (pod.get("metadata") or {}).get("ownerReferences") or ():
            if owner.get("kind") in _LASTING:
                yield Reason.DAEMON_PER_POD.say(kind=owner["kind"], name=owner.get("name", ""))


def _caches(
    pod: Pod, seen: Found, chosen: Sequence[Container], settings: Settings
) -> Iterator[Finding]:
    """A volume of the user's at the daemon's data directory of a client; the node's is said elsewhere."""
    if settings.storage.kind != "emptydir":
        return
    volumes = {volume["name"]: volume for volume in pods.volumes(pod)}
    nodes = {(found.container, found.at) for found in seen.node_mounts}
    for container in chosen:
        for at, mount in enumerate(pods.mounts(container)):
            if "docker" not in mount["mountPath"]:  # cleaning takes nothing out of a name
                continue
            path = pods.clean_path(mount["mountPath"])
            # A socket that an earlier pass has migrated is there, too, if somebody wants it so.
            is_users = not names.is_dinps_volume(mount["name"])
            if pods.is_within(path, _DATA) and is_users and (container["name"], at) not in nodes:
                yield Reason.CACHE_UNUSED.say(
                    container=container["name"],
                    volume=mount["name"],
                    path=path,
                    hint=_hint(volumes.get(mount["name"]), settings),
                )


def _hint(volume: Volume | None, settings: Settings) -> str:
    if settings.mode.is_shared:
        return ", that of the shared daemon"
    claim = None if volume is None else volume.get("persistentVolumeClaim")
    if claim:
        return f"; dinp.io/storage: pvc:{claim.get('claimName')} gives it this claim"
    return "; dinp.io/storage gives it one that lasts"
