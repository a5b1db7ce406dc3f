"""What the docs say is so: links lead somewhere, commands exist, and tables have the rows of the code.

A YAML block whose fence says `yaml fragment` is a part of an object. Every other block is a config
file, or whole Kubernetes objects, of which each Pod goes through the webhook's own code.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import click
import msgspec
import pytest
import yaml

from certs import metrics as certs_metrics
from tools import reasons
from webhook import admission
from webhook.asking import config, controllers, rules, watchers
from webhook.asking.annotations import ALLOWED_FLAGS, TABLE
from webhook.cli import main
from webhook.offline import pod_templates
from webhook.pods import selectors
from webhook.reasons import Reason
from webhook.serving.metrics import Metrics

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
# Not below folders that tools keep for themselves, such as .venv and .pytest_cache.
PAGES: Final = sorted(
    page
    for page in (*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md"), *ROOT.glob(".github/**/*.md"))
    if not page.is_relative_to(ROOT / "build")
)
# What is said of former versions need not be there any more.
PRESENT: Final = [page for page in PAGES if page.name != "CHANGELOG.md"]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_present_page = pytest.mark.parametrize(
    "page", PRESENT, ids=lambda page: str(page.relative_to(ROOT))
)


class Block(NamedTuple):
    """A fenced block: what its fence says, and its lines without their common indentation."""

    info: str
    text: str


def read(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


_FENCED: Final = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"`([^`\n]+)`")


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for indentation, info, text in _FENCED.findall(read(page)):
        lines = (line.removeprefix(indentation) for line in text.splitlines())
        yield Block(info.strip(), "\n".join(lines))


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", read(page))


def code(page: Path) -> Iterator[str]:
    """Yield each piece of code: spans, and lines of blocks that are no YAML, diff or picture."""
    yield from _SPAN.findall(prose(page))
    for block in blocks(page):
        if block.info in {"", "sh"}:
            yield from (line.partition(" #")[0].strip() for line in block.text.splitlines())


def rows(page: Path, heading: str | None = None) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables below a heading, or of the page."""
    text = prose(page)
    if heading is not None:
        (text,) = re.findall(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    for line in re.findall(r"^ *\|(.*)\| *$", text, re.MULTILINE):
        cells = [cell.strip() for cell in line.split("|")]
        if set("".join(cells)) - set("-:"):
            yield cells


def spans(cell: str) -> list[str]:
    """The code of a cell."""
    return _SPAN.findall(cell)


# ---- links ---------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = sum(1 for there in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", there))
        found.add(f"{slug}-{number}" if slug in found else slug)
    return found


@each_page
def test_links(page: Path) -> None:
    """A link leads to a file of the repository, and to a heading that this file has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        assert not re.match(r"[a-z]+://", target), f"{target} leads out of the repository"
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_linked() -> None:
    """README leads to each page of docs/."""
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", read(ROOT / "README.md")))
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} == linked


@each_present_page
def test_named_manifests(page: Path) -> None:
    """Each file and folder of manifests/ that is named is there; what is applied is a kustomization."""
    text = read(page)
    for path in re.findall(r"\bmanifests/[\w./-]*\w", text):
        assert (ROOT / path).exists() or (ROOT / "tests" / path).exists(), path
    for applied in re.findall(r"-k (manifests[\w./-]*)", text):
        assert (ROOT / applied / "kustomization.yaml").is_file(), applied
    for name in re.findall(r"components/([\w-]+)", text):
        assert (ROOT / "manifests" / "components" / name).is_dir(), name


_PATH: Final = re.compile(
    r"(?:webhook|certs|keeper|tests|tools|bench|fuzz|docs|manifests|golden|node|cluster)/[\w./-]*\w"
)


@each_present_page
def test_named_paths(page: Path) -> None:
    """Each file and folder of the repository that is named is there, or below tests/."""
    for span in _SPAN.findall(prose(page)):
        path = span.partition("::")[0].rstrip("/")
        if _PATH.fullmatch(path):
            assert (ROOT / path).exists() or (ROOT / "tests" / path).exists(), span


# ---- commands ------------------------------------------------------------------------------


@each_page
def test_targets_of_make(page: Path) -> None:
    """Each `make x` is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+(?: [a-z0-9-]+)*):", makefile, re.MULTILINE))
    known = {name for names in targets for name in names.split()}
    for piece in code(page):
        for asked in re.findall(r"(?:^|&& |sudo )make((?: [^&;|]+)?)", piece):
            words = [word for word in asked.split() if re.fullmatch(r"[a-z][a-z0-9-]*", word)]
            assert set(words[:1]) <= known, piece


