"""Image references, by the grammar of distribution/reference, and the allow-list of them.

    reference = [host [":" port] "/"] path [":" tag] ["@" digest]

Docker Hub has short names: `docker:29-dind` is `docker.io/library/docker:29-dind`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from webhook.pods import bounds

_HUB: Final = "docker.io"

_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?"
)
_PATH_PART: Final = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# Of all algorithms those that clients can check.
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_LONGEST_NAME: Final = 255  # of host and path together
# 64 hexadecimal digits without anything else are an image's id, and no name.
_ID: Final = re.compile(r"[0-9a-f]{64}")


class Reference(NamedTuple):
    """Where a container's image comes from; None: not given."""

    host: str | None  # with its port
    path: str
    tag: str | None
    digest: str | None


def split(text: str) -> Reference:
    """What stands in `text` in the places of a reference; nothing is checked or filled in.

    `host:5000/team/docker:29-dind@sha256:…` has host `host:5000` and path `team/docker`.
    """
    first, slash, rest = text.partition("/")
    # Docker Hub's users and organisations have neither a point nor a colon in their names.
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, rest = (first, rest) if is_host else (None, text)
    named, at, digest = rest.partition("@")
    path, colon, tag = named.partition(":")
    return Reference(host, path, tag if colon else None, digest if at else None)


def parse(text: str) -> Reference | None:
    """The reference that `text` is, in full, or None: no registry serves it, no runtime pulls it.

    `docker` has host `docker.io`, path `library/docker` and tag `latest`; beside a digest, a
    tag that is not given stays None.
    """
    if len(text) > bounds.IMAGE:
        return None
    found = split(text)
    host, path, tag, digest = found
    is_valid = (
        (host is None or _HOST.fullmatch(host))
        and all(map(_PATH_PART.fullmatch, path.split("/")))
        and len(f"{host or _HUB}/{path}") <= _LONGEST_NAME
        and (tag is None or _TAG.fullmatch(tag))
        and (digest is None or _DIGEST.fullmatch(digest))
        and not _ID.fullmatch(text)
    )
    return _in_full(found) if is_valid else None


def _in_full(found: Reference) -> Reference:
    host, path, tag, digest = found
    if host in (None, "index.docker.io", _HUB):
        host, path = _HUB, path if "/" in path else f"library/{path}"
    return Reference(host, path, "latest" if tag is None and digest is None else tag, digest)


def allowed(image: str, patterns: Iterable[str]) -> bool:
    """Whether `image` is a reference that one of the shell patterns admits.

    Host, each part of the path, tag and digest are matched one by one: no `*` reaches over a
    `/`, `:` or `@`.

    | pattern | admits |
    |---|---|
    | `docker:*-dind` | such tags, short or written in full, with any digest or none |
    | `docker:*` | every tag, and a digest without a tag |
    | `docker` | `latest`, as an image without a tag is |
    | `registry.example.com/*` | one name below the registry, with every tag: a `*` at the end |
    | `docker:29-dind@sha256:8f*`, `docker@sha256:8f*` | such digests alone |
    | `*/docker:*-dind` | on any registry, or of any user of Docker Hub |
    """
    reference = parse(image)
    return reference is not None and any(_admits(pattern, reference) for pattern in patterns)


def _admits(pattern: str, image: Reference) -> bool:
    given = split(pattern)
    if given.tag is None and (given.digest is not None or given.path.endswith("*")):
        given = given._replace(tag="*")
    wanted = _in_full(given)
    names = [f"{wanted.host}/{wanted.path}"]
    if given.host is None and given.path.startswith("*/"):
        names.append(given.path)
    return (
        any(_matches_name(f"{image.host}/{image.path}", name) for name in names)
        and fnmatch.fnmatchcase(image.tag or "", wanted.tag or "")
        and (wanted.digest is None or _matches_digest(image.digest, wanted.digest))
    )


def _matches_digest(digest: str | None, pattern: str) -> bool:
    return digest is not None and fnmatch.fnmatchcase(digest, pattern)


def _matches_name(name: str, pattern: str) -> bool:
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
