"""Which images start a Docker daemon, if a container leaves them to.

| image | a daemon, if the container has no command and |
|---|---|
| `docker`, `dind` in its tag | args are none, flags, or start dockerd |
| `docker`, without a tag, by digest, or a tag from 23 on without `-cli` and `-git` | the same, and it is privileged |
| another with dind, docker-in-docker or docker-daemon in its name or tag | it is privileged, whatever its args |

A command that is an entrypoint of images, such as `tini -- /entrypoint.sh` or supervisord, is none: it
starts what its image is for. Not so in Docker's own image, of which `docker-entrypoint.sh` is the client's.

From 23 on, the tags of Docker's own image without a suffix are the dind image (docker-library/docker, pull
request 369), and those with `-git` are made of the client's.
"""

from __future__ import annotations

import re
from typing import Final

from webhook.finding.starts import tables
from webhook.finding.starts.command_lines import started
from webhook.pods import image
from webhook.pods.pod import Container

_LIKE_DIND: Final = re.compile(r"-(?:dind\d*|docker-in-docker|docker-daemon|dockerd)-")
_MAY_BE: Final = re.compile("docker|dind", re.IGNORECASE)
_SEPARATORS: Final = re.compile(r"[\W_]+")
_CLIENTS: Final = frozenset({"cli", "git"})
_FIRST_PLAIN_DIND: Final = 23
_NEAR: Final = 16  # words of a command, of which one is the entrypoint


def name_and_tag(container: Container) -> tuple[str, str]:
    """Of its image: `host:5000/team/docker:20-dind@sha256:...` is `team/docker` and `20-dind`."""
    # Not checked: a Pod that cannot be pulled is judged like any other.
    found = image.split((container.get("image") or "").lower())
    return found.path, found.tag or ""


def is_dind(container: Container) -> bool:
    """Whether its image starts a daemon by itself, in a container that has no command."""
    if not _MAY_BE.search(container.get("image") or ""):
        return False
    name, tag = name_and_tag(container)
    name = name.rpartition("/")[2]
    if name == "docker":
        return is_like_dind(tag) or (is_privileged(container) and _is_plain(tag))
    return is_privileged(container) and is_like_dind(f"{name}:{tag}")


def runs_its_own(container: Container) -> bool:
    """Whether what its image starts is left to run: there is no command, and args are for a daemon."""
    is_dockers = name_and_tag(container)[0].rpartition("/")[2] == "docker"
    if command := container.get("command"):
        return not is_dockers and any(map(_is_entrypoint, command[:_NEAR]))
    args = container.get("args") or []
    return not is_dockers or not args or args[0].startswith("-") or bool(started(args).daemon)


def _is_entrypoint(word: str) -> bool:
    # By itself init is an argument, as in `terraform init`.
    return word.rpartition("/")[2] in tables.ENTRYPOINTS or word.endswith("/init")


def is_privileged(container: Container) -> bool:
    """Whether it may run a daemon."""
    return bool((container.get("securityContext") or {}).get("privileged"))


def is_like_dind(text: str) -> bool:
    """Whether a name is one of a Docker daemon: `ubuntu-dind`, and not `blindind`."""
    return bool(_LIKE_DIND.search(f"-{_SEPARATORS.sub('-', text)}-"))


def _is_plain(tag: str) -> bool:
    version = re.match(r"\d{1,4}", tag)
    is_new = version is None or int(version.group()) >= _FIRST_PLAIN_DIND
    return is_new and _CLIENTS.isdisjoint(_SEPARATORS.split(tag))