_DINP: Final = re.compile(r"(?:^|[\s/])dinp ((?:[a-z-]|--).*)")


def command_of(words: list[str]) -> tuple[str, click.Command, list[str]]:
    """The command that the first words name, and the words that are left for it."""
    name, found, left = "dinp", cast("click.Command", main), list(words)
    while isinstance(found, click.Group) and left and not left[0].startswith("-"):
        name = f"{name} {left[0]}"
        inner = found.get_command(click.Context(found), left.pop(0))
        assert inner is not None, f"there is no {name}"
        found = inner
    return name, found, left


def options_of(command: click.Command) -> dict[str, click.Option]:
    """All options of a command, by each of their names."""
    return {
        name: option
        for option in command.params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def commands(page: Path) -> Iterator[str]:
    """Yield the command lines of dinp, without the name."""
    for piece in code(page):
        if found := _DINP.search(piece):
            yield re.sub(r" (?:…|[|&>]).*", "", found[1])


@each_present_page
def test_command_lines(page: Path) -> None:
    """Each `dinp …` names a command and options that it has, and has no word too many."""
    for line in commands(page):
        name, command, words = command_of(shlex.split(line))
        known = options_of(command)
        asked = [word.partition("=")[0] for word in words if re.match(r"-\w|--\w", word)]
        assert set(asked) <= known.keys() | {"--help"}, f"{name} {' '.join(words)}"
        if words and not {"--help", "--version"} & set(words):
            context = click.Context(command, resilient_parsing=True)
            left = command.make_parser(context).parse_args(list(words))[1]
            assert [] == left, f"{name} {' '.join(words)}"


def leaves(command: click.Command, name: str = "dinp") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, by its name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        assert found is not None
        yield from leaves(found, f"{name} {inner}")


COMMANDS: Final = dict(leaves(main))


def test_cli_has_every_command() -> None:
    """docs/cli.md has a heading, and a row of its first table, for each command."""
    page = DOCS / "cli.md"
    headings = re.findall(r"^## (dinp .*)$", read(page), re.MULTILINE)
    assert sorted(COMMANDS) == sorted(headings)
    listed = [cells[0] for cells in rows(page) if cells[0].startswith("[`dinp ")]
    assert sorted(COMMANDS) == sorted(spans(cell)[0] for cell in listed)


@pytest.mark.parametrize("name", COMMANDS)
def test_cli_has_every_option(name: str) -> None:
    """The table of a command has its options, each with its default."""
    known = options_of(COMMANDS[name])
    seen: list[str] = []
    for cells in rows(DOCS / "cli.md", name):
        if not (names := spans(cells[0])):
            continue
        option = known[names[0]]
        assert {*option.opts, *option.secondary_opts} == set(names)
        assert _default(option) == cells[1].strip("`")
        seen += names
    assert sorted(known) == sorted(seen)


def _default(option: click.Option) -> str:
    """As the table writes it."""
    if option.required:
        return "required"
    if option.secondary_opts:
        return (option.opts if option.default else option.secondary_opts)[0]
    if option.is_flag or not isinstance(option.default, str | int | float):
        return ""
    return str(option.default)


def test_environment_twins() -> None:
    """`--secure-port` of `dinp serve` is DINP_SERVE_SECURE_PORT, as docs/cli.md says."""
    twins = re.findall(r"`(--[\w-]+)` of `dinp (\w+)` is `(\w+)`", read(DOCS / "cli.md"))
    assert len(twins) == 1
    for option, name, variable in twins:
        assert option in options_of(COMMANDS[f"dinp {name}"])
        assert variable == f"DINP_{name}_{option[2:].replace('-', '_')}".upper()


# ---- YAML ----------------------------------------------------------------------------------


@each_page
def test_yaml(page: Path) -> None:
    """Each block parses; if it is no fragment, it is a config file or objects that dinp takes."""
    for block in blocks(page):
        kind, _, mark = block.info.partition(" ")
        if kind != "yaml":
            continue
        documents = [document for document in yaml.safe_load_all(block.text) if document]
        assert documents, block.text
        if mark:
            assert mark == "fragment"
        elif documents[0].keys() <= set(config.Config.__struct_encode_fields__):
            config.parse(block.text.encode())
        else:
            for document in documents:
                assert {"apiVersion", "kind"} <= document.keys(), "a fragment? Say `yaml fragment`"
                _inject(document)


def _inject(document: Mapping[str, Any]) -> None:
    """Have the webhook's own code decide on each Pod, in a namespace that migrates."""
    rule = rules.for_namespace("ci", {"dinp.io/migrate": "sidecar"})
    assert rule is not None
    templates = [
        template
        for found in pod_templates.objects(document)
        for template in pod_templates.templates(found)
    ]
    assert templates or not _has_pod(document), "no Pod, or one without containers"
    for template in templates:
        pod = pod_templates.pod_of(template, "ci")
        result = admission.inject(pod, rule, config.Config())
        assert result.outcome != "denied", result.finding.text
        assert result.finding.reason is not Reason.INVALID_POD, result.finding.text


def _has_pod(document: Mapping[str, Any]) -> bool:
    return document["kind"] == "Pod" or "template" in (document.get("spec") or {})


def test_before_and_after() -> None:
    """The lines that README adds and takes away are those of the real server's answer."""
    (text,) = (block.text for block in blocks(ROOT / "README.md") if block.info == "diff")
    lines = text.splitlines()
    before, after = (
        yaml.safe_load("\n".join(line[1:] for line in lines if line[0] in f" {sign}"))
        for sign in "-+"
    )
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "build"}, **before}
    rule = rules.for_namespace("ci", {"dinp.io/migrate": "sidecar"})
    assert rule is not None
    result = admission.inject(pod, rule, config.Config())
    assert result.outcome == "mutated"
    assert _lacking(after["spec"], cast("dict[str, Any]", result.pod)["spec"], "$") == []
    assert "hostPath" not in str(result.pod)
    assert len(lines) <= 20


