"""`dinp` as its image runs it: without rich, which developers' tools bring, and structlog loads where it is.

python -m bench.as_image serve …
"""

from __future__ import annotations

import sys

sys.modules["rich"] = None  # type: ignore[assignment]  # how `import rich` is made to fail

from webhook.cli import main  # noqa: E402 - after what it must not import

if __name__ == "__main__":
    main()
