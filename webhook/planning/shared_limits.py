"""What a client of a shared daemon would miss, told where the Pod shows that it matters.

A shared daemon runs in another Pod: the paths of `docker run -v` are that Pod's, and so are the
ports of `docker run -p`. It is the same in every Pod of the mode, so docs/limits.md says it, and a
warning does where the Pod's own command does such a thing, or a tool that is known to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from webhook.asking.rules import Mode
from webhook.asking.settings import Settings
from webhook.pods import bounds, jobs
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar, Pod
from webhook.reasons import Finding, Reason

_MOUNTS: Final = ("-v", "--volume", "--mount")
_PORTS: Final = ("-p", "--publish", "-P")
_STARTS: Final = frozenset({"run", "create"})
_ENDS: Final = (";", "&&", "||", "|")
_TESTCONTAINERS: Final = "testcontainers"  # it reaches its containers at published ports


def limits(pod: Pod, clients: Iterable[Container], settings: Settings) -> Iterator[Finding]:
    """Warnings for these clients of a shared daemon."""
    jenkins = jobs.is_jenkins(pod)
    shown = {option for client, text in _read(clients) for option in _options(client, text)}
    if jenkins or not shown.isdisjoint(_MOUNTS):
        text = "; Jenkins' docker.image().inside needs sidecar mode" if jenkins else ""
        yield Reason.BIND_MOUNTS_SHARED.say(jenkins=text)
    reachable = settings.mode is Mode.DAEMONSET and settings.daemonset.host_network
    if not reachable and not shown.isdisjoint((*_PORTS, _TESTCONTAINERS)):
        yield Reason.PUBLISHED_PORTS.say()


def _read(clients: Iterable[Container]) -> Iterator[tuple[Container, str]]:
    """Each with its command; of all commands together a bounded part."""
    left = bounds.PHRASES
    for client in clients:
        text = " ".join(pods.command_line(client))[:left]
        left -= len(text)
        yield client, text


def _options(container: Container, text: str) -> Iterator[str]:
    """The options above that `docker run` and `docker create` have in the container's command."""
    if _TESTCONTAINERS in text.lower() or any(map(_is_testcontainers, pods.env(container))):
        yield _TESTCONTAINERS
    docker = starts = False
    for word in text.split():
        if _program(word) == "docker":
            docker, starts = True, False
        elif word.endswith(_ENDS):
            docker = starts = False
        elif docker and word in _STARTS:
            starts = True
        elif starts and word.startswith("-"):
            yield from (one for one in (*_MOUNTS, *_PORTS) if _is_option(word, one))


def _is_testcontainers(var: EnvVar) -> bool:
    return var["name"].lower().startswith(f"{_TESTCONTAINERS}_")


def _program(word: str) -> str:
    """The file name of a word that a shell may start: `"/usr/bin/docker"`, `x=$(docker`."""
    return word.rpartition("(")[2].strip("'\"`").rpartition("/")[2]


def _is_option(word: str, option: str) -> bool:
    """Whether a word is the option, alone or with its value: `-v/src:/src`, `--mount=…`."""
    if option.startswith("--"):
        return word.partition("=")[0] == option
    return word.startswith(option)