def _lacking(shown: Any, real: Any, path: str) -> list[str]:
    """Where `real` has not what is shown; it may have more."""
    if isinstance(shown, dict):
        if not isinstance(real, dict):
            return [path]
        at = ((key, real.get(key)) for key in shown)
        return [lack for key, there in at for lack in _lacking(shown[key], there, f"{path}.{key}")]
    if isinstance(shown, list):
        items = enumerate(shown)
        return [
            f"{path}[{at}]"
            for at, item in items
            if all(_lacking(item, there, path) for there in real or ())
        ]
    return [] if shown == real else [path]


# ---- tables of the code --------------------------------------------------------------------


def test_annotations() -> None:
    """docs/annotations.md has the rows of the one table in the code, and says for whom each is."""
    shown = {
        spans(cells[0])[0]: cells[3]
        for cells in rows(DOCS / "annotations.md")
        if len(cells) == 4 and spans(cells[0]) and spans(cells[0])[0].startswith("dinp.io/")
    }
    expected = {row.name: "sidecar" if row.sidecar_only else "every mode" for row in TABLE.values()}
    assert expected == shown


def test_flags_of_dockerd() -> None:
    """docs/annotations.md has the flags that dinp.io/dockerd-args takes."""
    (text,) = re.findall(r"as `--flag=value`:(.*?)\. ", read(DOCS / "annotations.md"), re.DOTALL)
    assert set(ALLOWED_FLAGS) == set(spans(text))


