"""A Docker daemon that the Pod runs itself: dinp must not add a second one.

Judged by what a container really starts. Names prove nothing: `docker:dind` with `cat` is a
client, common in Jenkinsfiles, and `image-cleaner-dind` is no daemon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from webhook import names
from webhook.finding import node_docker
from webhook.finding.node_docker import Kind, NodeMount
from webhook.pods import image
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod

# Prow's job images and actions-runner-controller's runner start dockerd for these.
_SWITCHES: Final = ("DOCKER_IN_DOCKER_ENABLED", "DOCKER_IN_DOCKER", "DOCKERD_IN_RUNNER")
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_DAEMONS: Final = frozenset({"dockerd", "dockerd-rootless.sh", "dockerd-rootless"})
_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash"})
_WRAPPERS: Final = frozenset({"tini", "dumb-init", "docker-init", "dind", "sudo", "env", "nohup"})
# Where a shell expects a command: `pgrep dockerd` and `tail dockerd.log` start nothing.
_IN_SHELL: Final = re.compile(
    r"(?:^|[;&|({\n]|--[ \t]|\b(?:exec|nohup|sudo|then|do|else|dind)[ \t])[ \t]*(?:/[\w./-]{0,99}/)?"
    r"dockerd(?:-entrypoint\.sh|-rootless(?:\.sh)?)?(?=\s|$|[;&|)])"
)


class PodDaemon(NamedTuple):
    """A container that runs a daemon which the Pod brings, and a phrase that says so."""

    container: Container
    where: str


def pod_daemons(pod: Pod, found: Sequence[NodeMount]) -> Iterator[PodDaemon]:
    """Which containers run a daemon of the Pod's own; `found` is what it mounts of the node.

    | container | own daemon |
    |---|---|
    | dinp's, or mounts the node's socket, or did so before it was migrated | no |
    | DOCKER_IN_DOCKER_ENABLED or its like is true | yes |
    | image `docker:<...>dind<...>`, or privileged with `dind` in the image's name or tag; its command is the image's own, or starts dockerd | yes |
    | the same, but its command is `cat`, `sleep`, `docker build`, ... | no: a client |
    | any image, its command starts dockerd, in a shell too | yes |
    | any, in a Pod with the label preset-dind-enabled=true (Prow) | yes |
    """
    clients = {mount.container for mount in found if mount.kind is Kind.SOCKET}
    clients |= {one["name"] for one in pods.containers(pod) if node_docker.is_migrated(one)}
    preset = pods.labels_of(pod).get("preset-dind-enabled") == "true"
    for container in pods.containers(pod):
        name = container["name"]
        if name in clients or names.is_dinps_container(name):
            continue
        if how := _daemon_in(container):
            yield PodDaemon(container, f"container {name} {how}")
        elif preset:
            yield PodDaemon(container, "label preset-dind-enabled is true")


def _daemon_in(container: Container) -> str | None:
    for var in pods.env(container):
        if var["name"] in _SWITCHES and (var.get("value") or "").lower() in _TRUE:
            return f"sets {var['name']}"
    words = pods.command_line(container)
    if "dind" in (container.get("image") or "").lower() and _is_dind_image(container):
        starts = _runs(words) if container.get("command") else _entrypoint_runs(words)
        return f"runs image {container.get('image')}" if starts else None
    return "runs dockerd" if _runs(words) else None


def _is_dind_image(container: Container) -> bool:
    """A name is enough for Docker's own image; any other must be able to run a daemon."""
    name, tag = name_and_tag(container)
    name = name.rpartition("/")[2]
    privileged = (container.get("securityContext") or {}).get("privileged")
    return bool(name == "docker" or privileged) and "dind" in re.split(r"[\W_]", f"{name}:{tag}")


def name_and_tag(container: Container) -> tuple[str, str]:
    """Of its image: `host:5000/team/docker:20-dind@sha256:...` is `team/docker` and `20-dind`."""
    # Not checked: a Pod that cannot be pulled is judged like any other.
    found = image.split((container.get("image") or "").lower())
    return found.path, found.tag or ""


def _entrypoint_runs(args: list[str]) -> bool:
    """What the image's entrypoint makes of `args`: none, or flags alone, are dockerd's."""
    return not args or args[0].startswith("-") or _runs(args)


def _runs(argv: list[str]) -> bool:
    """Whether a command line starts dockerd."""
    for at, word in enumerate(argv):
        program = word.rpartition("/")[2]
        if program in _SHELLS:
            return any("dockerd" in text and _IN_SHELL.search(text) for text in argv[at + 1 :])
        if program == "dockerd-entrypoint.sh":
            if at + 1 == len(argv) or argv[at + 1].startswith("-"):
                return True
        elif program not in _WRAPPERS and not word.startswith("-") and "=" not in word:
            return program in _DAEMONS
    return False
