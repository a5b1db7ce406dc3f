"""Part 1: the largest Pod of each family of tests/webhook/large_pods.py, in the running server's process.

The largest is that of the API server's largest request, and where dinp refuses it as too long,
also the longest that dinp takes, by what its own sentence says. The short way sends one family
of each list and text, which the seed picks.

How n does beside 4n is measured where the largest takes more than a blink: what takes less harms
nobody, and tests/webhook/test_linear.py has all. It is measured in bodies of up to 256 KiB: in larger ones
a mapping is no longer in the processor's caches, and four times the work takes seven times as long
in whatever program.
"""

from __future__ import annotations

import http.client
import math
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from tests.webhook import large_pods
from tests.webhook.large_pods import SERVED, STEEPEST, Family, Served, body
from tools.attack import target as targets
from tools.attack.table import Figure, Row, Run, at_most, none_of
from tools.attack.target import Answer, Target, ask, attacked
from webhook.asking import rules

_CPU_SECONDS: Final = 1.0
_GROWTH: Final = 20.0  # MiB
_BLINK: Final = 0.05
_CACHED: Final = 256 * 1024
_ATTEMPTS: Final = 8  # of what seems slow or steep; a busy machine takes away the worst of some
_SHOWN: Final = 10
_PLACE: Final = re.compile(r"(?:list|text) (?:variable )?[\w./-]+")
_REFUSED: Final = re.compile(r"has (?:[a-z ]+)?([\d,]+).*takes at most ([\d,]+)")
_USUAL_LIST: Final = "list spec.containers.0.env"
_SPARE: Final = 16  # what stands beside the n in a text or a list
_ANSWERED: Final = (200, 400, 413)  # 400: another kind than Pod


