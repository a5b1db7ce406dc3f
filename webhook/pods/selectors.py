"""Which Pods a row of a table is about: label selectors as in meta/v1, and names of images.

A label selector is apimachinery's LabelSelectorAsSelector.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from webhook.pods import image
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod


class Strict(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True
):
    """What all parts of the config file have in common."""


class LabelSelectorRequirement(Strict, frozen=True):
    """As in meta/v1."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()


class LabelSelector(Strict, frozen=True):
    """As in meta/v1: all of it must match. An empty one matches every Pod."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class PodSelector(LabelSelector, frozen=True):
    """A row: Pods whose labels match, or of which a container has one of the images.

    With images, an empty selector of labels matches nothing; without them, every Pod.
    """

    name: str = ""
    because: str = ""  # after "this Pod"
    images: tuple[str, ...] = ()  # as `is_named` has them
    migrate: bool = True  # it holds for Pods that mount the node's socket, too
    enabled: bool = True  # else the built-in row of this name does not apply


def merged(built_in: Sequence[PodSelector], rows: Sequence[PodSelector]) -> Sequence[PodSelector]:
    """The built-in rows and the config file's; of two with one name the config file's counts.

    A row without a name is called by its place in the file, from 1 on.
    """
    if not rows:
        return built_in
    by_name = {row.name: row for row in built_in}
    for number, row in enumerate(rows, 1):
        named = row if row.name else msgspec.structs.replace(row, name=f"{number}")
        by_name[named.name] = named
    return [row for row in by_name.values() if row.enabled]


def row_of(
    rows: Iterable[PodSelector], pod: Pod, containers: Sequence[Container]
) -> PodSelector | None:
    """The first row that the Pod or one of `containers` is of."""
    labels = pods.labels_of(pod)
    paths = {image.split((one.get("image") or "").lower()).path for one in containers}
    for row in rows:
        if any(is_named(path, name) for name in row.images for path in paths):
            return row
        if (row.match_labels or row.match_expressions or not row.images) and matches(row, labels):
            return row
    return None


def is_named(path: str, name: str) -> bool:
    """Whether the path of an image ends with `name`, part by part; `*` stands in one part alone.

    A mirror puts its own parts before it: `traefik` is `mirror/library/traefik` too, and is
    neither `traefik-plugin` nor `traefik/whoami`.
    """
    if "*" not in name:
        return path == name or path.endswith(f"/{name}")
    wanted = name.split("/")
    parts = path.rsplit("/", len(wanted))[-len(wanted) :]
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether all of `selector` holds for `labels`."""
    return all(labels.get(name) == value for name, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case _:  # DoesNotExist
            return value is None
