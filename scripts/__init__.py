"""The shell scripts that start dockerd, and what of them stands in a Pod.

| script | who executes it | how it gets there |
|---|---|---|
| dind.sh | the container dinp-dind | in the Pod's spec, as `read` has it |
| dind.sh, start.sh | the container of a shared daemon | as files, as `source` has them |

They are written for people: half of their text is comments. Specs are stored, one for each Pod, so
there it is bare. To take comments off, one has to know what is none: `bare` knows the part of the
shell's grammar that is below, and refuses what is beyond it.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

# Each alternative begins with other characters than the rest: a text matches in one way, or not.
_SINGLE: Final = r"'[^']*'"
_PARAMETER: Final = r"\$(?:[\w#@*?$!-]|\{(?:[^{}'\"`\\$]|\$\w)*\})"
_DOLLAR: Final = r"\$(?![\w#@*?$!({'-])"  # itself, as at the end of a regular expression
_DOUBLE_INSIDE: Final = rf'"(?:[^"\\`$]|\\.|{_PARAMETER}|{_DOLLAR})*"'
# No parentheses, which could end it, no comment and no here-document; see _token for `case`.
_SUBSTITUTION: Final = (
    rf"\$\((?:[^()'\"`\\$#<]|<(?!<)|\\.|{_SINGLE}|{_DOUBLE_INSIDE}|{_PARAMETER})*\)"
)
_DOUBLE: Final = rf'"(?:[^"\\`$]|\\.|{_PARAMETER}|{_SUBSTITUTION}|{_DOLLAR})*"'
_TOKEN: Final = re.compile(
    rf"""
      (?P<blank> [ \t]+ )
    | (?P<document> <<(?P<tabs>-?)[ \t]* (?P<quote>['"]?)(?P<end>\w+)(?P=quote) (?![^ \t;&|<>()]) )
    | (?P<operator> [;&|()>] | <(?!<) )
    | (?P<comment> \# )
    | (?P<word> [^ \t;&|()<>'"`\\$\#]+ | \\. | {_SINGLE} | {_DOUBLE} | {_SUBSTITUTION} | {_PARAMETER} )
    | (?P<string> '[^']*$ )
    | (?P<continued> \\$ )
    """,
    re.VERBOSE,
)


_MARK: Final = "#:"


class UnsafeError(ValueError):
    """A script that cannot be made bare without a guess: line and reason."""


def source(name: str) -> str:
    """A script as it is written."""
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def read(name: str, *blocks: str) -> str:
    """A script as it stands in a Pod, with these of its blocks."""
    return bare(source(name), *blocks)


def bare(text: str, *blocks: str) -> str:
    """A POSIX shell script without comments, indentation and empty lines, which means the same.

    | line | what becomes of it |
    |---|---|
    | `#! …` | stays: the first line, and what readers of the Pod should know |
    | `#: if <block>` … `#: end` | what is between them is left out unless `blocks` has the name |
    | of a here-document, or of a string that began on a line before | stays as it is |
    | that goes on a line before, which ends with a backslash | one blank of its indentation stays |

    Raises:
        UnsafeError: text that is not known to be safe, such as a string in double quotes or a
            substitution over several lines, backquotes, or a substitution within another; or a
            block that is not there.
    """
    script = _Script(blocks)
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        try:
            script.add(line)
        except UnsafeError as error:
            raise UnsafeError(f"line {number}: {error}") from None
    return script.ended()


class _Script:
    """What is kept so far, and what the next line is part of."""

    def __init__(self, blocks: tuple[str, ...]) -> None:
        self._lines: list[str] = []
        self._wanted, self._seen = set(blocks), set[str]()
        self._block: str | None = None  # whose lines these are
        self._in_string = self._continued = False
        self._documents: list[re.Match[str]] = []  # which come next, by what announced them

    def add(self, line: str) -> None:
        """Read the next line."""
        code = line.lstrip(" \t")
        is_comment = code.startswith("#")
        if self._documents:
            self._add_document(line)
        elif self._in_string:
            self._add_code(line, begins=False)
        elif self._continued:
            if not code or is_comment:
                raise UnsafeError("the line before goes on in an empty one or a comment")
            self._add_code(code if code == line else f" {code}", begins=code != line)
        elif is_comment:
            self._add_comment(code)
        elif code:
            self._add_code(code, begins=True)

    def ended(self) -> str:
        """The whole script, if it may end here."""
        if self._in_string or self._continued or self._documents or self._block is not None:
            raise UnsafeError("at the end a string, a line, a here-document or a block goes on")
        if self._wanted - self._seen:
            raise UnsafeError(f"no block has the name {', '.join(self._wanted - self._seen)}")
        return "".join(f"{line}\n" for line in self._lines)

    def _keep(self, line: str) -> None:
        if self._block is None or self._block in self._wanted:
            self._lines.append(line)

    def _add_document(self, line: str) -> None:
        announced = self._documents[0]
        if announced["end"] == (line.lstrip("\t") if announced["tabs"] else line):
            self._documents.pop(0)
        elif not announced["quote"] and line.endswith("\\"):
            raise UnsafeError("a line of a here-document goes on, maybe in its end")
        self._keep(line)

    def _add_comment(self, comment: str) -> None:
        match comment[:2], comment[2:].split():
            case "#!", _:
                self._keep(comment)
            case "#:", ["if", name] if self._block is None:
                self._block = name
                self._seen.add(name)
            case "#:", ["end"] if self._block is not None:
                self._block = None
            case "#:", _:
                raise UnsafeError(f"{comment!r} is neither `#: if <block>` nor `#: end` of one")
            case _:
                pass

    def _add_code(self, line: str, *, begins: bool) -> None:
        """Read what may have a comment at its end; `begins`: a word may, at its first character."""
        at = self._string_end(line) if self._in_string else 0
        end, self._continued = at, False
        while at < len(line):
            token = _token(line, at)
            kind = token.lastgroup
            if kind == "comment" and begins:
                break
            at = token.end()
            end = end if kind == "blank" else at
            begins = kind in ("blank", "operator")
            self._in_string, self._continued = kind == "string", kind == "continued"
            if kind == "document":
                self._documents.append(token)
        if self._documents and (self._in_string or self._continued):
            raise UnsafeError("a here-document begins in a line that goes on")
        self._keep(line[:end])

    def _string_end(self, line: str) -> int:
        """Where the string that began on a line before has its end, as far as this line goes."""
        close = line.find("'") + 1
        self._in_string = not close
        return close or len(line)


def _token(line: str, at: int) -> re.Match[str]:
    token = _TOKEN.match(line, at)
    if token is None:
        raise UnsafeError(f"not known to be safe: {line[at:]}")
    if token.lastgroup == "word" and "$(" in token[0] and re.search(r"\bcase\b", token[0]):
        raise UnsafeError(f"the end of a substitution with `case`: {token[0]}")
    if token[0] == "#" and line.startswith(_MARK, at):
        raise UnsafeError(f"a mark has a line of its own: {line[at:]}")
    return token
