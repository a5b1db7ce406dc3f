"""dind.sh with stub programs in PATH, under /bin/sh and BusyBox: no Docker, no root, no network.

It runs as a sidecar has it, with the blocks that its arguments need.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

import scripts
from webhook.planning import sidecar

DIND_SH = Path(scripts.__file__).with_name("dind.sh")
TEXT = scripts.read("dind.sh", "tls")

_JSON_TEXT = st.text('ab-"\\{}[]:, \n\tAé', max_size=5)


def _json_inside(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(_JSON_TEXT, inner, max_size=3)


SHELLS = [["/bin/sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]

# Paths of the container that the tests move below their own directory.
MOVED = (
    "/dinp",  # and /dinp-config
    "/home/rootless",
    "/var/lib/docker",
    "/var/lib/dinp",
    "/var/run",
    "/etc/docker",
    "/proc/net",
    "/proc/self/cgroup",
    "/proc/self/oom_score_adj",
    "/usr/local/sbin",
    "/usr/local/libexec",
    "/sys/",
    "/dev/termination-log",
)

ROUTE_HEADER = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
IPV4_ROUTES = (
    ROUTE_HEADER + "eth1 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
    "eth0 00000000 010200C0 0003 0 0 0 00000000 0 0 0\n"
)
ZERO = "0" * 32
IPV6_ROUTES = (
    f"fd{'0' * 30} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001 eth1\n"
    f"{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200 lo\n"
    f"{ZERO} 00 {ZERO} 00 fd{'0' * 29}1 00000400 00000001 00000000 00000003 eth0\n"
)

TLS_ARGS = (
    *("--host=tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert=/dinp/certs/ca.pem"),
    *("--tlscert=/dinp/server/cert.pem", "--tlskey=/dinp/server/key.pem"),
)

# The daemon: notes its arguments, then lives until TERM or until a file tells it to end.
ENTRYPOINT = """\
for arg; do echo "$arg"; done >"$T/args"
echo "${SSL_CERT_DIR-}" >"$T/ssl_cert_dir"
echo run >>"$T/runs"
if (: >&9) 2>/dev/null; then touch "$T/has_lock"; fi
if [ -e "$T/broken" ]; then exit 3; fi
trap 'echo TERM >>"$T/signals"; exit 0' TERM
touch "$T/up"
while ! [ -e "$T/crash" ]; do /bin/sleep 0.02; done
rm -f "$T/crash" "$T/up"
exit 137
"""
STUBS = {
    "dockerd-entrypoint.sh": ENTRYPOINT,
    "docker": 'echo "$*" >>"$T/docker"; [ -e "$T/up" ] && touch "$T/answered"',
    "dockerd": '[ "$1" != --version ] || cat "$T/version"\nif [ -e "$T/docker24" ]; then echo "      --default-network-opt mapmap"; fi',
    "id": 'cat "$T/uid"',
    "flock": '! [ -e "$T/locked" ]',
    "mount": 'echo "$*" >>"$T/mounts"',
    "sleep": "exec /bin/sleep 0.02",
}
APPLETS = ("flock", "id", "mount", "sleep")


@dataclass
class Container:
    """What the sidecar's container looks like to dind.sh."""

    root: Path
    shell: list[str]
    env: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def path(self, path: str, *below: str) -> Path:
        return self.root.joinpath(path.lstrip("/"), *below)

    def write(self, path: str, text: str) -> None:
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text, encoding="utf-8")

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Run dind.sh with these arguments of dockerd's."""
        return self._start(self._text(sidecar.script(args)), "dockerd", *args)

    def call(self, command: str, *, inside: str = "") -> tuple[int, str, str]:
        """Run a command with the functions of dind.sh instead of its `main`: code, stdout, stderr."""
        functions, main, _ = self._text(TEXT).rpartition('main "$@"\n')
        assert main
        process = self._start(f"{functions}{inside}\n{command}\n", "dockerd")
        out, said = process.communicate(timeout=20)
        return process.returncode, out, said

    def _text(self, text: str) -> str:
        for path in MOVED:
            text = re.sub(rf"(?<![\w.}}]){re.escape(path)}", f"{self.root}{path}", text)
        return text

    def _start(self, text: str, *args: str) -> subprocess.Popen[str]:
        # Debian's BusyBox prefers its own programs to those in PATH; that of the image does not.
        stubs = "".join(f'{name}() {{ "$T/bin/{name}" "$@"; }}\n' for name in APPLETS)
        process = subprocess.Popen(  # noqa: S603  # the script under test
            [*self.shell, "-c", stubs * ("busybox" in self.shell) + text, "dind.sh", *args],
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "T": str(self.root)}
            | self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=0o022,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *args: str) -> list[str]:
        """Start, wait until the daemon is ready, end with TERM; dockerd's arguments."""
        for name in ("docker", "up"):
            self.path(name).unlink(missing_ok=True)
        process = self.start(*args)
        self.wait_for("docker")
        self.wait_for("up")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, process.stderr and process.stderr.read()
        return self.args()

    def args(self) -> list[str]:
        return self.path("args").read_text(encoding="utf-8").splitlines()

    def runs(self) -> int:
        runs = self.path("runs")
        return runs.read_text(encoding="utf-8").count("run") if runs.exists() else 0

    def wait_for(self, name: str) -> None:
        until(lambda: self.path(name).exists())


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


