"""Changing values in YAML text: what is changed is right, and nothing else is touched."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable
from typing import Any

import jsonpatch
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from webhook.offline.yamledit import nodes as yaml_nodes
from webhook.offline.yamledit import parse as yaml_parse
from webhook.offline.yamledit import text as yaml_text
from webhook.offline.yamledit.nodes import ManifestError
from webhook.pods import patch

Change = Callable[[Any], object]


def rewritten(text: str, change: Change) -> yaml_text.Rewritten:
    roots = yaml_parse.parse(text)
    documents = [yaml_nodes.value_of(root) for root in roots]
    for document in documents:
        change(document)
    return yaml_text.rewrite(text, roots, documents)


def apply(*operations: dict[str, Any]) -> Change:
    return lambda document: jsonpatch.apply_patch(document, list(operations), in_place=True)


def add(path: str, value: Any) -> Change:
    return apply({"op": "add", "path": path, "value": value})


def remove(*paths: str) -> Change:
    return apply(*({"op": "remove", "path": path} for path in paths))


def both(*changes: Change) -> Change:
    return lambda document: [change(document) for change in changes]


ITEM = {"name": "x", "value": ""}

CASES: dict[str, tuple[str, Change, str]] = {
    # ---- mappings ----
    "a new key goes below the last, its comment stays there": (
        "a: 1 # one\n# end\n", add("/k", ["v"]), "a: 1 # one\nk:\n- v\n# end\n"
    ),
    "no newline at the end stays so": ("a: 1", add("/k", 2), "a: 1\nk: 2"),
    "CRLF": ("a:\r\n  b: 1\r\n", add("/a/k", {"l": "1\n2\n"}), "a:\r\n  b: 1\r\n  k:\r\n    l: |\r\n      1\r\n      2\r\n"),
    "null, ~ and nothing are filled": (
        "a: null # c\nb: ~\nc:   \nd: {}  # d\n",
        both(add("/a", [1]), add("/b", {"x": "s"}), add("/c", "t"), add("/d/x", True)),
        "a: # c\n- 1\nb:\n  x: s\nc: t   \nd:  # d\n  x: true\n",
    ),
    "a value is replaced where it stands": (
        "a: 'x' # c\nb:\n  # c\n  old\n", both(add("/a", "y z"), add("/b", 1)), 'a: "y z" # c\nb:\n  # c\n  1\n'
    ),
    "a collection by a scalar and back": (
        "a:\n  b: 1\nc: 1\n", both(add("/a", 1), add("/c", [])), "a: 1\nc: []\n"
    ),
    "a removed key takes its lines": (
        "a: 1\n# of b\nb:\n  - 2 # two\nc: 3\n", remove("/b"), "a: 1\n# of b\nc: 3\n"
    ),
    "the first key behind a dash": ("- a: 1\n  b: 2\n  c: 3\n", remove("/0/a", "/0/b"), "- c: 3\n"),
    "the first key behind a dash, with a comment": (
        "- a: 1\n  # of b\n  b: 2\n", remove("/0/a"), "- \n  # of b\n  b: 2\n"
    ),
    "all keys": ("a:\n  b: 1\n", remove("/a/b"), "a: {}\n"),
    "all keys for new ones": ("a:\n  b: 1\nc: 2\n", both(remove("/a/b"), add("/a/k", 1)), "a:\n  k: 1\nc: 2\n"),
    "block scalars": (
        "a: |\n  x\n\n\nb: >-  # +\n  y\n", both(add("/k", 1), add("/a", "z")), "a: z\n\n\nb: >-  # +\n  y\nk: 1\n"
    ),
    "a block scalar that keeps its blank lines": ("a: |+\n  x\n\n# c\n", add("/k", 1), "a: |+\n  x\n\nk: 1\n# c\n"),
    # ---- sequences ----
    "the first item goes above the first one's comment": (
        "env: # all\n  # of A\n  - name: A\n", add("/env/0", ITEM), 'env: # all\n  - name: x\n    value: ""\n  # of A\n  - name: A\n'
    ),
    "the last, and one between": (
        "a:\n- 1\n# of 2\n- 2\n# end\n", both(add("/a/1", 5), add("/a/-", 6)), "a:\n- 1\n- 5\n# of 2\n- 2\n- 6\n# end\n"
    ),
    "behind a dash": ("- - a # c\n  - b\n", add("/0/0", {"k": 1}), "- - k: 1\n  - a # c\n  - b\n"),
    "the first behind a dash is removed": ("- - a\n  - b\n- c\n", remove("/0/0"), "- - b\n- c\n"),
    "a removed item takes its lines": (
        "a:\n- x: 1 # c\n  y: 2\n# of z\n- z: 3\n", remove("/a/0"), "a:\n# of z\n- z: 3\n"
    ),
    "all items": ("a:\n- 1\n- 2\nb: 1\n", remove("/a/1", "/a/0"), "a: []\nb: 1\n"),
    "anchors before the first dash": ("a: &x\n- 1\n", add("/a/0", 0), "a: &x\n- 0\n- 1\n"),
    "dashes on lines of their own": (
        "a:\n-\n  # c\n  x: 1\n- ! y\n-\n", both(add("/a/0/k", 1), add("/a/2", {"z": 1})), "a:\n-\n  # c\n  x: 1\n  k: 1\n- ! y\n- z: 1\n-\n"
    ),
    "an item is replaced": ("- 1 # c\n- 2\n", apply({"op": "replace", "path": "/0", "value": 3}), "- 3\n- 2\n"),
    "tags before the first dash": ("- !!seq # c\n  # d\n  - 1\n", add("/0/-", 2), "- !!seq # c\n  # d\n  - 1\n  - 2\n"),
    # ---- flow style ----
    "flow mappings": ("{a: 1, b: 2} # c\n", both(remove("/a"), add("/k", "v")), '{b: 2, "k": "v"} # c\n'),
    "flow sequences": (
        "a: [1, 2, 3, 4,] # c\n", both(remove("/a/1"), add("/a/0", 0), add("/a/-", 5)), "a: [0, 1, 3, 4, 5,] # c\n"
    ),
    "the first and the last of a flow sequence": ("[1, 2, 3]\n", remove("/2", "/0"), "[2]\n"),
    "flow inside": ("a: {b: {c: [x], d: }}\n", both(add("/a/b/c/-", {"e": []}), add("/a/b/d", None), add("/a/b/f", 1)), 'a: {b: {c: [x, {"e": []}], d: , "f": 1}}\n'),
    "flow values": ("a: {b: , c: 'x'}\n", both(add("/a/b", "y"), add("/a/c", 1)), 'a: {b:  "y", c: 1}\n'),
    "all in flow": ("a: [1]\nb: {c: [2]}\n", both(remove("/a/0"), remove("/b/c/0")), "a: []\nb: {c: []}\n"),
    "several lines": ("a: [\n  1, # one\n  2\n]\n", add("/a/1", 9), "a: [\n  1, 9, # one\n  2\n]\n"),
    # ---- anchors, aliases, merges ----
    "an anchor's copies keep what they were": ("a: &x\n  b: [1]\nc: *x # c\n", add("/a/b/-", 2), "a: &x\n  b: [1, 2]\nc: # c\n  b:\n  - 1\n"),
    "a copy changes alone": ("- &x {b: 1}\n- *x\n- *x # c\n", both(add("/1/k", 2), add("/2/k", 3)), '- &x {b: 1}\n- b: 1\n  k: 2\n- {"b": 1, "k": 3} # c\n'),
    "both change alike": ("a: &x\n  b: 1\nc: *x\n", both(add("/a/k", 2), add("/c/k", 2)), "a: &x\n  b: 1\n  k: 2\nc: *x\n"),
    "the anchor goes, its copies stay": ("- &x {b: 1}\n- - *x\n- &y 2\n- - *y\n", remove("/2", "/0"), "- - b: 1\n- - 2\n"),
    "one of two alike goes": ("- &x {b: 1}\n- *x\n- &y 2\n- *y\n", remove("/2", "/0"), "- &x {b: 1}\n- &y 2\n"),
    "a merged key is overridden": ("a: &x {b: 1}\nc:\n  <<: *x\n", both(add("/c/b", 2), add("/c/k", 3)), "a: &x {b: 1}\nc:\n  <<: *x\n  b: 2\n  k: 3\n"),
    "a merged key is removed": ("a: &x {b: 1, d: 2}\nc:\n  <<: *x\n", remove("/c/b"), "a: &x {b: 1, d: 2}\nc:\n  d: 2\n"),
    "what is merged changes": ("a: &x {b: 1}\nc:\n  <<: *x\n  e: 1\n", add("/a/b", 2), "a: &x {b: 2}\nc:\n  <<:\n    b: 1\n  e: 1\n"),
    # ---- documents ----
    "markers and directives": ("%YAML 1.1\n---\na: 1\n...\n# c\n--- {a: 2}\n---\n  a: 3\n", add("/k", [1]), '%YAML 1.1\n---\na: 1\nk:\n- 1\n...\n# c\n--- {a: 2, "k": [1]}\n---\n  a: 3\n  k:\n  - 1\n'),
    "the style of most of the document": (
        "a:\n    b:\n      - c:\n            d: 1\n",
        add("/a/k", {"l": [{"m": {"o": 1}}]}),
        "a:\n    b:\n      - c:\n            d: 1\n    k:\n        l:\n          - m:\n                o: 1\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden_text(name: str) -> None:
    """Only the lines of what changes are touched."""
    text, change, expected = CASES[name]
    assert yaml_text.Rewritten(expected) == rewritten(text, change)


@pytest.mark.parametrize(
    ("text", "change", "expected"),
    [
        ("? a\n: 1\n", add("/k", [{"l": 1}]), "a: 1\nk:\n- l: 1\n"),
        ("x: [a: 1]\n", add("/x/0/k", 2), "x:\n- a: 1\n  k: 2\n"),
        ("&x [a: 1]\n", add("/0/k", 2), "- a: 1\n  k: 2\n"),
        ("? a\n# c\n: 1\n", add("/a", 2), "a: 2\n"),
    ],
)
def test_afresh(text: str, change: Change, expected: str) -> None:
    """A document that cannot be edited is written afresh, with its line told; others are not."""
    result = rewritten(f"b: 'x' # c\n---\n{text}", lambda at: "b" in at or change(at))
    assert f"b: 'x' # c\n---\n{expected}" == result.text
    assert result.afresh == (3,)


def test_afresh_behind_a_marker() -> None:
    """Behind its marker a document stays on that line."""
    result = rewritten("--- [a: 1] # c\n", add("/0/k", 2))
    assert yaml_text.Rewritten('--- [{"a": 1, "k": 2}] # c\n', (1,)) == result


def test_a_root_of_another_kind() -> None:
    """A document that becomes something else is written afresh."""
    text = "- 1 # c\n"
    assert yaml_text.Rewritten("a: 1 # c\n", (1,)) == yaml_text.rewrite(
        text, yaml_parse.parse(text), [{"a": 1}]
    )


def test_what_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that does not mean what was wanted is never given out."""
    monkeypatch.setattr("webhook.offline.yamledit.style.scalar", lambda _value: "wrong")
    with pytest.raises(ManifestError, match="cannot be rewritten"):
        rewritten("a: 1\n", add("/a", 2))


