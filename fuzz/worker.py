"""One process of `tools.fuzz`: so many cases of one engine, told on standard output.

    python -m fuzz.worker ENGINE COUNT SEED FOLDER

| engine | bodies |
|---|---|
| mutations | golden cases' reviews with nodes dropped, moved, retyped, nested ..., some with bytes flipped |
| bytes | golden cases' reviews with bytes flipped only: what `coverage` is replaced by |
| hypothesis | the property tests' Pods, half of them with any JSON in some place |
| large | Pods in which some lists and texts have grown, up to 3 MiB |
| coverage | libFuzzer by atheris, guided by the coverage of webhook/; bytes, and our mutations |
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuzz.bodies import Bodies
    from fuzz.report import Reporter

_HYPOTHESIS_EXAMPLES = 500  # a run: hypothesis gets slower as it remembers more


def main() -> None:
    """Run."""
    engine, count, seed, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    run = None if engine == "coverage" else _ENGINES[engine]
    atheris = _instrumented() if engine == "coverage" else None
    # Only here, because atheris instruments what is imported after it.
    bodies = importlib.import_module("fuzz.bodies").Bodies(seed)
    reporter = importlib.import_module("fuzz.report").Reporter(
        engine, Path(folder), f"{engine}-{seed}"
    )
    if run is None:
        _guided(atheris, bodies, reporter, count)
    else:
        run(bodies, reporter, count)
    reporter.tell(done=True)


def _mutations(bodies: Bodies, reporter: Reporter, count: int) -> None:
    for _ in range(count):
        reporter.judge(bodies.case())


def _bytes(bodies: Bodies, reporter: Reporter, count: int) -> None:
    originals = [bodies.encoded(review) for review in bodies.reviews]
    for at in range(count):
        reporter.judge(bodies.served(bodies.flipped(originals[at % len(originals)])))


def _large(_bodies: Bodies, reporter: Reporter, count: int) -> None:
    bodies = importlib.import_module("fuzz.large").LargeBodies(int(sys.argv[3]))
    for _ in range(count):
        reporter.judge(bodies.case())
        reporter.tell()  # one may take a while


def _hypothesis(_bodies: Bodies, reporter: Reporter, count: int) -> None:
    generated = importlib.import_module("fuzz.generated")
    seed = int(sys.argv[3]) * 1_000_003
    while reporter.count < count:
        most = min(_HYPOTHESIS_EXAMPLES, count - reporter.count)
        generated.run(reporter.judge, most, seed + reporter.count)


_ENGINES: Mapping[str, Callable[[Bodies, Reporter, int], None]] = {
    "mutations": _mutations,
    "bytes": _bytes,
    "hypothesis": _hypothesis,
    "large": _large,
}


# ---- atheris -------------------------------------------------------------------------------


def _instrumented() -> Any:
    """Atheris, with webhook/ imported so that it sees the coverage."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["webhook"]):
        importlib.import_module("webhook.admission")
    return atheris


def _guided(atheris: Any, bodies: Bodies, reporter: Reporter, count: int) -> None:
    """Fuzz and exit: libFuzzer takes the process over, and does not give it back."""
    corpus = Path(sys.argv[4]) / f"corpus-{sys.argv[3]}"
    shutil.rmtree(corpus, ignore_errors=True)  # what an earlier run found would change this one
    corpus.mkdir()
    for at, review in enumerate(bodies.reviews):
        head = bytes((at % 251, at % 241))
        (corpus / f"{at:04}").write_bytes(head + bodies.encoded(review))
    options = [f"-seed={int(sys.argv[3]) + 1}", "-max_len=65536", "-timeout=300", "-rss_limit_mb=0"]
    options += ["-reload=0", "-len_control=0", "-print_final_stats=0", "-verbosity=0"]
    atheris.Setup(
        [sys.argv[0], *options, str(corpus)],
        _one_input(bodies, reporter, count),
        custom_mutator=_mutator(atheris, bodies),
    )
    atheris.Fuzz()


def _one_input(bodies: Bodies, reporter: Reporter, count: int) -> Callable[[bytes], None]:
    """The first two bytes choose the rule and the config, so that they are mutated, too."""
    case = importlib.import_module("fuzz.verdict").Case
    rules = importlib.import_module("fuzz.bodies").RULES

    def one_input(data: bytes) -> None:
        head, body = data[:2].ljust(2, b"\0"), data[2:]
        rule = rules[head[0] % len(rules)]
        reporter.judge(case(body, rule, bodies.configs[head[1] % len(bodies.configs)]))
        if reporter.count >= count:
            reporter.tell(done=True)
            os._exit(0)

    return one_input


def _mutator(atheris: Any, bodies: Bodies) -> Callable[[bytes, int, int], bytes]:
    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if seed % 2:
            found: bytes = atheris.Mutate(data, len(data) or 1)
            return found[:most]
        return (data[:2].ljust(2, b"\0") + bodies.mutated(data[2:]))[:most]

    return mutate


if __name__ == "__main__":
    main()