@pytest.fixture(params=SHELLS, ids=" ".join)
def container(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Container]:
    container = Container(tmp_path, request.param)
    for name, text in STUBS.items():
        container.write(f"/bin/{name}", f"#!/bin/sh\n{text}\n")
        container.path(f"/bin/{name}").chmod(0o755)
    for volume in ("/dinp/certs", "/var/lib/docker", "/home/rootless/.local/share/docker"):
        container.path(volume).mkdir(parents=True)
    container.write("/uid", "0\n")
    container.write("/proc/net/route", ROUTE_HEADER)
    container.write("/proc/self/cgroup", "12:memory:/kubepods/a/b\n0::/kubepods/a/b\n")
    container.write("/proc/self/oom_score_adj", "988\n")
    container.write("/sys/class/net/eth0/mtu", "1380\n")
    container.write("/sys/class/net/eth1/mtu", "9000\n")
    yield container
    for process in container.processes:
        process.kill()
    container.write("crash", "")  # a daemon that a killed shell left behind holds its stderr open
    for process in container.processes:
        process.communicate()


# --- the text -----------------------------------------------------------------------------


def test_passes_shellcheck() -> None:
    """shellcheck finds nothing to say, at any severity."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, DIND_SH], capture_output=True, text=True, check=False)  # noqa: S603
    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_is_valid_syntax(shell: list[str]) -> None:
    """Every POSIX shell that is here can parse it."""
    found = subprocess.run([*shell, "-n", DIND_SH], capture_output=True, text=True, check=False)  # noqa: S603
    assert (found.returncode, found.stderr) == (0, "")


def kubelet_expands(text: str, environment: dict[str, str]) -> str:
    """k8s.io/kubernetes/third_party/forked/golang/expansion, as the kubelet applies it."""
    known = re.compile(r"\$(?:(\$)|\(([^)]*)\))")
    return known.sub(lambda found: "$" if found[1] else environment.get(found[2], found[0]), text)


def test_means_the_same_to_the_kubelet() -> None:
    """The kubelet expands `command`; whatever variables there are, the text stays."""
    names = set(re.findall(r"\w+", TEXT)) | {"HOME", "HOSTNAME", "PATH", "DOCKER_HOST"}
    assert kubelet_expands(TEXT, dict.fromkeys(names, "expanded")) == TEXT
    assert kubelet_expands("$$ $(pwd) $(id -u)", {"pwd": "x"}) == "$ x $(id -u)"


# Function by function. Most are seen from outside: by what dockerd gets, and by what is left.
TESTED = {
    "end": "test_term_before_there_is_a_daemon",
    "die": "test_an_error_is_one_line",
    "note": "test_an_error_is_noted",
    "find_directories": "test_directories",
    "lock_data_directory": "test_data_directory_in_use",
    "find_data_root": "test_data_that_outlive_the_pod",
    "find_daemon_json": "test_dockerd_gets_what_was_checked",
    "top_level_keys": "test_every_key_is_seen",
    "sets": "test_keys_of_flags",
    "check_keys": "test_keys_that_are_not_allowed",
    "trust_certificates": "test_certificates_of_the_config_map_join_the_system_s",
    "issue": "test_certificates",
    "make_certificates": "test_certificates",
    "default_interface": "test_mtu_is_that_of_the_default_interface",
    "has_ipv6_loopback": "test_listens_on_the_ipv6_loopback",
    "find_mtu": "test_mtu_is_that_of_the_default_interface",
    "dockerd_knows": "test_mtu_of_user_networks_where_dockerd_can",
    "link_socket": "test_links_lead_to_the_socket",
    "copy_for_clients": "test_docker_cli_is_left_for_the_clients",
    "copy_docker_command": "test_docker_cli_is_left_for_the_clients",
    "nest": "test_cgroup_v2_is_delegated",
    "write_runc": "test_containers_are_killed_no_later_than_the_daemon",
    "give_containers_our_oom_score": "test_runc_that_cannot_be_shadowed",
    "await_answer": "test_the_wait_for_an_answer_ends",
    "keep_running": "test_crashed_daemon_is_restarted_in_place",
    "main": "test_runs_the_entrypoint_with_the_arguments",
}


def test_each_function_is_tested() -> None:
    """A new function needs a row, and each row is a test of this file."""
    assert re.findall(r"^(\w+)\(\)", TEXT, re.MULTILINE) == list(TESTED)
    assert set(TESTED.values()) <= globals().keys()


def test_only_what_these_arguments_need() -> None:
    """No certificates without --tlsverify; what starts a daemon is there for all."""
    without, whole = sidecar.script(["dockerd"]), sidecar.script(["dockerd", *TLS_ARGS])
    assert whole == TEXT
    assert "openssl" in whole
    assert not re.findall(
        "openssl|certificates|tlsverify", without.replace("trust_certificates", "")
    )
    assert set(without.splitlines()) < set(whole.splitlines())


# --- what dockerd is started with -----------------------------------------------------------


def test_runs_the_entrypoint_with_the_arguments(container: Container) -> None:
    """Each argument arrives as it is, behind `dockerd`, by the image's own entrypoint."""
    assert container.run("--host=unix:///a b.sock", "--label=*") == [
        "dockerd",
        "--host=unix:///a b.sock",
        "--label=*",
    ]


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "args", "expected"),
    [
        (IPV4_ROUTES, IPV6_ROUTES, [], ["--mtu=1380"]),
        (IPV4_ROUTES, None, [], ["--mtu=1380"]),
        (ROUTE_HEADER, IPV6_ROUTES, [], ["--mtu=1380"]),
        (ROUTE_HEADER, None, [], []),
        (IPV4_ROUTES, None, ["--mtu=1200"], ["--mtu=1200"]),
    ],
)
def test_mtu_is_that_of_the_default_interface(
    container: Container, ipv4: str, ipv6: str | None, args: list[str], expected: list[str]
) -> None:
    """By the IPv4 default route, else by the IPv6 one; an explicit --mtu wins."""
    container.write("/proc/net/route", ipv4)
    if ipv6 is not None:
        container.write("/proc/net/ipv6_route", ipv6)
    assert container.run(*args) == ["dockerd", *expected]


