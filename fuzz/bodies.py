"""Bodies to review: the golden cases' AdmissionReviews, and mutations of them.

Mutations are cheap, thousands a second: a mutated review shares all that is not on the way
to the changed node with the review it was made from.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import msgspec

from fuzz.reviews import POD, Path, golden_reviews, node_at, texts, weighted_paths
from fuzz.verdict import Case
from tests import golden_cases
from tests.webhook import small_pods as build
from webhook.asking import annotations as known
from webhook.asking import rules
from webhook.asking.config import Config

RULES = tuple(rules.RULES)
# A literal that Python objects cannot hold, or that no encoder writes.
_RAW = tuple(
    msgspec.Raw(text)
    for text in (
        *(
            b'"\\ud800"',
            b'"\\udfff\\ud800"',
            b'"\\u0000"',
            b'"\xff\xfe"',
            b'"\xed\xa0\x80"',
            b'"\x01"',
        ),
        *(b"1e999", b"-0", b"1.0", b"9" * 40, b"-" + b"9" * 400, b"NaN", b"1e-999", b"01"),
        *(
            b'{"name":"a","name":"b"}',
            b"[1,]",
            b"",
            b"[",
            b'{"":null}',
            b"tru",
            b"18446744073709551616",
        ),
    )
)
_SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63 - 1, -(2**63), 2**64 - 1, 0.5, -1e308),
    *(
        "",
        "0",
        "null",
        "true",
        "/",
        "..",
        "-",
        "$(X)",
        "$",
        "$$",
        "~1",
        "\x7f\u200b\ufeff",
        "\U0001d11e",
    ),
    *(
        [],
        {},
        [None],
        [[]],
        [{}],
        {"": ""},
        {"name": None},
        {"name": "a", "mountPath": 1},
        ["a", "a"],
    ),
    *build.ODD_TEXT,
)
_ODD_CHARS = "\x00\x1b\x85\u2028\u202e\ud7ff\ufffd\ufffe\U0010ffff/~$,=: \"'\\ \n\t\u0130\u00df"


class Bodies:
    """An endless source of mutated reviews, the same for the same `seed`."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        cases = golden_cases.all_cases()
        self.reviews = list(golden_reviews(cases))
        self._paths = [weighted_paths(review) for review in self.reviews]
        self.configs = _distinct([*build.CONFIGS, *(case.config for case in cases)])
        strings = {text for review in self.reviews for text in texts(review)}
        self._texts = sorted(text for text in strings if len(text) < 300)
        self._keys = sorted({key for paths in self._paths for key in map(_last_name, paths) if key})
        self._annotations = (*known.TABLE, "dinp.io/status")
        self._edits = self._table()

    def case(self) -> Case:
        """The next one."""
        return self.served(self.body())

    def served(self, body: bytes) -> Case:
        """`body` under some rule and config."""
        pick = self._random.random
        rule = RULES[int(pick() * len(RULES))]
        return Case(body, rule, self.configs[int(pick() * len(self.configs))])

    def body(self) -> bytes:
        """A mutated review, of which some have bytes flipped, too."""
        at = self._random.randrange(len(self.reviews))
        body = self.encoded(self._mutated(self.reviews[at], self._paths[at]))
        return self.flipped(body) if self._random.random() < 0.05 else body

    def mutated(self, body: bytes) -> bytes:
        """Another review made from any JSON document; of other bodies some bytes are flipped."""
        try:
            review = msgspec.json.decode(body)
            paths = weighted_paths(review)
        except (msgspec.DecodeError, RecursionError, ValueError):
            return self.flipped(body)
        return self.encoded(self._mutated(review, paths)) if paths else self.body()

    def encoded(self, review: Any) -> bytes:
        try:
            return msgspec.json.encode(review)
        except (RecursionError, OverflowError, UnicodeEncodeError):
            return b"{}"

    def flipped(self, body: bytes) -> bytes:
        """A few bytes changed, removed, or moved."""
        found = bytearray(body or b"x")
        for _ in range(self._random.choice((1, 1, 1, 2, 4, 16))):
            at = self._random.randrange(len(found) or 1)
            length = self._random.choice((1, 1, 2, 8, 64))
            what = self._random.randrange(4)
            if what == 0:
                found[at : at + 1] = self._random.randbytes(1)
            elif what == 1:
                del found[at : at + length]
            elif what == 2:
                found[at:at] = found[at : at + length]
            else:
                found[at : at + 1] = self._random.choice(b'{}[]",:\\0-\x00\xff').to_bytes()
        return bytes(found)

    # ---- edits: each changes a fresh copy of the container that holds the node -------------

    def _table(self) -> tuple[Callable[[Any, Any], None], ...]:
        often = (self._reword, self._graft, self._drop, self._retype, self._annotate)
        seldom = (self._nullify, self._duplicate, self._rename, self._raw, self._swap)
        return (*often * 6, *seldom * 3, self._nest, self._lengthen)

    def _mutated(self, review: Any, paths: list[Path]) -> Any:
        # Most Pods mean nothing to most rules: ask, so that more of them are mutated.
        if self._random.random() < 0.4:
            review = _edited(review, (*POD, "metadata", "annotations", "dinp.io/inject"), self._ask)
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 5, 9))):
            edit = self._random.choice(self._edits)
            review = _edited(review, self._random.choice(paths), edit)
        if self._random.random() < 0.15:
            where = (*POD, "metadata", "annotations", "any")
            review = _edited(review, where, self._annotate)
        return review

    def _ask(self, parent: Any, key: Any) -> None:
        parent[key] = self._random.choice(rules.MODES)

    def _drop(self, parent: Any, key: Any) -> None:
        del parent[key]

    def _nullify(self, parent: Any, key: Any) -> None:
        parent[key] = None

    def _retype(self, parent: Any, key: Any) -> None:
        parent[key] = self._random.choice(_SCALARS)

    def _raw(self, parent: Any, key: Any) -> None:
        parent[key] = self._random.choice(_RAW)

    def _reword(self, parent: Any, key: Any) -> None:
        text = parent[key]
        if isinstance(text, str) and self._random.random() < 0.5:
            at = self._random.randrange(len(text) + 1)
            parent[key] = text[:at] + self._random.choice(_ODD_CHARS) + text[at:][::-1]
        else:
            parent[key] = self._random.choice(self._texts)

    def _graft(self, parent: Any, key: Any) -> None:
        """Put any node of any review here; of lists often a further item."""
        at = self._random.randrange(len(self.reviews))
        value = node_at(self.reviews[at], self._random.choice(self._paths[at]))
        if isinstance(parent, list) and self._random.random() < 0.5:
            parent.insert(key, value)
        else:
            parent[key] = value

    def _duplicate(self, parent: Any, key: Any) -> None:
        if isinstance(parent, list):
            parent.insert(self._random.randrange(len(parent) + 1), parent[key])
        else:
            parent[self._random.choice(self._keys)] = parent[key]

    def _rename(self, parent: Any, key: Any) -> None:
        if isinstance(parent, dict):
            parent[self._random.choice(self._keys)] = parent.pop(key)
        else:
            parent.reverse()

    def _swap(self, parent: Any, key: Any) -> None:
        other = self._random.choice(
            list(parent) if isinstance(parent, dict) else range(len(parent))
        )
        parent[key], parent[other] = parent[other], parent[key]

    def _annotate(self, parent: Any, key: Any) -> None:
        """In a map of texts: any annotation of ours, with any text; elsewhere any text."""
        if isinstance(parent, dict) and all(isinstance(value, str) for value in parent.values()):
            key = self._random.choice(self._annotations)
        parent[key] = self._random.choice(self._texts)

    def _nest(self, parent: Any, key: Any) -> None:
        """Nest a node, mostly about as deep as Python's recursion goes."""
        depth = self._random.choice((1, 3, 50, 300, *range(400, 1100, 7)))
        left, right = self._random.choice(((b"[", b"]"), (b'{"name":', b"}"), (b'[{"a":', b"}]")))
        try:
            inner = msgspec.json.encode(parent[key])
        except (RecursionError, ValueError):
            inner = b"1"
        parent[key] = msgspec.Raw(left * depth + inner + right * depth)

    def _lengthen(self, parent: Any, key: Any) -> None:
        """Make a text or a list long, seldom up to a megabyte."""
        times = self._random.choice((10, 10, 100, 100, 100, 2000))
        value = parent[key]
        if isinstance(parent, list) and len(msgspec.json.encode(value)) * times < 2**20:
            parent[key:key] = [value] * times
        elif isinstance(value, str):
            parent[key] = (value + self._random.choice(("", ",", "\u00fc", " --a=b"))) * times
        elif isinstance(value, dict) and len(value) < 100:
            value = {**value, **{f"k{at}": "v" for at in range(times)}}
            parent[key] = value


def _edited(review: Any, path: Path, edit: Callable[[Any, Any], None]) -> Any:
    """A copy with one node changed, or `review` itself where `path` leads nowhere any more."""
    top = node = copy.copy(review)
    try:
        for step in path[:-1]:
            node[step] = node = copy.copy(node[step])
        if isinstance(node, dict | list):
            edit(node, path[-1])
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError):
        return review
    return top


def _distinct(configs: list[Config]) -> list[Config]:
    return [one for at, one in enumerate(configs) if one not in configs[:at]]


def _last_name(path: Path) -> str:
    return path[-1] if isinstance(path[-1], str) else ""
