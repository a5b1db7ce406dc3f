"""config: the file, strict, and each error with its YAML path."""

from __future__ import annotations

import pytest

from webhook.asking import config as configs
from webhook.asking.config import AddressPool, Config, ConfigError


@pytest.mark.parametrize("text", [b"", b"{}", b"# nothing yet\n", b"null", b"---\n"])
def test_an_empty_file_is_the_defaults(text: bytes) -> None:
    """Without a word the file says what no file says."""
    assert Config() == configs.parse(text)


def test_keys_are_as_in_kubernetes() -> None:
    """camelCase keys fill the fields, the rest keeps its defaults."""
    text = b"""
    sidecar:
      image: registry.example.com/docker:29-dind
      defaultAddressPools: [{base: 10.9.0.0/16, size: 28}, {base: "fd00::/48", size: 64}]
      proxy: {HTTP_PROXY: "http://proxy:3128"}
      limits: {cpu: "2", memory: 4Gi}
    daemonset: {ipFamily: IPv6}
    neverInject:
    - matchExpressions: [{key: a, operator: NotIn, values: [b]}]
    clientTlsSecret: tls
    """
    config = configs.parse(text)
    assert config.sidecar.image == "registry.example.com/docker:29-dind"
    assert AddressPool("10.9.0.0/16", 28) == config.sidecar.default_address_pools[0]
    assert config.sidecar.proxy == {"HTTP_PROXY": "http://proxy:3128"}
    assert config.daemonset.ip_family == "IPv6"
    assert config.never_inject[0].match_expressions[0].values == ("b",)
    assert config.client_tls_secret == "tls"
    assert Config().sidecar.requests == config.sidecar.requests


@pytest.mark.parametrize(
    ("says", "text"),
    [
        ("unknown field `sidecars`", "sidecars: {}"),
        ("unknown field `storageSze` - at `$.sidecar`", "sidecar: {storageSze: 1Gi}"),
        ("unknown field `matchLabel` - at `$.neverInject[0]`", "neverInject: [{matchLabel: {}}]"),
        (
            "there is no built-in row 'traefic' to switch off",
            "nodeWatchers: [{images: [traefik]}, {name: traefic, enabled: false}]",
        ),
        ("at `$.neverInject[0].name`", "neverInject: [{enabled: false}]"),
        ("at `$.nodeWatchers[0].images[1]`", "nodeWatchers: [{images: [a/b*, 'traefik:3']}]"),
        ("'' is not the end of an image's path", "neverInject: [{images: ['']}]"),
        ("got `array`", "[]"),
        ("got `str`", "hello"),
        ("Expected `bool`, got `str` - at `$.daemonset.tls`", "daemonset: {tls: 'yes'}"),
        ("Expected `object`, got `null` - at `$.sidecar`", "sidecar:"),
        ("at `$.sidecar.transport`", "sidecar: {transport: udp}"),
        ("at `$.sidecar.socketGroup`", "sidecar: {socketGroup: -1}"),
        ("at `$.sidecar.socketGroup`", "sidecar: {socketGroup: '2375'}"),
        ("at `$.sidecar.startupSeconds`", "sidecar: {startupSeconds: 1}"),
        ("at `$.sidecar.image`", "sidecar: {image: ''}"),
        ("'Docker 29' is not an image", "sidecar: {image: Docker 29}"),
        ("at `$.sidecar.rootlessImage`", "sidecar: {rootlessImage: 'docker:'}"),
        ("in `$.sidecar.proxy`", "sidecar: {proxy: {http_proxy: x}}"),
        (
            "here {secretKeyRef: {name: …, key: …}} - at `$.sidecar.proxy['HTTPS_PROXY']`",
            "sidecar: {proxy: {HTTP_PROXY: 'http://p', HTTPS_PROXY: 'http://me:secret@p'}}",
        ),
        (
            "at `$.sidecar.proxy[...].secretKeyRef`",
            "sidecar: {proxy: {HTTP_PROXY: {secretKeyRef: {name: p}}}}",
        ),
        ("at `$.sidecar.daemonConfigKeys[1]`", "sidecar: {daemonConfigKeys: [bip, 'Log Level']}"),
        ("at `$.sidecar.daemonConfigKeys`", "sidecar: {daemonConfigKeys: bip}"),
        (
            "at `$.sidecar.defaultAddressPools[0].size`",
            "sidecar: {defaultAddressPools: [{size: 0}]}",
        ),
        (
            "at `$.neverInject[0].matchExpressions[0].operator`",
            "neverInject: [{matchExpressions: [{key: a, operator: in}]}]",
        ),
        (
            "'lots' is not a quantity such as 500m, 2 or 4Gi - at `$.sidecar.requests['cpu']`",
            "sidecar: {requests: {cpu: lots}}",
        ),
        ("at `$.sidecar.limits['memory']`", "sidecar: {limits: {memory: 4GB}}"),
        ("at `$.sidecar.limitRangeLimits['cpu']`", "sidecar: {limitRangeLimits: {cpu: ''}}"),
        ("at `$.sidecar.ephemeralStorageLimit`", "sidecar: {ephemeralStorageLimit: much}"),
        (
            "volume:<a volume of this Pod> - at `$.sidecar.storage`",
            "sidecar: {storage: nfs}",
        ),
        ("at `$.sidecar.bip`", "sidecar: {bip: 198.18.0.300/24}"),
        (
            "'198.18.0.1' has no prefix length, such as /24 - at `$.sidecar.bip`",
            "sidecar: {bip: 198.18.0.1}",
        ),
        (
            "at `$.sidecar.defaultAddressPools[1].base`",
            "sidecar: {defaultAddressPools: [{}, {base: net}]}",
        ),
        (
            "'run/dinp' is not a clean absolute path - at `$.daemonset.socketDirectory`",
            "daemonset: {socketDirectory: run/dinp}",
        ),
    ],
)
def test_errors_name_the_yaml_path(says: str, text: str) -> None:
    """Unknown keys, wrong types and wrong values say where they are."""
    with pytest.raises(ConfigError) as caught:
        configs.parse(text.encode())
    assert says in str(caught.value)
    assert "me:secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"a: [",
        b"a: b: c",
        b"\ttab: 1",
        b"a: \xff",
        b"\x00",
        b"a: 1\n---\nb: 2",
        b"? [a]\n: b",
        b"a: *unknown",
        b"a: !!python/object:os.system x",
        b"[" * 2_000,
        b"image: 2026-99-99",
        b"image: 0x_",
        b"image: !!bool x",
        b"image: !!timestamp x",
        b"image: !!int ''",
        b"image: !!float x",
    ],
    ids=lambda text: text[:16].decode("ascii", "replace"),
)
def test_what_is_no_yaml(text: bytes) -> None:
    """One line that says where, whatever PyYAML raises."""
    with pytest.raises(ConfigError) as caught:
        configs.parse(text)
    assert str(caught.value).startswith("not valid YAML: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("$.sidecar.requests['cpu']", "sidecar: {requests: {cpu: '-1'}}"),
        ("$.sidecar.bip", "sidecar: {bip: 198.18.0.1/255.255.255.0}"),
        (
            "$.sidecar.defaultAddressPools[0].size",
            "sidecar: {defaultAddressPools: [{base: 10.0.0.0/24, size: 16}]}",
        ),
    ],
)
def test_what_dockerd_or_kubernetes_would_refuse(path: str, text: str) -> None:
    """Better no start of the webhook than Pods that are refused, or daemons that never start."""
    with pytest.raises(ConfigError) as caught:
        configs.parse(text.encode())
    assert path in str(caught.value)
