"""The one table of dinp.io/* annotations, and what a Pod's annotations and the config file ask.

A parser turns the text into the value of a field of Settings, or into the Finding that
denies the Pod. A new annotation is a new row.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
import shlex
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, get_args

import msgspec

from webhook import names
from webhook.asking import config_values, rules, storage
from webhook.asking.config import Config, Transport, forbids_mount
from webhook.asking.config_values import RESOURCES
from webhook.asking.rules import Mode
from webhook.asking.settings import DaemonConfig, Settings, Share, over_defaults
from webhook.pods import bounds, image, quantity
from webhook.pods import pod as pods
from webhook.pods.pod import Pod
from webhook.reasons import Finding, Reason

# Flags of dockerd that a Pod's author may set: none opens a port, weakens the Pod's
# isolation from other Pods, or names a file of the daemon's.
ALLOWED_FLAGS: Final = (
    *("mtu", "bip", "default-address-pool", "dns", "dns-search", "dns-opt", "storage-driver"),
    *("label", "log-driver", "log-opt", "default-ulimit", "default-shm-size", "feature"),
    *("ipv6", "fixed-cidr-v6", "ip6tables", "host-gateway-ip", "max-concurrent-*"),
)


Parser = Callable[[str, str, Config], object]  # key, value, config -> value or Finding


class Annotation(msgspec.Struct, frozen=True):
    """One row: `field` of Settings it fills; None: read elsewhere. `longest` in characters."""

    name: str
    parse: Parser | None = None
    field: str | None = None
    sidecar_only: bool = True
    longest: int = bounds.ANNOTATION


def read_settings(pod: Pod, mode: Mode, config: Config) -> Settings | Finding:
    """What the Pod asks for, or the Finding that denies it."""
    asked: dict[str, object] = {}
    for name, value in pods.annotations_of(pod).items():
        row = TABLE.get(name)
        if row is None:
            continue
        if row.sidecar_only and mode.is_shared:
            return Reason.SIDECAR_ONLY.say(key=name, mode=mode.value)
        if row.parse is not None and row.field is not None:
            parsed = row.parse(name, value, config)
            if isinstance(parsed, Finding):
                return parsed
            asked[row.field] = parsed
    wanted = asked.get("image")
    if isinstance(wanted, str):
        # By Docker's own names of its images; the other kind would not start.
        rootless = "rootless" in wanted
        if asked.setdefault("rootless", rootless) != rootless:
            kind = "one with rootless in its name" if asked["rootless"] else "one without rootless"
            return _bad("dinp.io/image", wanted, f"with dinp.io/rootless expected {kind}")
    return over_defaults(asked, mode, config)


def unknown_annotations(pod: Pod) -> Iterator[Finding]:
    """Warn of keys under dinp.io/ that have no effect: typos, and what is not where it counts."""
    unknown = (
        name
        for name in pods.annotations_of(pod)
        if name.startswith("dinp.io/") and name not in TABLE
    )
    for at, name in enumerate(islice(unknown, bounds.WARNINGS + 1)):
        # difflib takes 0.2 ms for each, and more for longer ones: for those that a person wrote.
        guessed = at < _GUESSED and len(name) <= bounds.NAME
        close = difflib.get_close_matches(name, TABLE, n=1) if guessed else []
        hint = f"; did you mean {close[0]}?" if close else ""
        if name in _OF_NAMESPACES:
            hint = "; it is a label of namespaces"
        yield Reason.UNKNOWN_ANNOTATION.say(what=f"annotation {name}", hint=hint)
    for name in pods.labels_of(pod):
        if name not in TABLE or name in {rules.INJECT, names.STATUS}:
            continue
        hint = "; set it as an annotation of the Pod"
        yield Reason.UNKNOWN_ANNOTATION.say(what=f"label {name}", hint=hint)


_GUESSED: Final = 20
_OF_NAMESPACES: Final = frozenset({rules.MIGRATE, rules.SHARED_DAEMON})


# ---- parsers -------------------------------------------------------------------------------


def _bad(key: str, value: str, expected: str) -> Finding:
    return Reason.BAD_VALUE.say(source="annotation", key=key, value=value, expected=expected)


def _one_of(*values: str) -> Parser:
    def parse(key: str, value: str, _config: Config) -> object:
        return value if value in values else _bad(key, value, f"expected {' or '.join(values)}")

    return parse


def _boolean(key: str, value: str, _config: Config) -> object:
    if value in {"true", "false"}:
        return value == "true"
    return _bad(key, value, "expected true or false")


def _items(value: str) -> tuple[str, ...]:
    return tuple(item for part in value.split(",") if (item := part.strip()))


def _list_of(valid: Callable[[str], bool], expected: str) -> Parser:
    def parse(key: str, value: str, _config: Config) -> object:
        items = _items(value)
        wrong = [item for item in items if not valid(item)]
        if not items or wrong:
            return _bad(key, wrong[0] if wrong else value, expected)
        return items

    return parse


def _image(key: str, value: str, config: Config) -> object:
    allowed = config.sidecar.allowed_images
    if image.parse(value) is None:
        return _bad(key, value, "expected an image, such as docker:29-dind")
    if image.allowed(value, allowed):
        return value
    return Reason.IMAGE_NOT_ALLOWED.say(value=value, allowed=", ".join(allowed) or "nothing")


def _resources(key: str, value: str, _config: Config) -> object:
    if value.strip() == "client":
        return "client"
    expected = f"expected a list such as cpu=2,memory=4Gi of {', '.join(RESOURCES)}, or client"
    found: dict[str, str] = {}
    for item in _items(value):
        resource, _, amount = item.partition("=")
        if resource not in RESOURCES or resource in found:
            return _bad(key, value, expected)
        try:
            if quantity.parse(amount) < 0:
                return _bad(key, value, f"{item} is negative")
        except quantity.TooLongError:
            return _long_quantity(key, amount)
        except ValueError as error:
            return _bad(key, value, str(error))
        found[resource] = amount
    return found or _bad(key, value, expected)


def _long_quantity(key: str, amount: str) -> Finding:
    length = f"a quantity of {len(amount):,} characters"
    return Reason.TOO_LONG.say(key=f"annotation {key}", length=length, bound=bounds.QUANTITY)


def _storage(key: str, value: str, _config: Config) -> object:
    try:
        return storage.parse(value)
    except quantity.TooLongError:
        return _long_quantity(key, value.rpartition(":")[2])
    except ValueError as error:
        return _bad(key, value, str(error))


def _share(key: str, value: str, config: Config) -> object:
    shares = []
    items = _items(value)
    if len(items) > bounds.SHARES:
        length = f"{len(items):,} paths"
        return Reason.TOO_LONG.say(key=f"annotation {key}", length=length, bound=bounds.SHARES)
    for item in items:
        path, _, option = item.partition(":")
        if not path.startswith("/") or option not in {"", "seed"} or pods.clean_path(path) != path:
            return _bad(key, item, "expected absolute, clean paths, each maybe with :seed")
        if len(path) > bounds.PATH:
            length = f"a path of {len(path):,} characters"
            return Reason.TOO_LONG.say(key=f"annotation {key}", length=length, bound=bounds.PATH)
        if names.is_system(path, rootless=True) or forbids_mount(
            config.sidecar.daemon_config_keys, path
        ):
            return _bad(key, item, "this path cannot be shared")
        shares.append(Share(path, seed=option == "seed"))
    if len({share.path for share in shares}) != len(shares) or not shares:
        return _bad(key, value, "expected absolute paths, each once")
    return tuple(shares)


def _daemon_config(key: str, value: str, config: Config) -> object:
    if config.sidecar.daemon_config_keys == ():
        return Reason.DAEMON_CONFIG_NOT_ALLOWED.say(value=value)
    if not storage.DNS_NAME.fullmatch(value):
        return _bad(key, value, "expected the name of a ConfigMap in the Pod's namespace")
    return DaemonConfig(value, optional=False)


def _dockerd_args(key: str, value: str, _config: Config) -> object:
    try:
        args = tuple(shlex.split(value))
    except ValueError as error:
        return _bad(key, value, str(error))
    if not args or not all(arg.startswith("--") for arg in args):
        return _bad(key, value, "expected flags, each as --flag=value")
    for arg in args:
        flag, has_value, _ = arg.partition("=")
        if not _ALLOWED_FLAG.fullmatch(flag):
            allowed = ", ".join(f"--{name}=…" for name in ALLOWED_FLAGS)
            return Reason.FLAG_NOT_ALLOWED.say(value=arg, allowed=allowed)
        if not has_value and flag not in _SWITCHES:
            # dockerd would take the next argument for its value, be it a flag of dinp's.
            return _bad(key, value, f"{flag} needs a value, as {flag}=value")
    return args


# dockerd's booleans: without a value they are true.
_SWITCHES: Final = frozenset({"--ipv6", "--ip6tables"})
_ALLOWED_FLAG = re.compile("|".join(fnmatch.translate(f"--{name}") for name in ALLOWED_FLAGS))


TABLE: Final = {
    row.name: row
    for row in (
        Annotation(rules.INJECT, sidecar_only=False, longest=bounds.NAME),
        Annotation(names.STATUS, sidecar_only=False),
        Annotation(
            "dinp.io/containers",
            _list_of(bool, "expected container names, separated by commas"),
            "containers",
            sidecar_only=False,
        ),
        Annotation(
            "dinp.io/transport", _one_of(*get_args(Transport)), "transport", longest=bounds.NAME
        ),
        Annotation("dinp.io/rootless", _boolean, "rootless", longest=bounds.NAME),
        Annotation("dinp.io/image", _image, "image", longest=bounds.IMAGE),
        Annotation("dinp.io/requests", _resources, "requests"),
        Annotation("dinp.io/limits", _resources, "limits"),
        Annotation("dinp.io/storage", _storage, "storage"),
        Annotation("dinp.io/cli", _boolean, "cli", longest=bounds.NAME),
        Annotation("dinp.io/share", _share, "share"),
        Annotation(
            "dinp.io/registry-mirrors",
            _list_of(config_values.is_mirror, config_values.MIRRORS),
            "registry_mirrors",
        ),
        Annotation(
            "dinp.io/insecure-registries",
            _list_of(config_values.is_registry, config_values.REGISTRIES),
            "insecure_registries",
        ),
        Annotation("dinp.io/daemon-config", _daemon_config, "daemon_config", longest=bounds.NAME),
        Annotation("dinp.io/dockerd-args", _dockerd_args, "dockerd_args"),
    )
}
