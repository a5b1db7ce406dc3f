"""Write the digests of the images that dinp builds on and runs beside their tags, for a release.

    make pin

Where: _PLACES, below. A tag that has a digest already is asked for again, and a digest that is
another now is shown: read why before you commit it. The digest is that of the image index, so it is
for all architectures; where a registry has an image of one platform only, nothing is pinned.

Either every image is pinned or no file is changed. Exit code 2: a place is not there. 3: a registry
cannot be reached, or does not have the image.

crane asks, by its own rules: who may log in is in Docker's config.json, proxies are HTTPS_PROXY and
its like, and a registry on this machine is plain HTTP.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import assets

ROOT: Final = Path(__file__).parent.parent
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SECONDS: Final = 60.0

Resolve = Callable[[str], str]  # a tag -> its digest; raises UnreachableError


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file that names an image: what stands before the name, as a pattern."""

    file: str
    before: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """With the groups before, tag (name and tag of the image) and digest."""
        return re.compile(
            rf"^(?P<before>{self.before})(?P<tag>[^\s@]+:[^\s@/]+)(?:@(?P<digest>\S+))?$",
            re.MULTILINE,
        )


_PLACES: Final = (
    Place("Dockerfile", "ARG BASE="),
    Place("manifests/base/config.yaml", "  image: "),
    Place("manifests/base/config.yaml", "  rootlessImage: "),
    # dinp's own containers have the name alone: it is kustomize that sets their tag.
    Place("manifests/daemonset/daemonset.yaml", " +image: "),
    Place("manifests/service/statefulset.yaml", " +image: "),
)


class PlaceError(Exception):
    """A place is not there, or is there twice: the table and the file do not fit."""


class UnreachableError(Exception):
    """A tag has no digest to be had; the message says why."""


def main() -> int:
    """Pin all of them, or none."""
    parser = argparse.ArgumentParser(prog="make pin", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="a checkout, in place of this one")
    root = parser.parse_args().root
    try:
        before = _texts(root)
        tags = sorted({found["tag"] for found in _found(before)})
        crane = assets.program_folder(assets.CRANE, lambda said: print(said, file=sys.stderr))
    except (PlaceError, assets.AssetsError) as error:
        print(error, file=sys.stderr)
        return 2
    digests, failures = _resolved(tags, lambda tag: _digest(crane / "crane", tag))
    if failures:
        for tag, why in failures.items():
            print(f"{tag}: no digest: {why}", file=sys.stderr)
        print("Nothing is pinned, and no file is changed.", file=sys.stderr)
        return 3
    for sentence in changes(before, digests):
        print(sentence)
    for file, text in pinned(before, digests).items():
        if text != before[file]:
            (root / file).write_text(text, encoding="utf-8")
    return 0


def pinned(texts: Mapping[str, str], digests: Mapping[str, str]) -> dict[str, str]:
    """The texts of the files (name -> text) with the digest of each image (name:tag -> sha256:...)."""
    done = dict(texts)
    for place in _PLACES:
        done[place.file] = place.pattern.sub(
            lambda found: f"{found['before']}{found['tag']}@{digests[found['tag']]}",
            done[place.file],
        )
    return done


def changes(texts: Mapping[str, str], digests: Mapping[str, str]) -> list[str]:
    """What pinned() does with each place, in words."""
    said = []
    for place in _PLACES:
        (found,) = place.pattern.finditer(texts[place.file])
        tag, old, new = found["tag"], found["digest"], digests[found["tag"]]
        if old is None:
            what = f"is {new}"
        elif old == new:
            what = f"is still {new}"
        else:
            what = f"was {old}, and is {new} now"
        said.append(f"{place.file}: {tag} {what}")
    return said


def _texts(root: Path) -> dict[str, str]:
    """The files that have places."""
    texts = {}
    for file in {place.file for place in _PLACES}:
        try:
            texts[file] = (root / file).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise PlaceError(f"{file} is not there") from None
    return texts


def _found(texts: Mapping[str, str]) -> Iterator[re.Match[str]]:
    """Each place in its text.

    Raises:
        PlaceError: it is there not once, so that something would stay unpinned in silence.
    """
    for place in _PLACES:
        found = list(place.pattern.finditer(texts[place.file]))
        if len(found) != 1:
            wanted = f"one line '{place.before}<name>:<tag>'"
            raise PlaceError(f"{place.file} has to have {wanted}, and has {len(found)}")
        yield found[0]


def _resolved(tags: list[str], resolve: Resolve) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of tags, and for the tags that have none the reason."""
    digests, failures = {}, {}
    for tag in tags:
        try:
            digests[tag] = resolve(tag)
        except UnreachableError as error:
            failures[tag] = str(error)
    return digests, failures


def _digest(crane: Path, tag: str) -> str:
    """The digest of an image index.

    Raises:
        UnreachableError: the registry cannot be reached, has no such tag, or has one platform of it.
    """
    digest = _asked(crane, "digest", tag)
    if not _DIGEST.fullmatch(digest):
        raise UnreachableError(f"the registry's digest is no sha256: {digest[:100]}")
    # By the digest, so that what is looked at is what is pinned.
    manifest = json.loads(_asked(crane, "manifest", f"{tag.rpartition(':')[0]}@{digest}"))
    # An index of either kind has them; one of OCI's may lack its mediaType.
    if "manifests" not in manifest:
        raise UnreachableError("the registry has it for one platform only: a release is for all")
    return digest


def _asked(crane: Path, *words: str) -> str:
    command = [str(crane), *words]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"no answer within {_SECONDS:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["crane said nothing"])[-1]
        raise UnreachableError(last.removeprefix("Error: "))
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