@pytest.mark.parametrize("args", [[], ["--mtu=1380"]])
def test_mtu_of_user_networks_where_dockerd_can(container: Container, args: list[str]) -> None:
    """Docker 24 and later take --default-network-opt; older ones would not start with it."""
    container.write("/proc/net/route", IPV4_ROUTES)
    container.write("/docker24", "")
    option = "--default-network-opt=bridge=com.docker.network.driver.mtu=1380"
    assert container.run(*args) == ["dockerd", "--mtu=1380", option]


def test_mtu_of_daemon_json(container: Container) -> None:
    """It is not looked for, and said for no network: neither of docker0 nor of users."""
    container.write("/proc/net/route", IPV4_ROUTES)
    container.write("/docker24", "")
    container.write("/dinp-config/daemon.json", '{"mtu": 1300}')
    config_file = f"--config-file={container.path('/dinp-config/daemon.json')}"
    assert container.run() == ["dockerd", config_file]
    container.write("/dinp-config/daemon.json", '{"default-network-opts": {"bridge": {}}}')
    assert container.run() == ["dockerd", config_file, "--mtu=1380"]


LO_IPV6 = f"{'0' * 31}1 01 80 10 80       lo\n"
ETH_IPV6 = f"fe80{'0' * 27}1 02 40 20 80     eth0\n"


@pytest.mark.parametrize("port", ["2375", "2376"])
@pytest.mark.parametrize(("uid", "there"), [("0", True), ("0", False), ("1000", True)])
def test_listens_on_the_ipv6_loopback(
    container: Container, uid: str, there: bool, port: str
) -> None:
    """Where lo has it, beside 127.0.0.1: some clients take localhost for it. Not rootless."""
    container.write("/uid", f"{uid}\n")
    container.write("/proc/net/if_inet6", ETH_IPV6 + LO_IPV6 * there)
    args = container.run(f"--host=tcp://127.0.0.1:{port}", "--tls=false")
    there = there and uid == "0"
    assert there == (f"--host=tcp://[::1]:{port}" in args)
    assert f"--host=tcp://127.0.0.1:{port}" in args


def test_mtu_that_nobody_knows(container: Container) -> None:
    """An interface without one, such as of a runtime that hides it, is left to Docker."""
    container.write("/proc/net/route", IPV4_ROUTES)
    container.path("/sys/class/net/eth0/mtu").unlink()
    container.write("/docker24", "")
    assert container.run() == ["dockerd"]


@pytest.mark.parametrize(
    ("expected", "flag", "keys"),
    [
        (True, "mtu", "bip mtu"),
        (True, "label", "labels"),
        (True, "insecure-registry", "insecure-registries"),
        (True, "default-address-pool", "default-address-pools"),
        (True, "dns", "dns"),
        (False, "dns-opt", "dns"),
        (False, "mtu", "mtus-of-others x-mtu"),
        (False, "registry-mirror", "insecure-registries"),
        (False, "mtu", ""),
        (False, "dockerd", "bip"),
    ],
)
def test_keys_of_flags(container: Container, expected: bool, flag: str, keys: str) -> None:
    """A flag's key is its name, or that in the plural; never a part of another."""
    code, out, said = container.call(f"keys='{keys}'; sets {flag}")
    assert (0 if expected else 1, "", "") == (code, out, said)


