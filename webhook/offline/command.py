"""`dinp inject`: what the webhook would do, offline, to the Pods and Pod templates of files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import jsonpatch

from webhook import admission
from webhook.asking import config as configs
from webhook.asking import rules
from webhook.asking.config import Config, ConfigError
from webhook.asking.rules import Rule
from webhook.offline import files, folding, pod_templates
from webhook.offline.files import Manifest, Unreadable
from webhook.offline.pod_templates import KubernetesObject
from webhook.offline.report import Report, says_something, wrong_labels
from webhook.offline.yamledit.nodes import ManifestError
from webhook.pods import patch
from webhook.pods.patch import Operation


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options, by their names."""

    filename: tuple[str, ...]
    namespace_labels: Mapping[str, str]
    namespace: str
    output: str | None
    diff: bool
    whole: bool
    config: Config
    verbose: bool


def _parse_labels(_context: click.Context, _option: click.Parameter, text: str) -> dict[str, str]:
    labels = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, value = part.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{part!r} is not of the form label=value")
        labels[name] = value
    for problem in wrong_labels(labels):
        raise click.BadParameter(problem)
    return labels


def _read_config(_context: click.Context, _option: click.Parameter, path: str | None) -> Config:
    if path is None:
        return Config()
    try:
        return configs.parse(Path(path).read_bytes())
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from error
    except ConfigError as error:
        raise click.BadParameter(f"{path}: {error}") from error


@click.command
@click.option(
    "-f",
    "--filename",
    required=True,
    multiple=True,
    type=click.Path(),
    show_envvar=True,
    help="A file, a directory with all files below it, or - for standard input; repeatable.",
)
@click.option(
    "--namespace-labels",
    default="",
    callback=_parse_labels,
    metavar="LABEL=VALUE,...",
    show_envvar=True,
    help="Labels of all namespaces that have no Namespace object in the input.",
)
@click.option(
    "-n",
    "--namespace",
    default="default",
    show_default=True,
    show_envvar=True,
    help="Namespace of objects that name none.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json", "patch"]),
    show_envvar=True,
    help="Print the files with their changes (as without this option), the objects, or the patches.",
)
@click.option("--diff", is_flag=True, show_envvar=True, help="Print only the changes, as a diff.")
@click.option(
    "--whole",
    is_flag=True,
    show_envvar=True,
    help="With --diff: print the start script whole, too, so that `patch` can read the diff.",
)
@click.option(
    "--config",
    type=click.Path(),
    callback=_read_config,
    show_envvar=True,
    help="Config file of the webhook; without it the defaults are used.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    show_envvar=True,
    help="Also name the Pods that ask for nothing, and the objects that have no Pod.",
)
@click.pass_context
def inject(context: click.Context, /, **options: Any) -> None:
    """Print manifests as the webhook would change their Pods.

    Comments, order and quoting of all other parts stay as they are. Decisions and warnings go to
    standard error. The exit code is 1 if a Pod or a namespace's label was denied or a value lacks
    quotes, 2 if an option or the config file is wrong, and 3 if a file could not be read.
    """
    chosen = Options(**options)
    if chosen.diff and chosen.output is not None:
        raise click.UsageError("--diff prints a diff of the files; leave out --output")
    if chosen.whole and not chosen.diff:
        raise click.UsageError("--whole is for --diff")
    report = Report(chosen.verbose)
    manifests = _read(chosen.filename, report)
    labels = _namespace_labels(manifests, report)
    report.is_labelled = any(map(says_something, (chosen.namespace_labels, *labels.values())))
    for file in manifests:
        for found in _objects(file):
            namespace = found.namespace or chosen.namespace
            known = labels.get(namespace, chosen.namespace_labels)
            rule = rules.for_namespace(namespace, known)
            operations = list(_inject_object(found, namespace, rule, chosen.config, report))
            if operations:
                report.patches.append(_patch(found, namespace, file, operations))
                jsonpatch.apply_patch(found.value, operations, in_place=True)
    _write(_output(manifests, chosen, report))
    report.end()
    context.exit(report.exit_code)


def _read(names: Iterable[str], report: Report) -> list[Manifest]:
    manifests = []
    for file in files.read(names):
        if isinstance(file, Manifest):
            manifests.append(file)
        else:
            report.unreadable(file)
    return manifests


def _objects(file: Manifest) -> Iterator[KubernetesObject]:
    for document in file.documents:
        yield from pod_templates.objects(document)


def _namespace_labels(manifests: Iterable[Manifest], report: Report) -> dict[str, dict[str, str]]:
    labels = {}
    for file in manifests:
        for found in _objects(file):
            if found.kind == "Namespace":
                report.namespace(found)
                labels[found.name] = found.labels
    return labels


def _inject_object(
    found: KubernetesObject, namespace: str, rule: Rule | None, config: Config, report: Report
) -> Iterator[Operation]:
    """Yield what changes the object's Pods, as the same rooms decide that the server calls."""
    templates = list(pod_templates.templates(found))
    of_namespace = configs.of_namespace(config, namespace)
    if not templates and found.kind != "Namespace":
        report.without_pod(f"{found.kind} {namespace}/{found.name}")
    for template in templates:
        who = f"{found.kind} {namespace}/{found.name}"
        if len(templates) > 1:
            who += f" ({template.path[1:].replace('/', '.')})"
        if rule is None:
            report.excluded(who, namespace)
            continue
        pod = pod_templates.pod_of(template, namespace)
        injection = admission.inject(pod, rule, of_namespace)
        report.injection(who, injection)
        report.misplaced(who, pod_templates.misplaced(found, template), template.path)
        if injection.operations:
            new = pod_templates.template_of(injection.pod, template)
            yield from patch.diff(template.value, new, template.path)


def _patch(
    found: KubernetesObject, namespace: str, file: Manifest, operations: list[Operation]
) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "namespace": namespace,
        "name": found.name,
        "file": file.name,
        "patch": operations,
    }


def _output(manifests: list[Manifest], options: Options, report: Report) -> str:
    if options.output == "patch":
        return _json(report.patches)
    if options.output == "json":
        return _json(_list(manifests))
    texts = {id(file): _written(file, report) for file in manifests}
    if options.diff:
        diffs = (files.diff(file, texts[id(file)]) for file in manifests)
        return "".join(diffs if options.whole else map(folding.folded_text, diffs))
    return files.joined(texts.values())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _list(manifests: Iterable[Manifest]) -> dict[str, Any]:
    """The only object, or a List of all of them."""
    items = [found.value for file in manifests for found in _objects(file)]
    if len(items) == 1:
        return items[0]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _written(file: Manifest, report: Report) -> str:
    """The new text of a file; empty where none can be made."""
    try:
        new = files.written(file)
    except ManifestError as error:
        report.unreadable(Unreadable(file.name, error.line, str(error)))
        return ""
    for line in new.afresh:
        report.say(f"{file.name}:{line}: warning: written afresh, without its comments")
    return new.text


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.encode())  # bytes: Windows would turn newlines into CRLF
    sys.stdout.buffer.flush()
