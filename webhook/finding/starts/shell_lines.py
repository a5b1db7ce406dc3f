"""The simple commands of a shell's text, as far as to see which programs it runs.

    >>> [*commands('A=1 exec "dockerd" --debug >log 2>&1 & echo $(wrapdocker)')]
    [['A=1', 'exec', 'dockerd', '--debug'], ['wrapdocker'], ['echo', '']]

Quotes are taken off, redirections and here-documents are left out, and what a substitution runs
comes before the command that takes its output (POSIX, XCU 2; bash's `$'…'`, `[[`, `&>` and `<(…)`).
Each character is looked at a bounded number of times. Not shlex: it knows neither `$(…)` nor
here-documents, and takes the apostrophe of a comment for a quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from webhook.finding.starts.tables import RESERVED
from webhook.pods import bounds

# Every alternative either takes what it reads, or stops at the character that the next one begins
# with, so nothing is read over and over.
_TOKEN: Final = re.compile(
    r"""
      (?P<blank>    (?: [ \t\r] | \\\n )+ )
    | (?P<here>     <<-?[ \t]*+ (?: '(?P<q>[^'\n]*)' | "(?P<d>[^"\n]*)" | \\?(?P<p>[\w.+/-]+) ) )
    | (?P<arith>    \$?\(\( [^()\n;]* \)\) )
    | (?P<sub>      [$<>]\( )
    | (?P<redirect> (?:\d{1,4})? (?: <<< | <> | >> | >\| | [<>]&? ) | &>>? )
    | (?P<op>       ;;& | ;;? | ;& | && | \|& | \|\| | [&|\n()] )
    | (?P<single>   '[^']*' )
    | (?P<ansi>     \$'(?:[^'\\]|\\.)*+' )
    | (?P<default>  \$\{ \w+ :?- (?P<else>[^{}"'`$]*) \} )
    | (?P<braces>   \$\{ [^{}]* \} )
    | (?P<escape>   \\. )
    | (?P<open>     \$?"|` )
    | (?P<plain>    [^\s\\'"`$<>&|;()#]+ )
    | (?P<broken>   ' )
    | (?P<other>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
_IN_QUOTES: Final = re.compile(
    r"""
      (?P<escape>   \\. )
    | (?P<arith>    \$\(\( [^()\n;]* \)\) )
    | (?P<sub>      \$\( )
    | (?P<braces>   \$\{ [^{}]* \} )
    | (?P<close>    " )
    | (?P<open>     ` )
    | (?P<plain>    [^\\"`$]+ )
    | (?P<other>    . )
    """,
    re.VERBOSE | re.DOTALL,
)


class UnreadableError(ValueError):
    """The text is no shell's; says why."""


class _Commands:
    """A list of commands that is being read: the text's own, or a substitution's."""

    __slots__ = ("cases", "in_pattern", "to_file", "word", "words")

    def __init__(self) -> None:
        self.words: list[str] = []  # of the command so far
        self.word: list[str] | None = None  # pieces of the word so far
        self.to_file = False  # the next word is a redirection's
        self.cases = 0  # case … esac around
        self.in_pattern = False  # where `dockerd)` is a case's, and names no program

    def add(self, piece: str) -> None:
        if self.word is None:
            self.word = []
        self.word.append(piece)

    def end_word(self) -> None:
        if self.word is None:
            return
        word, self.word = "".join(self.word), None
        if self.to_file:
            self.to_file = False
            return
        self.words.append(word)
        if word == "in" and self.words[-3:-2] == ["case"]:
            self.words, self.in_pattern = [], True
            self.cases += 1
        elif word == "esac" and len(self.words) == 1 and self.cases:
            self.cases -= 1
            self.in_pattern = False

    def end(self, operator: str, *, is_open: bool) -> Iterator[list[str]]:
        """End the command; `is_open`: a `)` here closes something."""
        self.end_word()
        words, self.words, self.to_file = self.words, [], False
        if self.in_pattern:
            self.in_pattern = operator != ")"
            return
        if operator == ")" and not is_open:
            return
        self.in_pattern = bool(self.cases) and operator in {";;", ";&", ";;&"}
        at = next((at for at, word in enumerate(words) if word not in RESERVED), len(words))
        if at < len(words):
            yield words[at:]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command.

    Raises:
        UnreadableError: after all commands that could be read.
    """
    reader = _Reader(text)
    for _ in range(bounds.TOKENS):
        if reader.at == len(text):
            break
        yield from reader.next_token()
    if reader.at < len(text):
        raise UnreadableError("it is too long")
    if len(reader.stack) > 1:
        raise UnreadableError("a quote or a bracket has no end")
    yield from reader.stack[0][1].end("", is_open=False)


class _Reader:
    """Where the text is read, and what is open there."""

    __slots__ = ("at", "documents", "stack", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        # What ends each part, and whose words it has; a double quote has those of the part around.
        self.stack = [("", _Commands())]
        self.documents: list[str] = []  # ends of the here-documents that begin with the next line

    def next_token(self) -> Iterator[list[str]]:
        ends, here = self.stack[-1]
        in_quotes = ends == '"'
        token = (_IN_QUOTES if in_quotes else _TOKEN).match(self.text, self.at)
        assert token is not None  # noqa: S101  # the last alternative matches any character
        self.at = token.end()
        kind, piece = token.lastgroup, token.group()
        if kind == "op":
            here.end_word()  # which may be `esac`
        if piece == ends and not here.in_pattern:
            self.stack.pop()
            yield from () if in_quotes else here.end(piece, is_open=True)
        elif kind == "op":
            yield from self._operator(piece, here)
        elif kind in {"open", "sub"}:
            here.add("")
            closing = {"`": "`", '"': '"', '$"': '"'}.get(piece, ")")
            self.stack.append((closing, here if closing == '"' else _Commands()))
        elif kind == "here":
            self.documents.append(token["q"] or token["d"] or token["p"] or "")
        elif kind in {"blank", "redirect"}:
            here.end_word()
            here.to_file = here.to_file or kind == "redirect"
        elif piece == "#" and here.word is None:
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
        else:
            here.add(_means(kind, piece, token))

    def _operator(self, operator: str, here: _Commands) -> Iterator[list[str]]:
        if operator == "(" and not here.in_pattern:
            here.words = []  # the name of a function, or of an array
            self.stack.append((")", _Commands()))
            return
        yield from here.end(operator, is_open=False)
        if operator == "\n":
            self.at = _behind(self.text, self.at, self.documents)
            self.documents = []


def _means(kind: str | None, piece: str, token: re.Match[str]) -> str:
    """What a piece of a word stands for, as far as that shows."""
    if kind == "broken":
        raise UnreadableError("a quote has no end")
    if kind == "escape":
        return "" if piece == "\\\n" else piece[1]
    if kind == "single":
        return piece[1:-1]
    if kind == "ansi":
        return piece[2:-1]
    return token["else"] if kind == "default" else piece


def _behind(text: str, at: int, documents: list[str]) -> int:
    """The place behind here-documents that begin at `at`."""
    for ending in documents:
        line = None
        while at < len(text) and line != ending:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            line = text[at:end].lstrip("\t")
            at = min(end + 1, len(text))
    return at
