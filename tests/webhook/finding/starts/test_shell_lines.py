"""shell_lines: the simple commands of a shell's text."""

from __future__ import annotations

import doctest
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.finding.starts import shell_lines
from webhook.finding.starts.shell_lines import UnreadableError, commands


def test_the_example_of_the_module() -> None:
    """What the docstring shows comes out."""
    assert (0, 1) == (doctest.testmod(shell_lines).failed, doctest.testmod(shell_lines).attempted)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ([], " \n; # nothing"),
        ([["a", "b c", "d"]], "a 'b c' \"d\""),
        ([["a", "b", "c"]], "a >x 2>&1 b <<<y &>z c"),
        ([["a", "it's", '"']], 'a it\\\'s "\\""'),
        ([["a", "x#y"]], "a x#y # z"),
        ([["a"], ["b"], ["c"], ["d"]], "a; b & c && d"),
        ([["inner"], ["a", "xy"]], 'a "x$(inner)y"'),
        ([["b"], ["a", ""]], "a `b`"),
        ([["a", "$((1 + 2))", "${b}"]], 'a "$((1 + 2))" "${b}"'),
        ([["a", "\\n"]], "a $'\\n'"),
        ([["x"], ["y"]], "case a in b|c) x;; (d) ;; esac; y"),
        ([["x"], ["esac"], ["y", ""]], "y $(case a in b) x; esac)"),
        ([["x"], ["esac"], ["y", ""]], "y $(case a in b|c) x; esac)"),
        ([["a", "b"]], "a \\\n b"),
        ([["a", "$"]], 'a "$"'),
    ],
)
def test_commands(expected: list[list[str]], text: str) -> None:
    """Words without quotes, redirections, comments; a substitution before the command around it."""
    assert expected == [words for words in commands(text) if words != ["esac"] or "esac)" in text]


@given(st.text(alphabet="ab '\"\\`$(){};&|<>#\n=1-") | st.text())
def test_any_text(text: str) -> None:
    """Whatever stands there is read, or said to be unreadable; no word is empty of meaning for it."""
    with suppress(UnreadableError):
        assert all(words for words in commands(text))
