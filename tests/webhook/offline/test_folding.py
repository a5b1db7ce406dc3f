"""Folding of diffs: long texts that are added, and nothing else."""

from __future__ import annotations

from webhook.offline.folding import folded, folded_text

LONG = [f"+  line {number}" for number in range(13)]


def test_a_long_text_is_its_first_line_and_a_count() -> None:
    """Whatever begins it, and up to where it ends."""
    for head in ("+- |", "+a: |-", "+- a: >2", "+|"):
        lines = ["@@", head, *LONG, "+b: 1", " c: 2"]
        short = ["@@", head, "+  line 0 ... 12 more lines", "+b: 1", " c: 2"]
        assert short == list(folded(lines))
        assert "\n".join(short) == folded_text("\n".join(lines))


def test_a_long_text_in_quotes() -> None:
    """Flow style has all of it on one line, and a backslash before each quote that is of the text."""
    script = "\\n".join(['say \\"hello\\"', "printf '%s\\\\n'", *(["more"] * 12)])
    line = f'+spec: {{"command": ["sh", "{script}\\n"], "args": ["a\\nb"]}}'
    short = '+spec: {"command": ["sh", "say \\"hello\\" ... 13 more lines"], "args": ["a\\nb"]}'
    assert [short] == list(folded([line]))
    assert [f" {line[1:]}", f"-{line[1:]}"] == list(folded([f" {line[1:]}", f"-{line[1:]}"]))


def test_empty_lines_are_of_the_text() -> None:
    """They have no indentation."""
    assert ["+- |", "+  line 0 ... 15 more lines"] == list(
        folded(["+- |", *LONG, "+", "+  a", "+"])
    )


def test_short_texts_stay() -> None:
    """What can be read is shown."""
    lines = ["+- |", *LONG[:12], "+b: |", *LONG[:12]]
    assert lines == list(folded(lines))


def test_what_is_not_added_stays() -> None:
    """Lines that are taken away, or stand there for orientation, and lists of many items."""
    for mark in "- ":
        lines = [f"{mark}- |", *(mark + line[1:] for line in LONG)]
        assert lines == list(folded(lines))
    assert LONG == list(folded(LONG))


def test_line_ends_stay() -> None:
    """Those of Windows do."""
    assert folded_text("+a: |\r\n+  b\r\n+c: 1\r\n") == "+a: |\r\n+  b\r\n+c: 1\r\n"