@pytest.mark.parametrize(
    ("uid", "data", "own"),
    [
        ("0", "/var/lib/docker", "/var/lib/dinp"),
        ("1000", "/home/rootless/.local/share/docker", "/home/rootless/.dinp"),
    ],
)
def test_directories(container: Container, uid: str, data: str, own: str) -> None:
    """Root's and the rootless image's; where the ConfigMap is may be said."""
    container.write("/uid", uid)
    command = 'find_directories; printf "%s\\n" "$config" "$data" "$own"'
    where = [str(container.path(path)) for path in ("/dinp-config", data, own)]
    assert (0, where) == (container.call(command)[0], container.call(command)[1].split())
    container.env["DINP_DAEMON_CONFIG"] = "/elsewhere"
    assert ["/elsewhere", *where[1:]] == container.call(command)[1].split()


def test_an_error_is_one_line(container: Container) -> None:
    """On stderr, by whose it is; then nothing more happens."""
    assert (1, "", "dinp: a  b *\n") == container.call("die 'a  b' '*'; echo more")


def test_an_error_is_noted(container: Container) -> None:
    """For the container's status; where the kubelet has made no file for it, nothing is said of that."""
    container.write("/dev/termination-log", "")
    assert (1, "", "dinp: a  b\n") == container.call("die 'a  b'")
    assert container.path("/dev/termination-log").read_text() == "dinp: a  b\n"
    container.path("/dev/termination-log").unlink()
    container.path("/dev").rmdir()
    assert (1, "", "dinp: a  b\n") == container.call("die 'a  b'")


@pytest.mark.parametrize("mounted", [True, False], ids=["ConfigMap", "/etc/docker"])
def test_flags_that_daemon_json_sets_are_dropped(container: Container, mounted: bool) -> None:
    """Singular flag or plural key; a key of an object inside, or a value, is none."""
    directory = "/dinp-config" if mounted else "/etc/docker"
    container.write("/proc/net/route", IPV4_ROUTES)
    container.write(
        f"{directory}/daemon.json",
        """{
          "mtu" : 1300,\r
          "insecure-registries": ["r:5000"], "default-address-pools":
             [{"base": "10.0.0.0/8", "size": 24, "bip": {"group": 1}}],
          "log-opts": {"labels": "x"}, "storage-driver": "dns", "tlsverify" : true,
          "dns-opts": []
        }""",
    )
    dropped = ["--insecure-registry=a", "--insecure-registry=b", "--default-address-pool=base=1"]
    dropped += ["--mtu=1", "--log-opt=max-size=1m", "--storage-driver=vfs", "--dns-opt=x"]
    kept = ["--bip=198.18.0.1/24", "--group=2375", "--label=c=d", "--dns=1.1.1.1", "--tls=false"]
    assert container.run(*dropped, *kept) == [
        "dockerd",
        f"--config-file={container.path(directory)}/daemon.json",
        *kept,
    ]


def test_daemon_json_of_the_config_map_comes_first(container: Container) -> None:
    """The ConfigMap's daemon.json replaces a mirrored one, and DINP_DAEMON_CONFIG says where."""
    container.write("/etc/docker/daemon.json", '{"bip": "x"}')
    container.write("/elsewhere/daemon.json", "{}")
    container.env["DINP_DAEMON_CONFIG"] = str(container.path("/elsewhere"))
    config_file = f"--config-file={container.path('/elsewhere/daemon.json')}"
    assert container.run("--bip=y") == ["dockerd", config_file, "--bip=y"]


def test_no_flag_takes_the_config_file_for_its_value(container: Container) -> None:
    """It comes first: behind a flag without a value dockerd would read /etc/docker/daemon.json."""
    container.env["DINP_DAEMON_CONFIG_KEYS"] = ""
    copy = container.path("/var/lib/dinp/daemon.json")
    assert container.run("--label") == ["dockerd", f"--config-file={copy}", "--label"]


def test_hosts_in_daemon_json_are_an_error(container: Container) -> None:
    """Said clearly, before dockerd would say it in its own words."""
    container.write("/dinp-config/daemon.json", '{"debug": true, "hosts": ["tcp://0.0.0.0:2375"]}')
    process = container.start("--host=unix:///x")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert 'daemon.json sets "hosts"' in said
    assert container.runs() == 0


# --- which keys daemon.json may set ---------------------------------------------------------


@pytest.mark.parametrize("mounted", [True, False], ids=["ConfigMap", "/etc/docker"])
@pytest.mark.parametrize(
    ("key", "text", "allowed"),
    [
        ("insecure-registries", '{"bip": "x", "insecure-registries": []}', "bip mtu"),
        ("bip", '{"bip": "x"}', "mtu"),
        ("bip", '{"bip": "x"}', "bips xbip bip-"),
        ("bip", '{"bip" \n\t : "x"}', ""),
        ("mtu", '{"log-opts": {"bip": "}"}, "mtu": 1}', "bip log-opts"),
        ("mtu", '{"labels": ["\\"]}"], "mtu": 1}', "bip labels"),
        ("_0062ip", '{"\\u0062ip": "x"}', "bip"),
        ("_ip", '{"Bip": "x"}', "bip"),
        ("bip_mtu", '{"bip mtu": "x"}', "bip mtu"),
        ("_", '{"": "x"}', ""),
        ("_", '{"*": "x"}', "bip"),
    ],
)
def test_keys_that_are_not_allowed(
    container: Container, mounted: bool, key: str, text: str, allowed: str
) -> None:
    """The daemon does not start: one line names the file, the key and who forbids it."""
    directory = "/dinp-config" if mounted else "/etc/docker"
    container.write(f"{directory}/daemon.json", text)
    container.env["DINP_DAEMON_CONFIG_KEYS"] = allowed
    process = container.start()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert (
        f'{directory}/daemon.json sets "{key}", which sidecar.daemonConfigKeys of dinp\'s'
        f" config file does not allow ({allowed or 'no key'}): take it out\n"
    ) in said
    assert container.runs() == 0


