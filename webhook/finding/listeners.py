"""Who holds a port of the Pod: a container that declares it, or whose command says that it listens there.

| of a command | listens |
|---|---|
| `--port=2375`, `--listen :2375`, `--bind-address=0.0.0.0:2375`, `--addr=:2375` | yes |
| `--port=2375` beside `--host=` of another machine, `--addr=docker:2375` | no: that is where it connects to |
| `-H tcp://0.0.0.0:2375`; `-H tcp://127.0.0.1:2375` if flags are all there is | yes: dockerd, and what takes its flags |
| `TCP-LISTEN:2375,fork` (socat), `nc -l -p 2375`, `ssh -L 2375:…`, `kubectl port-forward … 2375:…` | yes |
| `nc -z localhost 2375`, `curl …:2375`, `docker -H tcp://localhost:2375 ps`, `wait-for-it.sh` | no |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from webhook import names
from webhook.finding.starts import images, shell_lines, tables
from webhook.finding.starts.shell_lines import UnreadableError
from webhook.pods import bounds
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod


class Listener(NamedTuple):
    """A container that holds the port, and a phrase that says how that shows."""

    container: str
    how: str


# Options of servers, without their dashes: the first say a port or an address of their own, the
# second an address that may as well be that of somebody else.
_OWN: Final = tables.words(
    "port listen bind listen-address listen-addr listen-port bind-address bind-addr bind-port lport "
    "http-port https-port http-address host-port tcp-port server.port api-port local-port proxy-port "
    "web.listen-address l L"
)
_ANY: Final = tables.words("addr address endpoint url")
_DOCKERS: Final = frozenset({"H", "host"})
# Programs with such options, or the port as a word, that connect.
_CLIENTS: Final = tables.words(
    "docker docker-compose buildctl buildx curl wget telnet nmap dockerize wait-for wait-for-it "
    "wait-for-it.sh wait-for.sh wait-port psql mysql redis-cli echo grep"
)
_WILDCARDS: Final = frozenset({"", "0.0.0.0", "[::]", "::", "*"})  # noqa: S104  # nobody binds here
_LOCAL: Final = _WILDCARDS | {"localhost", "127.0.0.1", "[::1]"}
_ADDRESS: Final = re.compile(r"(?:\w{1,9}://)?(?:(\[[^\]]*\]|[^:/\s]*):)?\d{1,5}/?")
_SOCAT: Final = re.compile(
    r"(?:tcp[46]?|openssl|ssl)-l(?:isten)?:(?:[^,:]*:)?(\d{1,5})(?:,.*)?", re.IGNORECASE | re.DOTALL
)
_FORWARDED: Final = re.compile(r"(?:[^:]*:)?(\d{1,5}):(?:[^:]+:\d+|/.*)")
_PORT: Final = re.compile(r"(?:\w{1,9}://)?(?:(?:\[[^\]]*\]|[^:/\s]*):)?(\d{1,5})/?")
_NETCATS: Final = frozenset({"nc", "ncat", "netcat", "nc.openbsd", "nc.traditional"})
_LISTENING: Final = re.compile(r"-[a-zA-Z]{0,8}l[a-zA-Z]{0,8}|--listen")
# Proxies of a Docker socket, which nobody tells their port: tecnativa's, linuxserver's, wollomatic's.
_BY_IMAGE: Final = {"docker-socket-proxy": 2375, "socket-proxy": 2375}
_FORWARDERS: Final = frozenset({"ssh", "autossh", "kubectl", "oc"})


def listener(pod: Pod, port: int) -> Listener | None:
    """The first container, other than dinp's, that holds `port`, or None."""
    left, number = bounds.SCRIPTS, str(port)
    for container in pods.containers(pod):
        if names.is_dinps_container(container["name"]):
            continue
        if any(_declares(one, port) for one in container.get("ports") or ()):
            return Listener(container["name"], f"declares containerPort {port}")
        if _by_image(container) == port:
            return Listener(container["name"], f"has an image that listens on port {port}")
        words = pods.command_line(container)
        named = [word for word in words if number in word]
        left -= sum(map(len, named)) + len(words) * bool(named)
        if not named or left < 0:
            continue
        if any(_listens(command, port) for command in _commands(words, port)):
            return Listener(container["name"], f"listens on port {port}")
    return None


def _by_image(container: Container) -> int | None:
    name = images.name_and_tag(container)[0] if "proxy" in (container.get("image") or "") else ""
    return _BY_IMAGE.get(name.rpartition("/")[2])


def _declares(one: dict[str, object], port: int) -> bool:
    return one.get("containerPort") == port and one.get("protocol") in (None, "TCP")


def _commands(words: Sequence[str], port: int) -> Iterator[Sequence[str]]:
    """The command line itself, and the commands of its texts for a shell that name the port."""
    yield words
    for text in words:
        if str(port) in text and any(space in text for space in " \n"):
            with suppress(UnreadableError):
                yield from shell_lines.commands(text)


def _listens(words: Sequence[str], port: int) -> bool:
    programs = {word.rpartition("/")[2] for word in words[:3]}
    number = str(port)
    if not programs.isdisjoint(_NETCATS):
        return number in words and any(map(_LISTENING.fullmatch, words))
    if not programs.isdisjoint(_FORWARDERS) and number in _forwarded(words):
        return True
    if any(_first(_SOCAT, word) == number for word in words):
        return True
    return programs.isdisjoint(_CLIENTS) and _by_options(words, number)


def _forwarded(words: Sequence[str]) -> Iterator[str]:
    """The ports of `ssh -L [address:]PORT:…` and of `kubectl port-forward … PORT[:…]`."""
    at_pods = "port-forward" in words
    for word, following in zip(words, (*words[1:], ""), strict=True):
        if at_pods:
            yield word.partition(":")[0]
        elif word.startswith("-") and "L" in word:
            given = word.partition("L")[2] or following
            yield _first(_FORWARDED, given)


def _by_options(words: Sequence[str], number: str) -> bool:
    options = [*_options(words)]
    hosts = {_host(value) for name, value, _ in options if name == "host"}
    is_server = hosts <= _LOCAL
    # What connects has a word of its own: what to do there.
    is_daemon = len(words) == sum(1 if joined else 2 for *_, joined in options)
    for name, value, _ in options:
        if _first(_PORT, value) != number:
            continue
        host = _host(value)
        if name in _OWN:
            return is_server
        if name in _ANY or name in _DOCKERS:
            return host in _WILDCARDS or (name in _DOCKERS and is_daemon and host in _LOCAL)
    return False


def _options(words: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Name without dashes, value, and whether `=` joins them; a value of the next word is one without dash."""
    for at, word in enumerate(words):
        if not word.startswith("-"):
            continue
        name, joined, value = word.lstrip("-").partition("=")
        following = words[at + 1] if at + 1 < len(words) else "-"
        if joined or following.startswith("-"):
            yield name, value, True
        else:
            yield name, following, False


def _host(value: str) -> str:
    """Of an address with a port; a number alone is a port, and any other word a host."""
    found = _ADDRESS.fullmatch(value[: bounds.ADDRESS])
    return value[: bounds.ADDRESS] if found is None else found[1] or ""


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.fullmatch(text[: bounds.ADDRESS])
    return found[1] if found else ""