SECTIONS: Final = {
    "sidecar": config.Sidecar(),
    "daemonset": config.Daemonset(),
    "service": config.Service(),
}


def keys_of(struct: Any) -> dict[str, tuple[Any, Any]]:
    """The type and the default of each key, as the file spells it."""
    return {
        field.encode_name: (field.type, getattr(struct, field.name))
        for field in msgspec.structs.fields(struct)
    }


def test_config_keys() -> None:
    """docs/config.md has a row for each key, with its default."""
    expected = {
        f"{section}.{key}": value
        for section, struct in SECTIONS.items()
        for key, value in keys_of(struct).items()
    }
    whole = keys_of(config.Config())
    expected |= {key: value for key, value in whole.items() if key not in SECTIONS}
    seen = []
    for cells in rows(DOCS / "config.md"):
        if len(cells) != 3 or not (names := spans(cells[0])):
            continue
        kind, default = expected[names[0]]
        assert default == msgspec.convert(yaml.safe_load(spans(cells[1])[0]), kind), names[0]
        seen += names
    assert sorted(expected) == sorted(seen)


def test_config_parts() -> None:
    """docs/config.md has the keys of what stands in its lists, with their defaults."""
    expected = {
        field.encode_name: _default_of(field)
        for struct in (
            *(config.AddressPool, selectors.PodSelector, selectors.LabelSelectorRequirement),
            *(config.FromSecret, config.SecretKeySelector, config.Namespaces),
        )
        for field in msgspec.structs.fields(struct)
        if field.encode_name != "key"  # of two of them, required in both
    }
    shown = {
        spans(cells[1])[0]: cells[2]
        for cells in rows(DOCS / "config.md", "What values look like")
        if spans(cells[1])
    }
    assert shown.pop("key") == "required"
    assert expected.keys() == shown.keys()
    for name, cell in shown.items():
        wanted = expected[name]
        assert wanted == (cell if cell == "required" else yaml.safe_load(spans(cell)[0])), name


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    if field.required:
        return "required"
    made = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return list(made) if isinstance(made, tuple) else made


def test_config_file() -> None:
    """The config file of docs/config.md has every key, and is the same as none."""
    found = [block.text for block in blocks(DOCS / "config.md") if block.info == "yaml"]
    whole = found[0]
    assert config.Config() == config.parse(whole.encode())
    document = yaml.safe_load(whole)
    assert keys_of(config.Config()).keys() == document.keys()
    for section, struct in SECTIONS.items():
        assert keys_of(struct).keys() == document[section].keys()


def test_built_in_rows() -> None:
    """docs/config.md lists them all: people switch them off by name."""
    shown = [(spans(cells[0])[0], cells[1]) for cells in rows(DOCS / "config.md", "Built-in rows")]
    tables = (*controllers.CONTROLLERS, *watchers.WATCHERS)
    expected = [(row.name, row.because) for row in tables]
    assert expected == [one for one in shown if one[0] not in {"neverInject", "nodeWatchers"}]