@pytest.mark.parametrize(("uid", "own"), [("0", "/var/lib/dinp"), ("1000", "/home/rootless/.dinp")])
@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ('{"bip": "x", "log-opts": {"mtu": "bip"}}', "mtu bip log-opts"),
        ("{}", ""),
        (None, ""),
        (None, "bip"),
    ],
)
def test_dockerd_gets_what_was_checked(
    container: Container, uid: str, own: str, text: str | None, allowed: str
) -> None:
    """A copy, also where there is no file: later changes of a client's reach no daemon."""
    container.write("/uid", uid)
    container.env["DINP_DAEMON_CONFIG_KEYS"] = allowed
    if text is not None:
        container.write("/etc/docker/daemon.json", text)
    copy = container.path(own, "daemon.json")
    assert container.run() == ["dockerd", f"--config-file={copy}"]
    assert copy.read_text() == (text or "{}\n")
    container.write("/etc/docker/daemon.json", '{"debug": true}')
    assert copy.read_text() == (text or "{}\n")
    _, said = container.start().communicate(timeout=20)  # each start checks again
    assert '/etc/docker/daemon.json sets "debug"' in said


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(_JSON_TEXT, st.recursive(_JSON_TEXT, _json_inside, max_leaves=6), max_size=4),
    st.sampled_from((None, 2)),
    st.booleans(),
)
def test_every_key_is_seen(
    shell: list[str], content: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    """Whatever strings hold: each key at the top and no other; an odd one is no known key."""
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only)
    function = re.search(r"^top_level_keys\(\) \{.*?^\}$", TEXT, re.MULTILINE | re.DOTALL)
    assert function is not None
    # Its own sed and awk, which are the daemon's, too.
    own = 'sed() { busybox sed "$@"; }; awk() { busybox awk "$@"; }\n' if "busybox" in shell else ""
    done = subprocess.run(  # noqa: S603 - the script under test
        [*shell, "-c", f"{own}{function[0]}\ntop_level_keys"],
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    seen = done.stdout.decode().splitlines()
    known = [key for key in content if re.fullmatch(r"[a-z0-9-]+", key)]
    assert [key for key in seen if "_" not in key] == known
    assert len(seen) == len(content)


@pytest.mark.parametrize(
    ("before", "expected"), [(None, "/etc/ssl/certs:{}"), ("/ca:/cb", "/ca:/cb:{}")]
)
def test_certificates_of_the_config_map_join_the_system_s(
    container: Container, before: str | None, expected: str
) -> None:
    """SSL_CERT_DIR replaces Go's default, so that is named too."""
    container.write("/dinp-config/registry.crt", "PEM")
    if before is not None:
        container.env["SSL_CERT_DIR"] = before
    container.run()
    directory = container.path("/dinp-config")
    assert container.path("ssl_cert_dir").read_text() == expected.format(directory) + "\n"


def test_certificates_of_the_config_file(container: Container) -> None:
    """They join the system's and the ConfigMap's, byte by byte."""
    pem = "-----BEGIN CERTIFICATE-----\n$HOME `x` \\n\n-----END CERTIFICATE-----"
    container.env["DINP_CERTIFICATE_AUTHORITIES"] = pem
    container.write("/dinp-config/registry.crt", "PEM")
    container.run()
    trust, config = container.path("/var/lib/dinp/trust"), container.path("/dinp-config")
    expected = f"/etc/ssl/certs:{trust}:{config}\n"
    assert container.path("ssl_cert_dir").read_text() == expected
    assert (trust / "dinp.crt").read_text() == f"{pem}\n"


# --- what it prepares -----------------------------------------------------------------------


def test_links_lead_to_the_socket(container: Container) -> None:
    """Every line of DINP_SOCKET_LINKS; one that cannot be made does not stop the daemon."""
    good = [container.path("/srv/my sock/docker.sock"), container.path("/docker.sock")]
    container.write("/file", "")
    bad = container.path("/file/docker.sock")
    container.env["DINP_SOCKET_LINKS"] = "\n".join(str(path) for path in [good[0], bad, good[1]])
    container.run()
    for path in good:
        assert path.readlink() == container.path("/dinp/docker.sock")


def test_docker_cli_is_left_for_the_clients(container: Container) -> None:
    """As the image has it; one that is there, maybe running, stays."""
    container.run()
    copy = container.path("/dinp/bin/docker")
    assert copy.read_text() == container.path("/bin/docker").read_text()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o755
    copy.write_text("older")
    container.run()
    assert copy.read_text() == "older"
    assert [path.name for path in copy.parent.iterdir()] == ["docker"]


def test_plugins_for_the_clients(container: Container) -> None:
    """Those that are asked for, as the image has them; one that it has not is told, and no more."""
    plugins = "/usr/local/libexec/docker/cli-plugins"
    container.write(f"{plugins}/docker-buildx", "buildx")
    container.write(f"{plugins}/docker-scan", "scan")
    container.env["DINP_CLI_PLUGINS"] = "docker-buildx docker-compose"
    process = container.start()
    container.wait_for("up")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[1]
    assert "dinp: this image has no docker-compose for the clients" in said
    there = sorted(path.name for path in container.path("/dinp/bin").iterdir())
    assert ["docker", "docker-buildx"] == there
    assert container.path("/dinp/bin/docker-buildx").read_text() == "buildx"


OPENSSL_STUB = """\
echo "$*" >>"$T/openssl"
while [ $# -gt 0 ]; do
    case $1 in -keyout | -out) echo "$1" >"$2" ;; esac
    shift
done
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("real", [False, *([True] if shutil.which("openssl") else [])])
def test_certificates(container: Container, real: bool) -> None:
    """The client's are readable to everyone, the server's to root; no CA key is left."""
    if not real:
        container.write("/bin/openssl", f"#!/bin/sh\n{OPENSSL_STUB}")
        container.path("/bin/openssl").chmod(0o755)
    args = container.run(*TLS_ARGS)
    assert args == ["dockerd", *TLS_ARGS]
    client, server = container.path("/dinp/certs"), container.path("/dinp/server")
    assert {p.name: mode(p) for p in client.iterdir()} == dict.fromkeys(
        ("ca.pem", "cert.pem", "key.pem"), 0o444
    )
    assert {p.name: mode(p) for p in server.iterdir()} == {"cert.pem": 0o600, "key.pem": 0o600}
    assert mode(server) == 0o700
    if real:
        check_chain(client, server)
        before = (client / "ca.pem").read_bytes()
        container.run(*TLS_ARGS)
        assert (client / "ca.pem").read_bytes() != before
        check_chain(client, server)


def check_chain(client: Path, server: Path) -> None:
    ca = x509.load_pem_x509_certificate((client / "ca.pem").read_bytes())
    for directory, usage in ((server, "serverAuth"), (client, "clientAuth")):
        certificate = x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes())
        key = load_pem_private_key((directory / "key.pem").read_bytes(), None)
        certificate.verify_directly_issued_by(ca)
        assert key.public_key() == certificate.public_key()
        assert certificate.signature_algorithm_oid == x509.SignatureAlgorithmOID.ECDSA_WITH_SHA256
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [oid._name for oid in extended] == [usage]
    leaf = x509.load_pem_x509_certificate((server / "cert.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_failed_certificates_stop_it(container: Container) -> None:
    """Better no daemon than one that nobody can talk to."""
    container.write("/bin/openssl", "#!/bin/sh\nexit 1\n")
    container.path("/bin/openssl").chmod(0o755)
    assert container.start(*TLS_ARGS).wait(20) != 0
    assert container.runs() == 0


@pytest.mark.parametrize(
    ("uid", "data"), [("0", "/var/lib/docker"), ("1000", "/home/rootless/.local/share/docker")]
)
def test_data_directory_in_use(container: Container, uid: str, data: str) -> None:
    """Two daemons on one data directory corrupt it: the second does not start."""
    container.write("/uid", uid)
    container.write("/locked", "")
    process = container.start()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"another daemon uses {container.path(data)}" in said
    assert container.path(data, ".dinp.lock").exists()
    assert container.runs() == 0


def test_all_children_hold_the_lock(container: Container) -> None:
    """The kernel ends them a moment after the shell, and until then they may write."""
    container.run()
    assert container.path("/var/lib/docker/.dinp.lock").exists()
    assert container.path("has_lock").exists()


def test_a_child_that_outlives_the_shell_holds_the_lock(container: Container) -> None:
    """With a real flock: as long as the killed shell's dockerd is there, another one does not start."""
    container.write("/bin/flock", '#!/bin/sh\nexec /usr/bin/flock "$@"\n')
    killed = container.start()
    container.wait_for("up")
    killed.kill()
    killed.wait(10)
    second = container.start()
    assert second.wait(20) == 1
    assert container.runs() == 1
    container.write("crash", "")  # the dockerd that was left ends
    until(lambda: not container.path("crash").exists())
    assert container.run() == ["dockerd"]


def test_the_lock_is_waited_for(container: Container) -> None:
    """The last child of a container that has just ended may hold it for a moment."""
    waits = 'echo >>"$T/tries"; [ "$(wc -l <"$T/tries")" -gt 2 ]'
    container.write("/bin/flock", f"#!/bin/sh\n{waits}\n")
    assert container.run() == ["dockerd"]


VERSION = "Docker version 29.7.2, build 1234abc\n"


@pytest.mark.parametrize(
    ("key", "args", "daemon_json"),
    [
        ("29.7.2-default", [], None),
        ("29.7.2-default", ["--label=a"], '{"labels": []}'),
        ("29.7.2-default-vfs", ["--storage-driver=vfs"], None),
        ("29.7.2-default-false", ["--feature=containerd-snapshotter=false"], None),
        ("29.7.2-daemon.json", [], '{"features": {"containerd-snapshotter": false}}'),
        ("29.7.2-default-.._x", ["--storage-driver=../x"], None),
    ],
)
@pytest.mark.parametrize(
    ("uid", "data"),
    [("0", "/var/lib/docker"), ("1000", "/home/rootless/.local/share/docker/data")],
)
def test_data_that_outlive_the_pod(
    container: Container, uid: str, data: str, key: str, args: list[str], daemon_json: str | None
) -> None:
    """Each version and image store of Docker's has a directory of its own on the volume."""
    container.write("/uid", uid)
    container.write("/version", VERSION)
    container.env["DINP_DATA_OUTLIVES_POD"] = "true"
    if daemon_json is not None:
        container.write("/dinp-config/daemon.json", daemon_json)
    rootless = ["--data-root=/elsewhere/data"] if uid != "0" else []
    got = container.run(*rootless, *args)
    root = container.path(data, key)
    assert [f"--data-root={root}"] == [arg for arg in got if arg.startswith("--data-root")]
    assert root.is_dir()


def test_data_of_before_stay_in_use(container: Container) -> None:
    """What dockerd has made at the top of the volume is neither lost nor hidden; a line says so."""
    container.write("/version", VERSION)
    container.env["DINP_DATA_OUTLIVES_POD"] = "true"
    container.path("/var/lib/docker/containers").mkdir()
    process = container.start()
    container.wait_for("up")
    process.send_signal(signal.SIGTERM)
    assert "stay in use for any version of Docker" in process.communicate(timeout=20)[1]
    assert container.args() == ["dockerd"]


@pytest.mark.parametrize("set_by", ["emptyDir", "daemon.json"])
def test_no_directory_by_version(container: Container, set_by: str) -> None:
    """Not where the data go with the Pod, nor where daemon.json says the directory."""
    container.write("/version", VERSION)
    if set_by == "daemon.json":
        container.env["DINP_DATA_OUTLIVES_POD"] = "true"
        container.write("/dinp-config/daemon.json", '{"data-root": "/x"}')
    assert not [arg for arg in container.run() if arg.startswith("--data-root")]


@pytest.mark.parametrize("own", ["/kubepods/a/b", "/"], ids=["host's namespace", "private"])
def test_cgroup_v2_is_delegated(container: Container, own: str) -> None:
    """The own cgroup becomes the root that the entrypoint's nesting and the shim see."""
    tree = container.path("/sys/fs/cgroup")
    here = container.path(f"/sys/fs/cgroup{own}")
    container.write("/proc/self/cgroup", f"0::{own}\n")
    for name, text in {
        "cgroup.type": "domain\n",
        "cgroup.procs": "1\n7\n",
        "cgroup.controllers": "cpuset cpu io memory hugetlb\n",
        "memory.oom.group": "1\n",
    }.items():
        container.write(f"/sys/fs/cgroup{own}/{name}", text)
    container.run()
    assert (here / "memory.oom.group").read_text() == "0\n"
    assert (here / "init/cgroup.procs").read_text() == "7\n"  # a file keeps the last one
    assert (here / "cgroup.subtree_control").read_text() == "+cpuset +cpu +io +memory +hugetlb\n"
    mounts = container.path("mounts")
    assert (mounts.read_text().splitlines() if mounts.exists() else []) == (
        [] if own == "/" else [f"--bind . {tree}", f"--bind . {here}"]
    )


def test_cgroup_v1_is_left_alone(container: Container) -> None:
    """Nothing to delegate, and nothing to say about it."""
    container.path("/sys/fs/cgroup/memory").mkdir(parents=True)
    process = container.start()
    container.wait_for("up")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20)[1] == ""
    assert not container.path("mounts").exists()
    assert [path.name for path in container.path("/sys/fs/cgroup").iterdir()] == ["memory"]


