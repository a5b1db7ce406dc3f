"""What a command line starts in the end, behind wrappers and in shells.

| command line | what is judged |
|---|---|
| `A=1 dockerd --debug` | the first word that is no assignment: a row of STARTS |
| `dockerd-entrypoint.sh`, with flags or nothing | dockerd; else what is behind it |
| `timeout -k 5 30 dockerd` | behind the options and words of a row of WRAPPERS |
| `argoexec emissary -- dockerd` | behind `--`, unless the program is one of NO_WRAPPERS |
| `entrypoint -entrypoint dockerd -- …` | the word of that option |
| `sh -ec '…'`, `su root -c '…'`, `eval …` | each command of the text; `"$@"` in it: the words behind |
| `bash start-docker.sh`, `. start-docker.sh` | the script, by its name |
| `pgrep dockerd`, `echo dockerd`, `docker run … dockerd` | nothing is started: it is an argument |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from webhook.finding.starts import shell_lines, tables
from webhook.finding.starts.shell_lines import UnreadableError

# A shell's text in a shell's text, and so on: each is read once more.
_DEEPEST: Final = 6
_NEAR: Final = 16  # words of su and its like before their text
_ASSIGNMENT: Final = re.compile(r"\w+\+?=")
_PARAMETERS: Final = frozenset({"$@", "$*", "$1", "${@}", "${1}"})
_PARAMETER: Final = re.compile(r"\$\{?[@*1]")
_LONGEST: Final = 50  # wrappers and assignments before a program


class Started(NamedTuple):
    """`daemon`: what starts one, after "runs"; `unreadable`: why a text that names one could not be read."""

    daemon: str = ""
    unreadable: str = ""


NOTHING: Final = Started()


def started(words: Sequence[str], depth: int = 0) -> Started:
    """Judge a command line: the words of a container's command and args, or of a shell's command."""
    at: int | Started = 0
    for _ in range(_LONGEST):
        if not isinstance(at, int):
            return at
        if at >= len(words):
            break
        if _ASSIGNMENT.match(words[at]):
            at += 1
        else:
            program = _program(words[at])
            at = _WAYS.get(program, _behind_wrapper)(program, words, at + 1, depth)
    return NOTHING if isinstance(at, int) else at


def texts(words: Sequence[str]) -> Iterator[str]:
    """Those of a command line that `started` may have to take apart, as `in_text` does."""
    if _mentions(words):
        yield from (
            word for word in words if tables.MENTIONS.search(word) or _PARAMETER.search(word)
        )


def in_text(text: str, behind: Sequence[str] = (), *, depth: int = 0) -> Started:
    """Judge a text for a shell; `behind`: its parameters, `$1` and so on."""
    mentions = bool(tables.MENTIONS.search(text))
    behind = behind if _PARAMETER.search(text) and _mentions(behind) else ()
    if not mentions and not behind:
        return NOTHING
    if depth == _DEEPEST:
        return Started(unreadable="it is nested too deeply")
    parameters = started(behind, depth + 1) if behind else NOTHING
    unreadable = ""
    try:
        for words in shell_lines.commands(text):
            found = started(words, depth + 1)
            if not found.daemon and words[0] not in tables.NO_WRAPPERS and _PARAMETERS & {*words}:
                found = parameters
            if found.daemon:
                return found
            unreadable = unreadable or found.unreadable
    except UnreadableError as error:
        unreadable = str(error)
    return Started(unreadable=unreadable if mentions else "")


def _mentions(words: Sequence[str]) -> bool:
    return bool(tables.MENTIONS.search(" ".join(words)))


def _program(word: str) -> str:
    """The name of its file; of a script of init.d, with that folder."""
    name = word.rpartition("/")[2]
    return f"init.d/{name}" if word.endswith(f"/init.d/{name}") else name


# ---- what a program starts: a judgement, or where the word is that it starts. `at` is behind it. ----


def _entrypoint(_: str, words: Sequence[str], at: int, _depth: int) -> int | Started:
    at += words[at : at + 1] == ["--"]  # as Tekton has it
    if at >= len(words):
        return Started("dockerd")
    return _by_arguments("dockerd", words, at, 0) if words[at].startswith("-") else at


def _by_arguments(program: str, words: Sequence[str], at: int, _depth: int) -> Started:
    arguments = {*words[at:]}
    if not tables.ASKING.isdisjoint(arguments):
        return NOTHING
    for start in tables.PROGRAMS[program]:
        if all(not arguments.isdisjoint(one_of) for one_of in start.arguments):
            return Started(start.says)
    return NOTHING


def _in_shell(_: str, words: Sequence[str], at: int, depth: int) -> int | Started:
    """`sh -c TEXT NAME $1 …`, or `sh FILE`."""
    has_text = False
    while at < len(words) and words[at][:1] in {"-", "+"}:
        option = words[at]
        has_text = has_text or ("c" in option and not option.startswith(("--", "+")))
        at += 1 + _values(option)
    if has_text and at < len(words):
        return in_text(words[at], words[at + 2 :], depth=depth)
    return at


def _values(option: str) -> int:
    """How many words behind an option of a shell are its values."""
    if option.startswith("--"):
        return int(option in tables.SHELLS_VALUED)
    return sum(letter in tables.SHELLS_LETTERS for letter in option)


def _next(_: str, _words: Sequence[str], at: int, _depth: int) -> int:
    return at


def _evaluated(_: str, words: Sequence[str], at: int, depth: int) -> Started:
    return in_text(" ".join(words[at:]), depth=depth)


def _by_option(program: str, words: Sequence[str], at: int, _depth: int) -> int | Started:
    """`start-stop-daemon --start --exec PROGRAM`, or `--exec=PROGRAM`."""
    options = tables.GIVEN_BY_OPTION[program]
    spelled = ((at, *words[at].partition("=")) for at in range(at, len(words)))
    given = next((one for one in spelled if one[1] in options), None)
    if given is None or not tables.NOT_WITH.isdisjoint(words[at : given[0]]):
        return len(words)
    at, _, joined, value = given
    return started((value,)) if joined else at + 1


def _line(program: str, words: Sequence[str], at: int, depth: int) -> int | Started:
    """`su root -c TEXT`: an option near by gives it."""
    near = range(at, min(at + _NEAR, len(words) - 1))
    text = next((words[at + 1] for at in near if words[at] in tables.LINE_BY_OPTION), "")
    return in_text(text, depth=depth) if text else _behind_wrapper(program, words, at, depth)


def _behind_wrapper(program: str, words: Sequence[str], at: int, _depth: int) -> int:
    wrapper = tables.BY_WRAPPER.get(program)
    if wrapper is None:
        dashes = len(words) if program in tables.NO_WRAPPERS else at
        return next((at + 1 for at in range(dashes, len(words)) if words[at] == "--"), len(words))
    if program == "command" and words[at : at + 1] in (["-v"], ["-V"]):
        return len(words)
    own = wrapper.own
    while at < len(words):
        word = words[at]
        if word == "--":
            return at + 1 + own
        if word.startswith("-"):
            at += 2 if word in wrapper.valued else 1
        elif own and not _ASSIGNMENT.match(word):
            own -= 1
            at += 1
        else:
            break
    return at


_WAYS: Final[dict[str, Callable[[str, Sequence[str], int, int], int | Started]]] = {
    tables.ENTRYPOINT: _entrypoint,
    **dict.fromkeys(tables.PROGRAMS, _by_arguments),
    **dict.fromkeys(tables.SHELLS, _in_shell),
    **dict.fromkeys(tables.SOURCING, _next),
    **dict.fromkeys(tables.EVALUATING, _evaluated),
    **dict.fromkeys(tables.GIVEN_BY_OPTION, _by_option),
    **dict.fromkeys(tables.LINE_TAKERS, _line),
}
