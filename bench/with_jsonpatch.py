"""`dinp serve` as it is, but with jsonpatch.make_patch in place of our diff; for bench alone.

python -m bench.with_jsonpatch serve …
"""

from __future__ import annotations

from typing import Any

import jsonpatch

from webhook.cli import main
from webhook.pods import patch


def _diff(old: Any, new: Any, path: str = "") -> list[patch.Operation]:
    del path
    operations: list[patch.Operation] = jsonpatch.make_patch(old, new).patch
    return operations


if __name__ == "__main__":
    patch.diff = _diff
    main(prog_name="dinp")
