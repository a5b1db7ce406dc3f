"""Which images a Pod may have as its daemon: shell patterns of the config file's `allowedImages`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Final

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


def allowed(image: str, patterns: Iterable[str]) -> bool:
    """Whether one of `patterns` matches `image`, or its name and tag, with whatever digest.

    Part by part: no `*` reaches over a `/`, or docker:5000/evil-dind would be docker:*-dind.
    """
    name, at, digest = image.partition("@")
    spellings = {image, name} if at and _DIGEST.fullmatch(digest) else {image}
    return any(_matches(one, pattern) for pattern in patterns for one in spellings)


def _matches(image: str, pattern: str) -> bool:
    parts, patterns = image.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