def test_delegation_is_tried_again(container: Container) -> None:
    """EBUSY while a process is outside of init: those that came in between move, too."""
    container.write("/proc/self/cgroup", "0::/\n")
    tree = container.path("/sys/fs/cgroup")
    for name, text in {"type": "domain", "procs": "1", "controllers": "cpu memory"}.items():
        container.write(f"/sys/fs/cgroup/cgroup.{name}", f"{text}\n")
    busy = """
        tries=0
        sed() {
            [ "$1" != -n ] || { command sed "$@"; return; }
            tries=$((tries + 1))
            echo $((tries + 6)) >cgroup.procs
            [ "$tries" -gt 2 ] && command sed "$@"
        }"""
    container.call("nest || :", inside=busy)
    assert (tree / "cgroup.subtree_control").read_text() == "+cpu +memory\n"
    assert (tree / "init/cgroup.procs").read_text() == "8\n"


def test_runc_that_cannot_be_shadowed(container: Container) -> None:
    """Where nothing can be written, or somebody has: the daemon starts, and nothing is said."""
    container.write("/bin/runc", "#!/bin/sh\n")
    container.path("/bin/runc").chmod(0o755)
    container.write("/usr/local/sbin", "a file")
    assert (0, "", "") == container.call("give_containers_our_oom_score")
    assert container.run() == ["dockerd"]
    container.path("/usr/local/sbin").unlink()
    container.write("/usr/local/sbin/runc", "theirs")
    assert container.run() == ["dockerd"]
    assert container.path("/usr/local/sbin/runc").read_text() == "theirs"


