"""`dinp serve` as it is, but with jsonpatch.make_patch in place of our diff; for bench alone.

python -m bench.with_jsonpatch serve …
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonpatch

from webhook import patch
from webhook.cli import main


def _diff(old: Any, new: Any, path: str = "") -> Iterator[patch.Operation]:
    del path
    yield from jsonpatch.make_patch(old, new).patch


if __name__ == "__main__":
    patch.diff = _diff
    main(prog_name="dinp")
