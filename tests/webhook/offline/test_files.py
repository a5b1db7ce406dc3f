"""Files in, files out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from webhook.offline import files
from webhook.offline.files import Manifest, Unreadable
from webhook.offline.yamledit.nodes import ManifestError


def test_directories(tmp_path: Path) -> None:
    """A directory is read with all below it, sorted, only files of the known suffixes."""
    (tmp_path / "b" / "c.yaml").mkdir(parents=True)
    for name in ("b/x.yml", "a.json", "c.yaml", "README.md"):
        (tmp_path / name).write_text("{}")
    names = [
        Path(file.name).relative_to(tmp_path).as_posix() for file in files.read([str(tmp_path)])
    ]
    assert ["a.json", "b/x.yml", "c.yaml"] == names


def test_unreadable(tmp_path: Path) -> None:
    """What cannot be read is named, with its line where there is one; the rest is read."""
    (tmp_path / "empty").mkdir()
    written = {
        "latin.yaml": b"a: 1\nb: \xe9\n",
        "helm.yaml": b"a: 1\nb: {{ .Values.b }}\n",
        "bad.yaml": b"a: [",
        "fine.yaml": b"\xef\xbb\xbfa: 1\n",
    }
    for name, data in written.items():
        (tmp_path / name).write_bytes(data)
    names = [str(tmp_path / name) for name in ("empty", "none.yaml", *written)]
    *wrong, fine = files.read(names)
    expected = [
        "empty: no .yaml, .yml or .json file in it",
        "none.yaml: No such file or directory",
        "latin.yaml:2: not UTF-8",
        "helm.yaml:2: a key must be a string (a template? render it first)",
        "bad.yaml:1: not YAML: did not find expected node content",
    ]
    assert expected == [str(each).removeprefix(f"{tmp_path}/") for each in wrong]
    assert all(isinstance(each, Unreadable) for each in wrong)
    assert isinstance(fine, Manifest)
    assert fine.text == "a: 1\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "a": 2}', "key 'a' is there twice"),
        ('{"a": NaN}', "NaN is no number that JSON has"),
        ('{"a": "\\ud800"}', "surrogate"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 200 deep"),
        ("[" * 300 + "]" * 300, "nested more than 200 deep"),
    ],
)
def test_bad_json(text: str, problem: str) -> None:
    """JSON that no manifest may hold is refused."""
    with pytest.raises(ManifestError, match=problem):
        files.parse("x.json", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{\n  "a": [\n    1\n  ]\n}\n', '{\n  "a": [\n    1,\n    "é"\n  ]\n}\n'),
        ('\r\n{\r\n\t"a": []}', '\r\n{\r\n\t"a": [\r\n\t\t"é"\r\n\t]\r\n}'),
        ('{"a":["ü"]}\n', '{"a":["ü","é"]}\n'),
        ('{"a": []}', '{"a": ["é"]}'),
    ],
)
def test_json(text: str, expected: str) -> None:
    """JSON keeps its indentation, separators, line ends and manner of escapes."""
    file = files.parse("x.json", text)
    assert text == files.written(file).text
    file.documents[0]["a"].append("é")
    ascii_only = json.dumps("é") if text.isascii() else '"é"'
    assert expected.replace('"é"', ascii_only) == files.written(file).text


def test_yaml_that_begins_like_json() -> None:
    """Braces may also begin YAML, several documents of it."""
    file = files.parse("x.yaml", "{a: 1}\n---\n{b: 2}\n")
    file.documents[1]["c"] = 3
    assert files.written(file).text == '{a: 1}\n---\n{b: 2, "c": 3}\n'


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], ""),
        (["a: 1\n", "b: 2"], "a: 1\n---\nb: 2"),
        (["a: 1", "", "# c\n\n---\nb: 2\n"], "a: 1\n# c\n\n---\nb: 2\n"),
        (["a: 1\n", "%YAML 1.1\n---\nb: 2\n"], "a: 1\n...\n%YAML 1.1\n---\nb: 2\n"),
        (["a: 1\n", "--- b\n", "---x: 1\n"], "a: 1\n--- b\n---\n---x: 1\n"),
    ],
)
def test_joined(texts: list[str], expected: str) -> None:
    """Files become one stream in which each document is still one of its own."""
    assert expected == files.joined(texts)


def test_diff() -> None:
    """A diff is as patch(1) reads it, and has hunks of what changed only."""
    old = "".join(f"- name: x\n  value: {at}\n" for at in range(200))
    new = old.replace("  value: 90\n", "  value: y\n").removesuffix("\n")
    expected = """\
--- x.yaml
+++ x.yaml
@@ -179,7 +179,7 @@
 - name: x
   value: 89
 - name: x
-  value: 90
+  value: y
 - name: x
   value: 91
 - name: x
@@ -397,4 +397,4 @@
 - name: x
   value: 198
 - name: x
-  value: 199
+  value: 199
\\ No newline at end of file
"""
    assert expected == files.diff(files.parse("x.yaml", old), new)
    assert files.diff(files.parse("x.yaml", old), old) == ""
    added = "--- x\n+++ x\n@@ -0,0 +1,1 @@\n+a: 1\n"
    assert added == files.diff(files.parse("x", ""), "a: 1\n")