def test_reasons() -> None:
    """docs/reasons.md is what `make reasons` writes, and has every reason once."""
    text = read(reasons.PAGE)
    assert reasons.page(reasons.advice()) == text, "run make reasons"
    assert sorted(reason.value for reason in Reason) == sorted(
        re.findall("^### (.*)$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_cause_and_a_cure(reason: Reason) -> None:
    """One or two short sentences each."""
    for text in reasons.advice()[reason]:
        assert len(re.findall(r"\.(?= |$)", text)) in {1, 2}, text
        assert text.endswith(".")
        assert len(text) <= 220


def test_metrics() -> None:
    """docs/operations.md has the metrics that are served, with their labels."""
    metrics = (Metrics()._registry, certs_metrics.Metrics()._registry)
    expected: dict[str, set[str]] = {}
    for registry in metrics:
        for collector in set(registry._collector_to_names):
            labels = set(getattr(collector, "_labelnames", ()))
            for family in collector.describe() if hasattr(collector, "describe") else ():
                suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
                expected[family.name + suffix] = labels | (
                    {"version"} if suffix == "_info" else set()
                )
    shown = {
        spans(cells[0])[0]: set(spans(cells[1]))
        for cells in rows(DOCS / "operations.md", "Metrics")
        if cells[0].startswith("`dinp_")
    }
    assert {name: of for name, of in expected.items() if name.startswith("dinp_")} == shown


def test_alerts() -> None:
    """docs/operations.md has the alerts of component `monitoring`."""
    rules_file = ROOT / "manifests" / "components" / "monitoring" / "rules.yaml"
    document = yaml.safe_load(rules_file.read_text(encoding="utf-8"))
    alerts = [rule["alert"] for group in document["spec"]["groups"] for rule in group["rules"]]
    shown = [spans(cells[0]) for cells in rows(DOCS / "operations.md", "Alerts")]
    assert sorted(alerts) == sorted(words[0] for words in shown if words)


@pytest.mark.parametrize(
    ("folder", "heading"), [("base", "The webhook"), ("shared", "Shared daemons")]
)
def test_what_is_installed(folder: str, heading: str) -> None:
    """docs/install.md has every object of manifests/base and of manifests/shared, in its namespace."""
    installed = sorted(_installed(ROOT / "manifests" / folder))
    policies = [name for kind, _, name in installed if kind == "ValidatingAdmissionPolicy"]
    bound = [name for kind, _, name in installed if kind == "ValidatingAdmissionPolicyBinding"]
    assert policies == bound
    shown = [
        (kind, "".join(spans(cells[1])), name)
        for cells in rows(DOCS / "install.md", heading)
        if len(cells) == 3 and spans(cells[0])
        for kind in cells[0].partition(" `")[0].split(", ")
        for name in spans(cells[0])
    ]
    bindings = [("ValidatingAdmissionPolicyBinding", "", name) for name in policies]
    assert installed == sorted(shown + bindings)


def _installed(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield kind, namespace and name of each object of a kustomization."""
    kustomization = yaml.safe_load(read(folder / "kustomization.yaml"))
    for generated in kustomization.get("configMapGenerator", ()):
        yield "ConfigMap", generated["namespace"], generated["name"]
    for resource in kustomization["resources"]:
        if (folder / resource).is_dir():
            yield from _installed(folder / resource)
            continue
        for document in yaml.safe_load_all(read(folder / resource)):
            metadata = document["metadata"]
            yield document["kind"], metadata.get("namespace", ""), metadata["name"]


# ---- shape ---------------------------------------------------------------------------------


def test_readme_is_short() -> None:
    """A reader sees the point of README, and its end: at most 170 lines."""
    assert len(read(ROOT / "README.md").splitlines()) <= 170


def test_cells_are_short() -> None:
    """A cell of tests/README.md has under 200 characters."""
    assert [] == [
        cell for row in rows(ROOT / "tests" / "README.md") for cell in row if len(cell) >= 200
    ]


def test_sections_of_the_design() -> None:
    """A section of docs/design.md that is referred to by its number is there."""
    numbers = set(re.findall(r"^## (\d)\. ", read(DOCS / "design.md"), re.MULTILINE))
    sources = [page for folder in ("tests", "tools") for page in (ROOT / folder).rglob("*.py")]
    named: set[str] = set()
    for page in (*sources, *PRESENT):
        text = read(page)
        named |= set(re.findall(r"design(?:\.md)?(?:'s)?,? section (\d)", text))
        if page.name == "README.md" and page.parent.name == "tests":
            named |= set(re.findall(r"\(sections? (\d)", text))
    assert len(named) > 4
    assert named <= numbers
