"""What of the start scripts stands in a Pod: the same commands, in fewer bytes.

The oracle is bash's own parser: `declare -f` prints a function without its comments, as it has
understood them, so two texts that it prints alike mean the same.
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import scripts
from tests.parts import needs

BASH = shutil.which("bash")
needs_bash = needs("bash, the oracle", is_there=BASH is not None)


def parsed(text: str) -> str | None:
    """The commands of a script as bash prints them; None: it is no script."""
    # Restricted and without a PATH: a text that ends the function early executes nothing.
    print_it = 'IFS= read -r -d "" text; eval "f() {\n:\n$text\n}" && declare -f f'
    done = subprocess.run(  # noqa: S603 - our own command
        [str(BASH), "--restricted", "-c", print_it],
        input=text.encode(),
        env={"PATH": ""},
        capture_output=True,
        check=False,
    )
    # Of a here-document without an end, or of a half of a string, it only warns.
    if done.returncode or done.stderr:
        return None
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ("a\nb\n", "  a\n\tb\n"),
        ("a\nb\n", "# why\n\na  \n   \n  # why not\nb\n"),
        ("a\n", "a # b\n"),
        ("a;\n(b)\n", "a;# b\n(b)# c\n"),
        ("a#b c#\n", "a#b c#\n"),
        ("echo $# ${a#b} ${a##*/}\n", "echo $# ${a#b} ${a##*/} # c\n"),
        ("echo '# a' \"# b\" \\# \\  c\n", "echo '# a' \"# b\" \\# \\  c # d\n"),
        ('a "$(b "# c" \'# d\')"\n', 'a "$(b "# c" \'# d\')" # e\n'),
        ("a \"it's\" '\"'\n", "a \"it's\" '\"' # b\n"),
        ("a '\n  # b\n  c' d\n", "  a '\n  # b\n  c' d # e\n"),
        ("a 'b\n\n c\n  ' 'd\n   e'\n", "a 'b\n\n c\n  ' 'd\n   e'\n"),
        ("a \\\n b\n", "  a \\\n      b # c\n"),
        ("a\\\nb\n", "a\\\nb\n"),
        ("a \\ \n", "a \\   # b\n"),  # a backslash and a blank: without that it would go on
        ("a <<B && c\n  # d\n\n\te\nB\nf\n", "  a <<B && c # g\n  # d\n\n\te\nB\n  f\n"),
        ("a <<'B'\n\\\nB\nc\n", "a <<'B'\n\\\nB\n c\n"),
        ("a <<-B\n\t# c\n\tB\nd\n", "a <<-B\n\t# c\n\tB\n\td\n"),
        ("a <<B <<C\n # b\nB\n # c\nC\nd\n", "a <<B <<C\n # b\nB\n # c\nC\n d\n"),
        ("case a in\n*) b ;;\nesac\n", "case a in # c\n    *) b ;; # d\nesac\n"),
        ("#!/bin/sh\n#! for readers\na\n", "#!/bin/sh\n #! for readers\n# not for them\na\n"),
        ("", ""),
    ],
)
def test_bare(expected: str, text: str) -> None:
    """Comments, indentation and empty lines go, and nothing that only looks like them."""
    assert expected == scripts.bare(text)
    assert expected == scripts.bare(expected)


@pytest.mark.parametrize(
    ("why", "text"),
    [
        ("not known to be safe", 'a "b\n  c"\n'),
        ("not known to be safe", "a `b`\n"),
        ("not known to be safe", 'a "`b`"\n'),
        ("not known to be safe", "a $(b\n  c)\n"),
        ("not known to be safe", "a $(b $(c))\n"),
        ("not known to be safe", "a $(b # c)\n"),
        ("not known to be safe", "a $(b <<C)\nC\n"),
        ("not known to be safe", "a $((1 << 2))\n"),
        ("not known to be safe", "a ${b:-'}'}\n"),
        ("not known to be safe", "a \"${b:-'}'}\"\n"),
        ("not known to be safe", "a $'b\\'c'\n"),
        ("not known to be safe", "a <<$(b)\n"),
        ("not known to be safe", "a <<\\B\nB\n"),
        ("not known to be safe", "a <<< b\n"),
        ("not known to be safe", "a <<B'C'\nBC\n"),
        ("`case`", "a $(case b in c) d ;; esac)\n"),
        ("the line before goes on", "a \\\n\nb\n"),
        ("the line before goes on", "a \\\n# b\nc\n"),
        ("the line before goes on", "a\\\n#b\n"),
        ("a here-document begins in a line that goes on", "a <<B \\\nc\nB\n"),
        ("a here-document begins in a line that goes on", "a <<B 'c\n'\nB\n"),
        ("a line of a here-document goes on", "a <<B\nc \\\nB\nB\n"),
        ("at the end", "a <<B\nc\n"),
        ("at the end", "a 'b\n"),
        ("at the end", "a \\\n"),
        ("at the end", "#: if b\na\n"),
        ("neither", "#: end\n"),
        ("neither", "#: if a\n#: if b\n#: end\n#: end\n"),
        ("neither", "#: if a b\n#: end\n"),
        ("neither", "#: else\n"),
        ("a line of its own", "a #: if b\n"),
    ],
)
def test_refused(why: str, text: str) -> None:
    """What could be mistaken is refused: by its line, and in words."""
    with pytest.raises(scripts.UnsafeError, match=re.escape(why)):
        scripts.bare(text)


def test_says_where() -> None:
    """The number of the line, and the text at which it stops."""
    with pytest.raises(scripts.UnsafeError, match=r"^line 3: not known to be safe: `c`$"):
        scripts.bare("a\n\nb `c`\n")


BLOCKS = "a\n#: if x\nb <<C\n#: end\nC\n#: end\n#: if y\nd\n#: end\ne\n"


@pytest.mark.parametrize(
    ("expected", "blocks"),
    [
        ("a\ne\n", ()),
        ("a\nb <<C\n#: end\nC\ne\n", ("x",)),
        ("a\nd\ne\n", ("y",)),
        ("a\nb <<C\n#: end\nC\nd\ne\n", ("y", "x")),
    ],
)
def test_blocks(expected: str, blocks: tuple[str, ...]) -> None:
    """A block is left out unless it is asked for; marks are no marks in a here-document."""
    assert expected == scripts.bare(BLOCKS, *blocks)


def test_a_block_that_is_not_there() -> None:
    """A name that is misspelt is an error, and not a script that lacks something."""
    with pytest.raises(scripts.UnsafeError, match="no block has the name z"):
        scripts.bare(BLOCKS, "x", "z")


# Pieces that end strings, comments and documents, or only seem to.
_PIECES = st.sampled_from(
    [
        *("a", "b", "B", "#", " #", "# ", "'", '"', "\\", "$", "$#", "$a", "${a#b}", "${a"),
        *("\n", "\n", "\n", " ", "  ", "\t", ";", ";;", "&", "|", "(", ")", "<<B", "<<-B", "<<'B'"),
        *("\nB\n", "\n\tB\n", "`", "$(", "$((", "))", "<", ">", "case a in", "esac"),
        *("'a'", '"a"', '"$(a "b")"', "if a; then", "fi", "x=1", "\\\n", "$'", '$"', "\r", "é"),
    ]
)


@needs_bash
@settings(max_examples=settings().max_examples * 3)
@given(st.lists(_PIECES, max_size=24).map("".join))
@example("a \\\n #b\nc")
@example("a <<B\n'\nB\n # c")
@example("a '#' #'\nb '#'\n  c")
def test_means_the_same_or_is_refused(text: str) -> None:
    """Of any script that bash can parse: what is left has the same commands, and stays so."""
    try:
        bare = scripts.bare(text)
    except scripts.UnsafeError:
        return
    before = parsed(text)
    assume(before is not None)
    assert before == parsed(bare)
    assert bare == scripts.bare(bare)


VARIANTS = [("dind.sh", ()), ("dind.sh", ("tls",)), ("start.sh", ())]


@needs_bash
@pytest.mark.parametrize(("name", "blocks"), VARIANTS)
def test_ours_mean_the_same(name: str, blocks: tuple[str, ...]) -> None:
    """To bash, what stands in a Pod is what is written, but for the blocks that are left out."""
    written = scripts.source(name)
    if not blocks:
        written = re.sub(r"^ *#: if .*?^ *#: end$", "", written, flags=re.MULTILINE | re.DOTALL)
    expected = parsed(written)
    assert expected is not None
    assert expected == parsed(scripts.read(name, *blocks))


@pytest.mark.parametrize(("name", "blocks"), VARIANTS)
def test_ours_are_bare(name: str, blocks: tuple[str, ...]) -> None:
    """No comment is left but the two for readers of the Pod, and no empty line."""
    text = scripts.read(name, *blocks)
    lines = text.splitlines()
    assert lines[0] == "#!/bin/sh"
    assert {"#!"} == {line[:2] for line in lines if line.startswith("#")}
    assert "" not in lines
    assert len(text) < 0.75 * len(scripts.source(name))


@pytest.mark.parametrize("name", ["dind.sh", "start.sh"])
def test_ours_are_in_the_open(name: str) -> None:
    """Lines of under 100 columns, and above each function but one, die, what it is for."""
    text = scripts.source(name)
    assert [] == [line for line in text.splitlines() if len(line) >= 100]
    functions = re.findall(r"^(.*)\n(\w+)\(\) [{(]$", text, re.MULTILINE)
    assert len(functions) == len(re.findall(r"^\w+\(\)", text, re.MULTILINE)) > 2
    assert {"die"} >= {function for above, function in functions if not above.startswith("# ")}
