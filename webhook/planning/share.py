"""dinp.io/share: paths given one emptyDir in clients and daemon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from webhook import names
from webhook.asking.settings import Share
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Volume, VolumeMount
from webhook.reasons import Finding, Reason

# What a seed container has of its client.
_INHERITED: Final = ("image", "imagePullPolicy", "resources", "securityContext")
# Where a seed container sees the shared volume, beside the image's own content of the path.
_TARGET: Final = "/dinp/share"
# Not -a: who is not root cannot keep the times of the volume's own directory, and cp would fail.
_COPY: Final = 'if [ -d "$1" ]; then cp -R "$1/." "$2"; fi'


def volumes(shares: Sequence[Share]) -> tuple[Volume, ...]:
    return tuple(
        {"name": f"{names.SHARE_PREFIX}{at}", "emptyDir": {}} for at, _ in enumerate(shares)
    )


def mounts(shares: Sequence[Share]) -> tuple[VolumeMount, ...]:
    """For every client and the daemon."""
    return tuple(
        {"name": f"{names.SHARE_PREFIX}{at}", "mountPath": share.path}
        for at, share in enumerate(shares)
    )


def excess(client: Container) -> Finding | None:
    """A Finding where each seed would repeat too much of `client`, or None."""
    length = len(msgspec.json.encode([client.get(key) for key in _INHERITED]))
    if length <= bounds.COPIED:
        return None
    key = f"what each seed of dinp.io/share repeats of container {client['name']}"
    return Reason.TOO_LONG.say(key=key, length=f"{length:,} bytes", bound=f"{bounds.COPIED:,}")


def seed_containers(shares: Sequence[Share], client: Container) -> Iterator[Container]:
    """Init containers that fill a share with what the image of `client` has at its path.

    They run as `client` does, with its resources, which are free: an init container's
    requests count only where they are more than all containers' together.
    """
    for at, share in enumerate(shares):
        if share.seed:
            seed: Container = {
                "name": f"{names.SEED_PREFIX}{at}",
                "command": ["sh", "-c", _COPY, "seed", pods.literal(share.path), _TARGET],
                "volumeMounts": [
                    {"name": f"{names.SHARE_PREFIX}{at}", "mountPath": _TARGET},
                    names.NO_TOKEN_MOUNT,
                ],
            }
            extra = {key: client[key] for key in _INHERITED if client.get(key)}
            yield {**seed, **extra}  # type: ignore[typeddict-item]
