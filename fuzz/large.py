"""Large bodies: of one to three families of tests/webhook/large_pods.py, up to what an API server sends."""

from __future__ import annotations

import functools
import random
from typing import Any

import msgspec

from fuzz.reviews import review_of
from fuzz.verdict import Case
from tests.webhook import large_pods
from tests.webhook import small_pods as build
from tests.webhook.large_pods import Family
from webhook.asking import rules


class LargeBodies:
    """An endless source of large Pods, the same for the same `seed`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        self._families = list(large_pods.families())
        self._lists = [one for one in self._families if one.name.startswith("list")]

    def case(self) -> Case:
        """The next one, under some rule and config; two of three ask by annotation."""
        pick = self._random.choice
        chosen = [pick(pick((self._families, self._lists))) for _ in range(pick((1, 2, 2, 3)))]
        size = pick((2**14, 2**17, 2**20, large_pods.LARGEST)) // len(chosen)
        pod = functools.reduce(large_pods.merged, (self._grown(one, size) for one in chosen))
        if mode := pick((None, *rules.MODES, "sidecar", "sidecar")):
            pod["metadata"]["annotations"] = {
                "dinp.io/inject": mode,
                **pod["metadata"]["annotations"],
            }
        body = msgspec.json.encode(review_of(pod))
        return Case(body, pick(tuple(rules.RULES)), pick(build.CONFIGS))

    def _grown(self, family: Family, size: int) -> dict[str, Any]:
        """A Pod of about so many bytes; of what is bounded often just at its bound."""
        n = large_pods.fitting(family, size)
        bound = self._random.choice((n, n, 2000, 9_000, 16_000))
        return family.grown(min(n, bound))