# ---- properties ----

names = st.sampled_from(["a", "b", "build", "on", "1", "x y", "dinp.io/inject"])
scalars = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "s", "1", "on", "x: y", "# c", "two\nlines\n", "-", "é"])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
containers = st.fixed_dictionaries(
    {"name": names},
    optional={
        "image": st.sampled_from(["docker:29", "a@sha256:0"]),
        "env": st.none() | st.lists(st.fixed_dictionaries({"name": names, "value": scalars}), max_size=3),
        "command": st.lists(st.sampled_from(["sh", "-c", "a\nb\n", "x: y"]), max_size=3),
        "resources": st.dictionaries(names, values, max_size=2),
    },
)  # fmt: skip
deployments = st.fixed_dictionaries(
    {
        "apiVersion": st.just("apps/v1"),
        "kind": st.just("Deployment"),
        "spec": st.fixed_dictionaries(
            {"template": st.fixed_dictionaries({"spec": st.fixed_dictionaries({"containers": st.lists(containers, min_size=1, max_size=3)})})}
        ),
    }
)  # fmt: skip


class _Dumper(yaml.SafeDumper):
    """PyYAML's, with sequences indented beneath their key where `dash` says so."""

    dash = False

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless and not self.dash)


@st.composite
def texts(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> str:
    """One value, written in one of many styles, with comments between its lines."""
    dumper = type("Dumper", (_Dumper,), {"dash": draw(st.booleans())})
    width = draw(st.sampled_from([20, 1000]))
    text = yaml.dump(
        draw(documents),
        Dumper=dumper,
        indent=draw(st.sampled_from([2, 3, 4])),
        default_flow_style=draw(st.sampled_from([False, None])),
        default_style=draw(st.sampled_from([None, None, "'", '"'])),
        width=width,
        explicit_start=draw(st.booleans()),
        sort_keys=False,
    )
    if width == 1000 and not {"\n\n", "|", "'", '"'} & set(re.findall(r"\n\n|[|'\"]", text)):
        lines = text.splitlines(keepends=True)
        text = "".join(
            f"# c{at}\n{line}" if draw(st.booleans()) else line for at, line in enumerate(lines)
        )
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = text.replace("\n", newline)
    return text if draw(st.booleans()) else text.removesuffix(newline)  # fmt: skip


def lost_lines(old: str, new: str) -> list[str]:
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    return [
        line
        for tag, start, end, _, _ in matcher.get_opcodes()
        if tag != "equal"
        for line in old.splitlines()[start:end]
    ]


@given(texts(values), values)
def test_any_change_is_right(text: str, wanted: Any) -> None:
    """Whatever a document is changed to, the new text means it."""
    (root,) = yaml_parse.parse(text)
    old = yaml_nodes.value_of(root)
    plain = copy.deepcopy(_plain(old))
    document: Any = jsonpatch.apply_patch(old, patch.diff(plain, wanted), in_place=True)
    new = yaml_text.rewrite(text, [root], [document]).text
    assert yaml_nodes.same(wanted, yaml_nodes.value_of(yaml_parse.parse(new)[0]))


@given(texts(deployments), st.data())
def test_additions_lose_no_line(text: str, data: st.DataObject) -> None:
    """What is added to block collections leaves every line of the old text as it was."""
    (root,) = yaml_parse.parse(text)
    document = yaml_nodes.value_of(root)
    found = document["spec"]["template"]["spec"]
    volumes = {"op": "add", "path": "/spec/template/spec/volumes", "value": [{"name": "v"}]}
    operations: list[dict[str, Any]] = [volumes]
    for at, container in enumerate(found["containers"]):
        flow = container.node.flow
        if not flow and container.get("env") and not container["env"].node.flow:
            gap = data.draw(st.integers(0, len(container["env"])))
            path = f"/spec/template/spec/containers/{at}/env/{gap}"
            operations.append({"op": "add", "path": path, "value": ITEM})
        elif not flow and "env" not in container:
            path = f"/spec/template/spec/containers/{at}/env"
            operations.append({"op": "add", "path": path, "value": [ITEM]})
    wanted = jsonpatch.apply_patch(_plain(document), operations)
    jsonpatch.apply_patch(document, operations, in_place=True)
    result = yaml_text.rewrite(text, [root], [document])
    assert () == result.afresh
    assert [] == lost_lines(text, result.text)
    assert wanted == yaml_nodes.value_of(yaml_parse.parse(result.text)[0])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(at) for key, at in value.items()}
    return [_plain(at) for at in value] if isinstance(value, list) else value
