"""config_errors, config_rows and config_yaml: what is wrong, where, and what to do."""

from __future__ import annotations

import pytest

from webhook.asking import config as configs
from webhook.asking.config import Config, ConfigError


def _error(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configs.parse(text.encode())
    return str(caught.value)


@pytest.mark.parametrize(
    ("cure", "text"),
    [
        ("; expected DoesNotExist, Exists, In or NotIn", "operator: in"),
        ("; did you mean `matchLabels`?", "matchLabel: {}"),
        ("; put it in quotes", "matchLabels: {debug: 1}"),
        ("; put it in quotes", "matchLabels: {debug: true}"),
    ],
)
def test_errors_of_rows_have_a_cure(cure: str, text: str) -> None:
    """The valid values, the key that was meant, or quotes."""
    row = f"matchExpressions: [{{key: a, {text}}}]" if "operator" in text else text
    assert _error(f"neverInject: [{{{row}}}]").endswith(cure)


@pytest.mark.parametrize(
    ("cure", "text"),
    [
        ("; expected tcp, tls or unix", "transport: udp"),
        ("; expected client or an object", "requests: clients"),
        ("; expected HTTPS_PROXY, HTTP_PROXY or NO_PROXY", "proxy: {http_proxy: x}"),
        ("; did you mean `certificateAuthorities`?", "certificateAuthority: x"),
        ("; put it in quotes", "limits: {cpu: 2}"),
        ("unknown field `zzz` - at `$.namespaces[0].sidecar`", "zzz: 1"),
    ],
)
def test_errors_of_namespaces_have_a_cure(cure: str, text: str) -> None:
    """As those of the file's `sidecar`, which an entry has the keys of."""
    assert _error(f"namespaces: [{{match: [a], sidecar: {{{text}}}}}]").endswith(cure)


def test_a_key_of_the_file() -> None:
    """The file's own keys are no path's."""
    assert _error("nodeWatcher: []").endswith(
        "unknown field `nodeWatcher`; did you mean `nodeWatchers`?"
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sidecar", "sidecar: {cli: true}\nservice: {}\nsidecar: {rootless: true}"),
        ("cpu", "sidecar: {requests: {cpu: '1', cpu: '2'}}"),
    ],
)
def test_a_key_twice(key: str, text: str) -> None:
    """The first of two would be lost, and with it half of a file."""
    assert f"found key '{key}' twice" in _error(text)
    assert "line" in _error(text)


def test_merged_keys_may_be_there_twice() -> None:
    """`<<` is how YAML lays one mapping over another, in any order."""
    text = "sidecar: {requests: &a {cpu: '1', memory: 1Gi}, limits: {<<: *a, cpu: '2'}}"
    assert configs.parse(text.encode()).sidecar.limits == {"cpu": "2", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("'Team_A' matches no namespace", "namespaces: [{match: [ci, Team_A], sidecar: {}}]"),
        ("at `$.namespaces[0].match[1]`", "namespaces: [{match: [ci, team a], sidecar: {}}]"),
        (
            "'ci' never counts, as 'ci' of an entry before does - at `$.namespaces[1].match[0]`",
            "namespaces: [{match: [ci], sidecar: {}}, {match: [ci], sidecar: {}}]",
        ),
        (
            "'team-a-*' never counts, as 'team-*' of an entry before does",
            "namespaces: [{match: [team-*], sidecar: {}}, {match: [x, team-a-*], sidecar: {}}]",
        ),
    ],
)
def test_patterns_that_match_nothing(says: str, text: str) -> None:
    """Names of namespaces are DNS labels, and of two entries the first counts."""
    assert says in _error(text)


@pytest.mark.parametrize(
    ("first", "then"),
    [("team-a-*", "team-*"), ("a?", "a*"), ("[ab]", "b"), ("*b*", "[ab]"), ("a", "b")],
)
def test_patterns_that_leave_something(first: str, then: str) -> None:
    """An entry whose Pods the entries before do not all have is none to refuse."""
    text = (
        f"namespaces: [{{match: ['{first}'], sidecar: {{}}}}, {{match: ['{then}'], sidecar: {{}}}}]"
    )
    assert len(configs.parse(text.encode()).namespaces) == 2


@pytest.mark.parametrize("table", ["neverInject", "nodeWatchers"])
@pytest.mark.parametrize(
    ("says", "row"),
    [
        ("would be about all of them", "{name: mine}"),
        ("would be about all of them", "{because: it is ours, migrate: false}"),
        ("there is a row 'mine' before", "{name: mine, images: [a]}, {name: mine, images: [b]}"),
        ("begins with the registry 'ghcr.io'", "{images: [ghcr.io/team/app]}"),
        ("operator In needs values - at", "{matchExpressions: [{key: a, operator: In}]}"),
        (
            "operator Exists takes no values - at",
            "{matchExpressions: [{key: a, operator: Exists, values: [b]}]}",
        ),
    ],
)
def test_rows_that_do_nothing_or_too_much(table: str, says: str, row: str) -> None:
    """A row that replaces a built-in one with nothing would hold for every Pod."""
    error = _error(f"{table}: [{row}]")
    assert says in error
    assert f"`$.{table}[" in error


def test_a_bare_row_is_about_every_pod() -> None:
    """As an empty label selector is, and as config files of an older dinp may have it."""
    assert configs.parse(b"neverInject: [{matchLabels: {}}]").never_inject


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("'memroy' is none of Kubernetes' resources", "requests: {memroy: 1Gi}"),
        ("at `$.sidecar.registryMirrors[1]`", "registryMirrors: ['https://a', mirror.example.com]"),
        ("at `$.sidecar.insecureRegistries[0]`", "insecureRegistries: ['http://a']"),
        ("'' matches no image", "allowedImages: ['']"),
        ("'Docker:*-dind' matches no image", "allowedImages: ['Docker:*-dind']"),
        ("at `$.sidecar.unprivilegedRuntimeClasses[0]`", "unprivilegedRuntimeClasses: ['']"),
    ],
)
def test_values_that_no_pod_could_have(says: str, text: str) -> None:
    """What an annotation may not say, the file may not either: every Pod would fail by it."""
    assert says in _error(f"sidecar: {{{text}}}")


def test_values_that_pods_may_have() -> None:
    """Resources of devices, patterns with ports, classes of characters and parts of digests."""
    text = """
    requests: {example.com/gpu: '1', hugepages-2Mi: 4Mi}
    allowedImages: ["*/docker:*-dind", "r:5*/a[a-z]*", "*.example.com/*", "docker@sha256:8f*"]
    """
    assert configs.parse(f"sidecar:{text}".encode()) != Config()
