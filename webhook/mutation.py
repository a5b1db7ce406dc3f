"""mutate: carry out a Plan. Pure; what is untouched is shared with the old Pod."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from webhook import __version__, names
from webhook.planning.additions import Additions
from webhook.planning.clients import Client
from webhook.planning.plan import Action, Plan
from webhook.pods import bounds, edits
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod, PodSpec

# Two lists of lines in JSON, where a control character takes six.
_LONGEST_STATUS: Final = 12 * bounds.STATUS + 4096


def mutate(pod: Pod, plan: Plan) -> Pod:
    """The Pod as `plan` wants it; the same object where nothing changes.

    `mutate(mutate(pod)) == mutate(pod)`, with a Plan decided anew for each: what an earlier
    pass has done is found by its structure, never by dinp.io/status.
    """
    if plan.action is Action.LEAVE and plan.note_status:
        skipped = _Status(skipped=plan.finding.reason.value, warnings=[plan.finding.text])
        return _with_status(pod, plan, skipped)
    if plan.action is not Action.INJECT or plan.additions is None or plan.mode is None:
        return pod
    spec = _spec(pod["spec"], plan.clients, plan.additions)
    changed: Pod = pod if spec is pod["spec"] else {**pod, "spec": spec}
    changed = edits.with_metadata(changed, "labels", names.MODE_LABEL, plan.mode.value)
    changed = _with_evictable_volumes(changed, plan.additions)
    return pod if changed is pod else _with_status(changed, plan, _done(pod, changed, plan))


def _spec(spec: PodSpec, clients: Iterable[Client], additions: Additions) -> PodSpec:
    by_name = {client.name: client for client in clients}

    def edit(container: Container) -> Container:
        client = by_name.get(container["name"])
        return container if client is None else _edited(container, client)

    replaced = {gone.volume for client in by_name.values() for gone in client.replacements}
    new = edits.map_containers(spec, edit)
    new = edits.with_volumes(new, additions.volumes)
    new = edits.with_init_containers(new, additions.init_containers, _left_over(spec, additions))
    # The daemon's own, too: of a volume that had the node's socket it may have the rest.
    new = edits.without_unused_volumes(new, replaced)
    if additions.renews:
        ours = {volume["name"] for volume in new.get("volumes") or ()}
        new = edits.without_unused_volumes(new, filter(names.is_dinps_volume, ours))
    if additions.supplemental_group is not None:
        new = edits.with_supplemental_group(new, additions.supplemental_group)
    if additions.image_pull_secret is not None:
        new = edits.with_image_pull_secret(new, additions.image_pull_secret)
    return new


def _left_over(spec: PodSpec, additions: Additions) -> set[str]:
    """dinp's init containers that belong to a dinp-dind that was asked for otherwise."""
    if not additions.renews:
        return set()
    there = {container["name"] for container in spec.get("initContainers") or ()}
    wanted = {container["name"] for container in additions.init_containers}
    return set(filter(names.is_dinps_container, there - wanted))


def _edited(container: Container, client: Client) -> Container:
    new = container
    if client.replacements:
        becomes = {replacement.at: replacement.new for replacement in client.replacements}
        kept = [becomes.get(at, mount) for at, mount in enumerate(pods.mounts(container))]
        new = {**new, "volumeMounts": [mount for mount in kept if mount is not None]}
    new = edits.without_env(new, client.removed)
    new = edits.with_env(new, client.variables)
    return edits.with_mounts(new, client.mounts)


def _with_evictable_volumes(pod: Pod, additions: Additions) -> Pod:
    """Keep the cluster autoscaler's mind: where local volumes do not pin the node, nor do ours."""
    listed = pods.annotations_of(pod).get(pods.SAFE_TO_EVICT)
    if listed is None:
        return pod
    known = [name.strip() for name in listed.split(",") if name.strip()]
    ours = [volume["name"] for volume in additions.volumes if volume.get("emptyDir") is not None]
    merged = ",".join(dict.fromkeys([*known, *ours]))
    return edits.with_metadata(pod, "annotations", pods.SAFE_TO_EVICT, merged)


def _done(old: Pod, new: Pod, plan: Plan) -> _Status:
    before = {container["name"]: container for container in pods.containers(old)}
    edited = {
        container["name"]
        for container in pods.containers(new)
        if container is not before.get(container["name"])
    }
    changed = (_changed(client) for client in plan.clients if client.name in edited)
    return _Status(
        changed=[text[: bounds.QUOTED] for text in changed if text],
        warnings=[finding.text for finding in plan.warnings],
        notes=[finding.text for finding in plan.notes],
    )


def _changed(client: Client) -> str | None:
    what = [
        *client.socket_paths,
        *(variable["name"] for variable in client.variables),
        *(f"without {name}" for name in client.removed),
    ]
    return f"container {client.name}: {', '.join(what)}" if what else None


class _Status(msgspec.Struct, omit_defaults=True):
    """The JSON of dinp.io/status."""

    version: str = ""
    mode: str = ""
    transport: str = ""
    skipped: str = ""  # a Reason's value: why nothing was injected
    changed: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []  # what nobody needs to act on


def _with_status(pod: Pod, plan: Plan, status: _Status) -> Pod:
    """Write dinp.io/status; what an earlier pass has said of other containers is kept."""
    earlier = _earlier_status(pod)
    status.version = __version__
    status.mode = "" if plan.mode is None else plan.mode.value
    status.transport = plan.transport
    room = _room(pod)
    if not status.skipped:
        status.changed = _told([*earlier.changed, *status.changed], room)
    status.warnings = _told([*earlier.warnings, *status.warnings], room)
    status.notes = _told([*earlier.notes, *status.notes], min(room, bounds.QUOTED))
    text = msgspec.json.encode(status).decode()
    return edits.with_metadata(pod, "annotations", names.STATUS, text)


def _room(pod: Pod) -> int:
    """Bytes for each of two lists: the API server bounds all annotations of an object together."""
    others = sum(
        len(name.encode(errors="replace")) + len(value.encode(errors="replace"))
        for name, value in pods.annotations_of(pod).items()
        if name != names.STATUS
    )
    return min(bounds.STATUS, (bounds.ANNOTATIONS - others) // 2 - bounds.QUOTED)


def _told(lines: Iterable[str], left: int) -> list[str]:
    """The lines, each once, as far as there is room for them: `left` bytes."""
    told = []
    for line in dict.fromkeys(lines):
        left -= len(msgspec.json.encode(line)) + 1
        if left < 0:
            break
        told.append(line)
    return told


def _earlier_status(pod: Pod) -> _Status:
    """What stands there may be anybody's; it is not ours where it is longer than ours can be."""
    text = pods.annotations_of(pod).get(names.STATUS, "{}")
    if len(text) > _LONGEST_STATUS:
        return _Status()
    try:
        return msgspec.json.decode(text, type=_Status)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _Status()
