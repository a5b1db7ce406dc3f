"""What a manifest may hold, and what is refused with its line."""

from __future__ import annotations

import pytest
import yaml

from webhook.offline.yamledit import nodes as yaml_nodes
from webhook.offline.yamledit import parse as yaml_parse
from webhook.offline.yamledit.nodes import ManifestError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]\n" for at in range(1, 9)
)

REFUSED = [
    ("a: 1\nb: {{ .Values.b }}\n", 2, "a key must be a string"),
    ("a: [\n", 1, "did not find expected node content"),
    ("a: 1\nb: 2\na: 3\n", 3, "key 'a' is there twice"),
    ("a: !!python/object/apply:os.system [x]\n", 1, "tag tag:yaml.org,2002:python/object/apply"),
    ("a: !Ref x\n", 1, "tag !Ref is not for manifests"),
    ("a: 1\nb: *a\n", 2, "undefined alias a"),
    ("&a [*a]\n", 1, "undefined alias a"),
    ("a: 1\nb: \x01\n", 2, "control characters are not allowed"),
    ("? [a]\n: 1\n", 1, "a key must be a string"),
    ("~: 1\n", 1, "a key must be a string"),
    ("a: .nan\n", 1, ".nan is no number that JSON has"),
    ("<<: 1\n", 1, "<< can only merge mappings"),
    ("<<: [{a: 1}, [b]]\n", 1, "<< can only merge mappings"),
    ("[" * 300 + "]" * 300, 1, "nested more than 200 deep"),
    (BOMB, 7, "nodes with its aliases expanded"),
    ("a: 1\nb: @c\n", 2, "found character that cannot start any token"),
]


@pytest.mark.parametrize(("text", "line", "problem"), REFUSED)
def test_refused(text: str, line: int, problem: str) -> None:
    """What is not YAML, or no manifest, is refused with its line and the problem."""
    with pytest.raises(ManifestError) as refused:
        yaml_parse.parse(text)
    assert problem in str(refused.value)
    assert line == refused.value.line


def test_values() -> None:
    """Tags, anchors, merges and keys that are no strings mean what they mean to kubectl."""
    text = """\
- &a {x: 1, z: [2]}
- *a
- <<: *a
  x: !!str 3
- <<: [{x: 4}, *a]
- {1: a, on: b, 1.5: c, "<<": d}
- ! e
- !!int "7"
- !!binary aGk=
--- # the next
%
"""
    text = text.replace("%", "|\n  text")
    first, second = map(yaml_nodes.value_of, yaml_parse.parse(text))
    expected = [
        {"x": 1, "z": [2]},
        {"x": 1, "z": [2]},
        {"x": "3", "z": [2]},
        {"x": 4, "z": [2]},
        {"1": "a", "true": "b", "1.5": "c", "<<": "d"},
        "e",
        7,
        "aGk=",
    ]
    assert expected == first
    assert second == "text\n"


def test_all_documents_count_together() -> None:
    """A bomb in slices, one a document, is refused as well."""
    document = "---\na: &a [" + "x, " * 1000 + "]\nb: [" + "*a, " * 900 + "]\n"
    with pytest.raises(ManifestError, match="aliases expanded"):
        yaml_parse.parse(document * 3)


def test_the_pure_loader_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libyaml the same values and places are found."""
    text = "# c\n---\na: &x\n- |+\n  b\n\n-\n- [c, {d: 1}]\ne: !!str f # g\n"
    (fast,) = yaml_parse.parse(text)
    monkeypatch.setattr(yaml_parse, "_LOADER", yaml.SafeLoader)
    (slow,) = yaml_parse.parse(text)
    assert (fast.start, fast.end) == (slow.start, slow.end)
    assert yaml_nodes.value_of(fast) == yaml_nodes.value_of(slow)