@pytest.mark.parametrize("score", ["988", "0", "-997"])
def test_containers_are_killed_no_later_than_the_daemon(container: Container, score: str) -> None:
    """Docker gives them 0: where the kubelet gave the daemon more, they get as much as it has."""
    container.write("/proc/self/oom_score_adj", f"{score}\n")
    container.write("/bin/runc", '#!/bin/sh\necho "$*" >>"$T/runc"\n')
    container.path("/bin/runc").chmod(0o755)
    container.run()
    shadowing = container.path("/usr/local/sbin/runc")
    assert shadowing.exists() == (score == "988")
    if score != "988":
        return
    bundle = container.path("/bundle")
    bundle.mkdir()
    before = '{"env":["A=1"],"oomScoreAdj":%s,"x":{"oomScoreAdj2":0}}'
    for file, oom in {"config.json": "0", "exec-process": "0", "other": "500"}.items():
        (bundle / file).write_text(before % oom)
    subprocess.run(  # noqa: S603  # the script under test
        [shadowing, "--root", "..", "exec", "--process", "exec-process", "other", "an id"],
        cwd=bundle,
        env={"PATH": "/usr/bin:/bin", "T": str(container.root)},
        check=True,
    )
    assert (bundle / "config.json").read_text() == before % "988"
    assert (bundle / "exec-process").read_text() == before % "988"
    assert (bundle / "other").read_text() == before % "500"
    assert (
        container.path("runc").read_text() == "--root .. exec --process exec-process other an id\n"
    )


