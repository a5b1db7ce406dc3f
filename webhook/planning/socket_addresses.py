"""Addresses of Docker's unix socket: their spellings, and where a container has written one.

| spelling | who writes it |
|---|---|
| `unix:///var/run/docker.sock` | Docker's documentation |
| `unix://var/run/docker.sock`, `unix:/var/run/docker.sock` | docker-py and Airflow take them (docker-py 7, utils.parse_host) |
| `http+unix://%2Fvar%2Frun%2Fdocker.sock` | clients of docker-py's own kind |
| `/var/run/docker.sock` | variables and flags that hold a path |
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final

from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container

_SCHEMES: Final = frozenset({"unix", "http+unix"})
_SLASH: Final = ("%2F", "%2f")
_NAMES: Final = 4  # a container has its socket at one path, or at two
_WORDS: Final = 16  # a thousand containers may each have as many


def path_of(address: str) -> str | None:
    """The clean path of the socket at `address`, by whichever spelling; None where it is no path."""
    # No socket has so long a path: sun_path ends at 108.
    if len(address) > bounds.PATH:
        return None
    text = address.strip()
    if not text.startswith("/"):
        scheme, _, text = text.partition(":")
        if scheme.lower() not in _SCHEMES:
            return None
        for escaped in _SLASH:
            text = text.replace(escaped, "/")
    path = pods.clean_path(f"/{text}")
    return None if path == "/" else path


def written(container: Container, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each path of a variable but DOCKER_HOST, or of an argument, with what holds it.

    `names` are those of the files that matter: paths of others may be left out, as the first that
    are written are enough. An argument may be a script, and a word of it a flag with its value:
    `--host=unix:///var/run/docker.sock`.
    """
    names = tuple(islice(names, _NAMES))
    for var in pods.env(container):
        path = path_of(var.get("value") or "")
        if path is not None and var["name"] != "DOCKER_HOST":
            yield f"variable {var['name']}", path
    text = " ".join(pods.command_line(container))
    words = text.split() if any(name in text for name in names) else ()
    named = (word for word in words if any(name in word for name in names))
    for word in islice(dict.fromkeys(named), _WORDS):
        path = path_of(word.rpartition("=")[2].strip("'\""))
        if path is not None:
            yield f"argument {word}", path
