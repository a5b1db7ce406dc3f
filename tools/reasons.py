"""Write docs/reasons.md: each Reason under the words that people search for, with cause and cure.

    make reasons

The sentences and effects are those of webhook/reasons.py. Causes and cures are in tools/reasons.toml
and not beside the Reason: the server never says them.
"""

from __future__ import annotations

import re
import string
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from webhook.reasons import Effect, Reason

PAGE: Final = Path(__file__).parent.parent / "docs" / "reasons.md"
_ADVICE: Final = Path(__file__).with_suffix(".toml")
_WIDTH: Final = 150
_KEPT: Final = "\0"  # for a space at which no line may end

_SECTIONS: Final = {
    "Denied": (Effect.DENIED,),
    "Denied, or left with a warning": (Effect.BLOCKED,),
    "Left, with a warning": (Effect.TOLD,),
    "A daemon, with a warning": (Effect.WARNING,),
    "Neither a denial nor a warning": (Effect.NONE, Effect.LEFT, Effect.INJECTED),
}
# Blanks that are empty, or a clause more.
_OPTIONAL: Final = frozenset({"hint", "jenkins", "network", "uses", "way"})
_DENIALS: Final = frozenset({Effect.DENIED, Effect.BLOCKED})
_TOLD: Final = _DENIALS | {Effect.TOLD, Effect.WARNING}

_HEAD: Final = """\
# Reasons

Each denial and each warning of dinp's, with its cause and its cure. Search this page for the code in brackets at the end of a denial, or for a few
words of the sentence. Where the sentences below have *slanted words*, yours has names and values of your Pod. A long warning is cut at 256 bytes; the
annotation `dinp.io/status` of a Pod that dinp changed has the whole one.

The code is also the `reason` in the metric, the log and the audit log ([operations.md](operations.md)).

`make reasons` writes this page from `webhook/reasons.py` and `tools/reasons.toml`, and a test compares them.
"""


class Advice(NamedTuple):
    """Why a reason comes up, and the way out: one or two sentences each."""

    cause: str
    cure: str


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(advice()), encoding="utf-8")


def advice() -> dict[Reason, Advice]:
    """The rows of tools/reasons.toml. A row of no Reason is a KeyError."""
    rows = tomllib.loads(_ADVICE.read_text(encoding="utf-8"))
    return {Reason[code.upper()]: Advice(**row) for code, row in rows.items()}


def page(known: Mapping[Reason, Advice]) -> str:
    """The text of docs/reasons.md. A Reason without advice is a KeyError."""
    parts = [_HEAD, "\n".join(_index()), *_sections(known)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def sentence(reason: Reason) -> str:
    """As it is told, with words for its blanks."""
    text = "".join(
        literal + ("" if name is None else _blank(name, conversion))
        for literal, name, _, conversion in string.Formatter().parse(reason.text)
    )
    prefix = "dinp: " if reason.effect in _TOLD else ""
    return f"{prefix}{text} {reason.code}" if reason.effect in _DENIALS else f"{prefix}{text}"


def _blank(name: str, conversion: str | None) -> str:
    if name in _OPTIONAL:
        return "…"
    return f"'*{name}*'" if conversion == "r" else f"*{name}*"


def _of(effects: tuple[Effect, ...]) -> list[Reason]:
    return [reason for reason in Reason if reason.effect in effects]


def _index() -> Iterator[str]:
    yield "| | codes |"
    yield "|---|---|"
    for title, effects in _SECTIONS.items():
        codes = ", ".join(f"[{reason.value}](#{reason.value})" for reason in _of(effects))
        yield f"| {title} | {codes} |"


def _sections(known: Mapping[Reason, Advice]) -> Iterator[str]:
    for title, effects in _SECTIONS.items():
        yield f"## {title}"
        for reason in _of(effects):
            yield _entry(reason, known[reason])


def _entry(reason: Reason, known: Advice) -> str:
    phrase = reason.effect.value
    fate = f"The Pod {'' if phrase.startswith('gets ') else 'is '}{phrase}."
    lines = (fate, f"**Cause**: {known.cause}", f"**Cure**: {known.cure}")
    return "\n".join([f"### {reason.value}", "", f"> {sentence(reason)}", "", *map(_bullet, lines)])


def _bullet(text: str) -> str:
    """A point of a list, wrapped like the pages that are written by hand; code stays on its line."""
    return textwrap.fill(
        re.sub("`[^`]+`", lambda code: code[0].replace(" ", _KEPT), text),
        _WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(_KEPT, " ")


if __name__ == "__main__":
    main()