# --- how it lives ---------------------------------------------------------------------------


def test_asks_the_daemon_by_the_clients_socket(container: Container) -> None:
    """The socket file alone is no sign of readiness."""
    container.run()
    asked = container.path("docker").read_text().splitlines()
    assert set(asked) == {f"--host=unix://{container.path('/dinp/docker.sock')} version"}


def test_the_wait_for_an_answer_ends(container: Container) -> None:
    """Well with an answer, badly with the end of dockerd; neither says anything."""
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    assert (1, "", "") == container.call(f"daemon={gone.pid}; await_answer")
    container.write("up", "")
    assert (0, "", "") == container.call("await_answer")


def test_crashed_daemon_is_restarted_in_place(container: Container) -> None:
    """A container that ended non-zero fails ARC's Pods and Tekton's steps: so it does not end."""
    container.write("/dev/termination-log", "")
    process = container.start()
    container.wait_for("up")
    for runs in (2, 3):
        container.wait_for("answered")
        container.write("/var/run/docker.pid", "1")
        container.write("crash", "")
        until(lambda runs=runs: container.runs() == runs)  # type: ignore[misc]
        container.wait_for("up")
        assert not container.path("/var/run/docker.pid").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert container.path("/dev/termination-log").read_text() == ""


def test_daemon_that_never_was_ready_is_an_error(container: Container) -> None:
    """Such as one with a flag that it does not know: restarting it would hide that."""
    container.write("broken", "")
    process = container.start("--nonsense")
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.endswith("dinp: dockerd ended before it was ready\n")
    assert container.runs() == 1
    assert not container.path("/dev/termination-log").exists()  # so the status has dockerd's words


def test_a_daemon_that_never_answered_is_noted(container: Container) -> None:
    """Exit 0 for the controllers that fail a Pod for less, and the reason in the status all the same."""
    container.write("/dev/termination-log", "")
    container.write("/bin/docker", "#!/bin/sh\nexit 1\n")
    process = container.start()
    container.wait_for("up")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    noted = container.path("/dev/termination-log").read_text()
    assert noted == "dinp: dockerd had not answered when its container was told to end\n"


def test_term_is_forwarded_and_waited_for(container: Container) -> None:
    """Exit 0, after the daemon's end, also when the daemon had crashed before."""
    container.run()
    assert container.path("signals").read_text() == "TERM\n"


def test_term_before_there_is_a_daemon(container: Container) -> None:
    """A Pod that is deleted while it starts: exit 0, and no daemon."""
    waits = 'touch "$T/locks"; while ! [ -e "$T/go" ]; do /bin/sleep 0.02; done'
    container.write("/bin/flock", f"#!/bin/sh\n{waits}\n")
    process = container.start()
    container.wait_for("locks")
    process.send_signal(signal.SIGTERM)
    container.write("go", "")
    assert process.wait(20) == 0
    assert container.runs() == 0
