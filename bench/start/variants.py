"""The Pods that are compared: each a file of pods/, as its author would write it."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.node.contents import CLIENT, DIND_20_10, DIND_29
from webhook import names

_PODS: Final = Path(__file__).with_name("pods")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to get a daemon into a Pod."""

    label: str
    file: str
    namespace: str  # one whose Pods dinp is, or is not, called for
    daemon: str  # its container
    ends: bool = True  # whether the Pod ends when its client has
    transport: str = ""
    image: str = DIND_29

    def pod(self, name: str) -> dict[str, Any]:
        """The Pod, under this name."""
        text = (_PODS / self.file).read_text(encoding="utf-8")
        known = {"dind": self.image, "client": CLIENT, "transport": self.transport}
        pod: dict[str, Any] = yaml.safe_load(string.Template(text).substitute(known))
        return {**pod, "metadata": {**pod.get("metadata", {}), "name": name}}


def _dinp(transport: str) -> Variant:
    return Variant(f"dinp {transport}", "dinp.yaml", "annotated", names.DIND, transport=transport)


ARTICLE: Final = Variant("the article's YAML", "article.yaml", "default", "dind", ends=False)
_ARTICLE_20_10: Final = Variant(
    "the article's YAML, Docker 20.10",
    "article.yaml",
    "default",
    "dind",
    ends=False,
    image=DIND_20_10,
)
_TLS_BY_HAND: Final = Variant("TLS by hand", "tls-by-hand.yaml", "default", "dind")
DINP: Final = {f"dinp-{transport}": _dinp(transport) for transport in ("tcp", "tls", "unix")}

# By the name that --only takes, which is also the beginning of its Pods' names.
VARIANTS: Final[dict[str, Variant]] = {
    "article": ARTICLE,
    "article-20-10": _ARTICLE_20_10,
    "tls-by-hand": _TLS_BY_HAND,
    **DINP,
}