@dataclass(frozen=True, slots=True)
class Sized:
    """A family at a size, and the review of it."""

    family: Family
    served: Served
    n: int
    review: bytes

    @property
    def path(self) -> str:
        """That the API server calls."""
        return rules.path(self.served.rule)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the largest of a family took, and how many times as long as a quarter of it."""

    name: str
    place: str
    answer: Answer
    cpu: float
    ratio: float


class _Client:
    """One connection, kept, as an API server's; reviews follow each other."""

    def __init__(self, server: Target, connection: http.client.HTTPConnection) -> None:
        self._server = server
        self._connection = connection

    def spent(self, sized: Sized) -> tuple[float, Answer]:
        """Seconds of the server's processor for one review, and the answer."""
        before = self._server.cgroup.cpu_seconds()
        answer = ask(self._connection, "POST", sized.path, sized.review)
        return self._server.cgroup.cpu_seconds() - before, answer

    def look(self, largest: Sized) -> Seen:
        """At the largest, at the longest that is taken, and at a quarter of that."""
        cpu, answer = self._settled(largest)
        worst = cpu
        for _ in range(3):  # a shorter one may meet another bound
            n = _taken(answer, largest.n)
            if n is None:
                break
            largest = sized(largest.family, largest.served, n)
            cpu, answer = self._settled(largest)
            worst = max(worst, cpu)
        ratio = self._ratio(largest) if cpu > _BLINK else 0.0
        return Seen(_name(largest), place(largest.family), answer, worst, ratio)

    def _settled(self, largest: Sized) -> tuple[float, Answer]:
        """The least of several measurements, where the first is too much."""
        least, answer = self.spent(largest)
        for _ in range(_ATTEMPTS):
            if least <= _CPU_SECONDS:
                break
            least = min(least, self.spent(largest)[0])
        return least, answer

    def _ratio(self, largest: Sized) -> float:
        n = max(largest.n * min(_CACHED, len(largest.review)) // len(largest.review), 4)
        few, many = (sized(largest.family, largest.served, each) for each in (n // 4, n))
        least_few = least_many = math.inf
        for _ in range(_ATTEMPTS):
            least_few = min(least_few, self.spent(few)[0])
            least_many = min(least_many, self.spent(many)[0])
            if least_many <= STEEPEST * least_few:
                break
        return least_many / least_few


def look(server: Target, run: Run) -> Iterator[Figure]:
    """All of it."""
    wanted = list(chosen(run))
    with closing(server.connection()) as connection:
        for _ in range(20):
            ask(connection, "POST", targets.ANNOTATED, targets.USUAL)
        client = _Client(server, connection)
        # The first large one makes room that stays, once.
        client.look(sized(*next(each for each in wanted if place(each[0]) == _USUAL_LIST)))
        before = server.resident()
        seen = list(_each(server, client, wanted, run))
        time.sleep(1)
        after = server.resident()
        yield from _judged(seen)
        what = f"resident after all of them, more than before ({before:.1f} MiB)"
        yield at_most(what, after - before, _GROWTH, "MiB", 1)


def chosen(run: Run) -> Iterator[tuple[Family, Served]]:
    """The families that are sent, each with the way it is reviewed."""
    picking = random.Random(run.seed)  # noqa: S311 - to be repeatable, not secret
    places = defaultdict(list)
    for family in large_pods.families():
        places[place(family)].append(family)
    if run.quick:
        families = [picking.choice(found) for found in places.values()]
    else:
        families = [family for found in places.values() for family in found]
    for at, family in enumerate(families, start=run.seed):
        yield family, SERVED[at % len(SERVED)]


def place(family: Family) -> str:
    """The list, mapping or text of the Pod that grows in it."""
    found = _PLACE.match(family.name)
    return family.name if found is None else found[0]


def sized(family: Family, served: Served, n: int | None = None) -> Sized:
    """With n of what grows; by itself with as many as the API server sends."""
    n = n or large_pods.fitting(family, large_pods.LARGEST)
    return Sized(family, served, n, body(family, n, served))


def _each(
    server: Target, client: _Client, wanted: list[tuple[Family, Served]], run: Run
) -> Iterator[Seen]:
    told = time.monotonic()
    with ThreadPoolExecutor(1) as pool:  # the next one is made while the server has this one
        for at, largest in enumerate(_ahead(pool, wanted), start=1):
            yield client.look(largest)
            if server.has_ended:
                break
            if time.monotonic() - told > 15:
                told = time.monotonic()
                run.say(f"{at} of {len(wanted)} families")


def _ahead(pool: ThreadPoolExecutor, wanted: Iterable[tuple[Family, Served]]) -> Iterator[Sized]:
    making = None
    for family, served in wanted:
        following = pool.submit(sized, family, served)
        if making is not None:
            yield making.result()
        making = following
    if making is not None:
        yield making.result()


def _taken(answer: Answer, n: int) -> int | None:
    """The n that is just below the bound by which the review was refused; None: it was not."""
    response = answer.response
    said = (response.get("status") or {}).get("message", "")
    for sentence in (said, *(response.get("warnings") or ())):
        if found := _REFUSED.search(sentence):
            length, bound = (int(number.replace(",", "")) for number in found.groups())
            return max(n * bound // length - _SPARE, 1) if length > bound else None
    return None


def _name(largest: Sized) -> str:
    again = ", second pass" if largest.served.second_pass else ""
    return f"{largest.family.name}, {largest.n:,} by {largest.path}{again}"


def _judged(seen: list[Seen]) -> Iterator[Figure]:
    odd = [f"{one.name}: {one.answer.shown}" for one in seen if one.answer.status not in _ANSWERED]
    places = len({one.place for one in seen})
    yield none_of(
        f"answers to {len(seen)} families, {places} places", odd, len(seen), "200, 400 or 413"
    )
    by_cpu = sorted(seen, key=lambda one: one.cpu, reverse=True)
    for one in _worst([found.cpu > _CPU_SECONDS for found in by_cpu], by_cpu):
        yield at_most(f"processor for {one.name}", one.cpu, _CPU_SECONDS, "s")
    by_ratio = sorted(seen, key=lambda one: one.ratio, reverse=True)
    for one in _worst([found.ratio > STEEPEST for found in by_ratio], by_ratio):
        yield at_most(f"n to 4n of {one.name}", one.ratio, STEEPEST, "times", 1)


def _worst(is_miss: list[bool], ordered: list[Seen]) -> list[Seen]:
    """All that miss, or else the one that comes nearest."""
    return ordered[: min(max(sum(is_miss), 1), _SHOWN)]


ROWS: Final = (
    Row(
        "families",
        "the largest Pod of each list and text that dinp reads",
        f"≤ {_CPU_SECONDS:g} s of processor, n to 4n ≤ {STEEPEST:g}, ≤ {_GROWTH:g} MiB left behind",
        attacked(look),
    ),
)
