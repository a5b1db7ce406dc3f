"""Manifest files: find them, read them, and write them again with their values changed.

YAML keeps every untouched line (yaml_text). JSON keeps its indentation and its order.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Final, NoReturn

from webhook.offline.yamledit import nodes as yaml_nodes
from webhook.offline.yamledit import parse as yaml_parse
from webhook.offline.yamledit import text as yaml_text
from webhook.offline.yamledit.nodes import ManifestError, Node

SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"

_LARGE: Final = 5_000  # lines

_INDENT: Final = re.compile(r"\s*[\[{]\r?\n([ \t]+)")
# Comments, then the marker that begins a document or the directives before it.
_MARKED: Final = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\n)*(---(?=\s|\Z)|%)")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One file. Change `documents` in place, then `written` gives the new text."""

    name: str
    text: str
    documents: list[Any]
    roots: list[Node] | None  # None: the file is JSON


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is left out, and why."""

    name: str
    line: int | None
    problem: str

    def __str__(self) -> str:
        place = self.name if self.line is None else f"{self.name}:{self.line}"
        return f"{place}: {self.problem}"


def read(names: Iterable[str]) -> Iterator[Manifest | Unreadable]:
    """Read files, directories (with all below them, sorted) and "-" for standard input."""
    for name in names:
        if name == STDIN:
            yield _parsed("stdin", sys.stdin.buffer.read())
        elif Path(name).is_dir():
            yield from _read_directory(name)
        else:
            yield _read_file(Path(name))


def _read_directory(name: str) -> Iterator[Manifest | Unreadable]:
    paths = sorted(path for path in Path(name).rglob("*") if path.suffix in SUFFIXES)
    files = [path for path in paths if path.is_file()]
    if not files:
        yield Unreadable(name, None, "no .yaml, .yml or .json file in it")
    for path in files:
        yield _read_file(path)


def _read_file(path: Path) -> Manifest | Unreadable:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Unreadable(str(path), None, error.strerror or str(error))
    return _parsed(str(path), data)


def _parsed(name: str, data: bytes) -> Manifest | Unreadable:
    try:
        # A byte order mark belongs to the beginning of a file, and files are joined here.
        return parse(name, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return Unreadable(name, line, "not UTF-8")
    except ManifestError as error:
        hint = " (a template? render it first)" if b"{{" in data else ""
        return Unreadable(name, error.line, f"{error}{hint}")


def parse(name: str, text: str) -> Manifest:
    """Parse JSON (one document) or YAML (any number).

    Raises:
        ManifestError: neither, or what no manifest may hold; names the line.
    """
    if text.lstrip()[:1] in {"{", "["}:
        try:
            return Manifest(name, text, [_parse_json(text)], None)
        except json.JSONDecodeError:
            pass  # YAML can begin like that, too
    roots = yaml_parse.parse(text)
    return Manifest(name, text, [yaml_nodes.value_of(root) for root in roots], roots)


def _parse_json(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ManifestError(f"nested more than {yaml_parse.MAX_DEPTH} deep") from error
    except UnicodeEncodeError as error:
        raise ManifestError("half of a surrogate pair is no character") from error
    _check_depth(value, yaml_parse.MAX_DEPTH)
    return value


def _check_depth(value: Any, levels: int) -> None:
    if levels < 0:
        raise ManifestError(f"nested more than {yaml_parse.MAX_DEPTH} deep")
    if isinstance(value, (dict, list)):
        for at in value.values() if isinstance(value, dict) else value:
            _check_depth(at, levels - 1)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, at in pairs:
        if name in value:
            raise ManifestError(f"key {name!r} is there twice")
        value[name] = at
    return value


def _no_constant(text: str) -> NoReturn:
    raise ManifestError(f"{text} is no number that JSON has")


def written(manifest: Manifest) -> yaml_text.Rewritten:
    """The text of a manifest whose documents were changed."""
    if manifest.roots is not None:
        return yaml_text.rewrite(manifest.text, manifest.roots, manifest.documents)
    if yaml_nodes.same(_parse_json(manifest.text), manifest.documents[0]):
        return yaml_text.Rewritten(manifest.text)
    return yaml_text.Rewritten(_dump_json(manifest.documents[0], manifest.text))


def _dump_json(value: Any, like: str) -> str:
    """JSON with the indentation, line ends and escapes of the text `like`."""
    indent = _INDENT.match(like)
    text = json.dumps(
        value,
        indent=None if indent is None else indent[1],
        separators=None if indent or '": ' in like else (",", ":"),
        ensure_ascii=like.isascii(),
    )
    if "\r\n" in like:
        text = text.replace("\n", "\r\n")
    body = like.strip()
    start = like.index(body)
    return like[:start] + text + like[start + len(body) :]


def joined(texts: Iterable[str]) -> str:
    """One stream of documents out of several files."""
    stream = ""
    for text in texts:
        if stream and text:
            stream += "" if stream.endswith("\n") else "\n"
            marked = _MARKED.match(text)
            if marked is None:
                stream += "---\n"
            elif marked[1] == "%":  # directives may only stand behind the end of a document
                stream += "...\n"
        stream += text
    return stream


def diff(manifest: Manifest, new: str) -> str:
    """A unified diff of a file and its new text, as `patch` reads it."""
    old_lines, new_lines = _lines(manifest.text), _lines(new)
    # difflib.unified_diff ignores lines that are frequent, as `- name: x` is: hunks of 60
    # lines for a change of two. Without that it is quadratic, so not for huge files.
    matcher = SequenceMatcher(None, old_lines, new_lines, len(old_lines) > _LARGE)
    hunks = [
        line
        for group in matcher.get_grouped_opcodes()
        for line in _hunk(group, old_lines, new_lines)
    ]
    head = [f"--- {manifest.name}\n", f"+++ {manifest.name}\n"] if hunks else []
    return "".join([*head, *hunks])


def _hunk(
    group: list[tuple[str, int, int, int, int]], old: list[str], new: list[str]
) -> Iterator[str]:
    first, last = group[0], group[-1]
    yield f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@\n"
    for tag, old_start, old_end, new_start, new_end in group:
        if tag == "equal":
            yield from _marked(" ", old[old_start:old_end])
        else:
            yield from _marked("-", old[old_start:old_end])
            yield from _marked("+", new[new_start:new_end])


def _span(start: int, end: int) -> str:
    return f"{start + (end > start)},{end - start}"


def _marked(mark: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield (
            mark + line if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"
        )


def _lines(text: str) -> list[str]:
    """Only newlines end a line: str.splitlines knows eight more that editors do not."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
