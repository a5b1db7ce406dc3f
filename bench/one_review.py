"""What one review costs in the checkout that is the working directory, as often as it is asked.

python -m bench.one_review BODY   a line on its standard input: CPU microseconds of a review on its output

`bench/versus.py` runs this file in an older checkout too: of dinp it knows what both have.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

_REVIEWS = 100  # for each figure


def main() -> None:
    """Answer until the input ends."""
    sys.path.insert(0, str(Path.cwd()))
    review = importlib.import_module("webhook.admission").review
    rule = _either("webhook.asking.rules", "webhook.rules").RULES["/pods/annotated"]
    config = _either("webhook.asking.config", "webhook.config").Config()
    body = Path(sys.argv[1]).read_bytes()
    for _ in sys.stdin:
        began = time.process_time()
        for _ in range(_REVIEWS):
            review(body, rule, config)
        print(f"{(time.process_time() - began) / _REVIEWS * 1e6:.1f}", flush=True)


def _either(name: str, before: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return importlib.import_module(before)


if __name__ == "__main__":
    main()
