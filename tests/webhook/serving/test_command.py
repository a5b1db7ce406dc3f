"""`dinp serve` as a process: its options, how it starts, refuses to start, and ends."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from certs.authority import KeyPair
from tests.conftest import DAY, Authority, write
from tools.serving import Serving, ServingError, admission_review, post_review, serving
from webhook import __version__
from webhook.asking.config import Config, ConfigError
from webhook.cli import main
from webhook.serving.command import with_host_ip
from webhook.serving.tls import Files

POD = {
    "metadata": {"name": "build", "namespace": "ci", "annotations": {"dinp.io/inject": "sidecar"}},
    "spec": {"containers": [{"name": "build", "image": "docker:29-cli"}]},
}
BODY = json.dumps(admission_review(POD)).encode()
PATH = "/pods/annotated"
JSON = {"Content-Type": "application/json"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `dinp` to its end."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "webhook.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def serve_arguments(files: Files, *more: str) -> list[str]:
    pair = ["--tls-cert-file", str(files.certificate), "--tls-private-key-file", str(files.key)]
    ports = ["--bind-address", "127.0.0.1", "--secure-port", "0", "--health-port", "0"]
    return ["serve", *ports, *pair, *more]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - loopback
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def peak_memory(server: Serving) -> int:
    """The most bytes of memory that the server's process has ever had."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def send(server: Serving, body: bytes | Iterator[bytes], **headers: str) -> int | None:
    """Send a body on a connection of its own; None if the server did not care to take it."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", server.port, context=server.context, timeout=30
    )
    with closing(connection), suppress(OSError, http.client.HTTPException):
        with suppress(OSError):
            chunked = not isinstance(body, bytes)
            connection.request("POST", PATH, body, {**JSON, **headers}, encode_chunked=chunked)
        return connection.getresponse().status
    return None


def served_serial(server: Serving) -> str:
    with (
        closing(socket.create_connection(("127.0.0.1", server.port), timeout=20)) as plain,
        server.context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate: Any = connection.getpeercert()
        return str(certificate["serialNumber"])


# ---- a server that runs --------------------------------------------------------------------


def test_serves_a_pod() -> None:
    """A Pod sent to the real process comes back with a patch; the log and the metrics say so."""
    with serving() as server:
        status, review = post_review(server, PATH, POD)
        ready = get(f"{server.health_url}/readyz")
        metrics = get(f"{server.health_url}/metrics")[1]
        lines = server.log_lines()

    assert (status, review["response"]["allowed"]) == (200, True)
    assert review["response"]["patchType"] == "JSONPatch"
    assert ready == (200, "ok\n")
    assert 'rule="annotated"} 1.0' in metrics
    assert [line["event"] for line in lines] == ["serving", "review"]
    assert (lines[0]["port"], lines[0]["health_port"]) == (server.port, server.health_port)
    assert server.process.returncode == 0


def test_error_status_of_a_review() -> None:
    """A review that is refused is a status and what the server said."""
    with serving() as server:
        status, answer = post_review(server, "/nowhere", POD)

    assert status == 404
    assert "404" in answer["message"]


def test_environment_twins(tmp_path: Path) -> None:
    """Options come from the environment, too, and flags win over it."""
    (tmp_path / "config.yaml").write_text("sidecar: {image: 'registry.test/docker:dind'}")
    environment = {
        **os.environ,
        "DINP_SERVE_CONFIG": str(tmp_path / "config.yaml"),
        "DINP_SERVE_LOG_FORMAT": "console",
    }
    with serving("--log-format", "json", environment=environment) as server:
        _, review = post_review(server, PATH, POD)
        assert server.log_lines()

    assert "registry.test/docker:dind" in base64.b64decode(review["response"]["patch"]).decode()


def test_ipv6_node() -> None:
    """On an IPv6 node the addresses of shared daemons get brackets."""
    pod = {**POD, "metadata": {"annotations": {"dinp.io/inject": "daemonset"}}}
    with serving("--host-ip", "fd00::1") as server:
        _, review = post_review(server, "/pods/annotated/shared", pod)

    patch = base64.b64decode(review["response"]["patch"]).decode()
    assert "tcp://[$(DINP_HOST_IP)]:2376" in patch


def test_console_format(files: Files) -> None:
    """With --log-format console lines are for people."""
    command = [sys.executable, "-m", "webhook.cli", *serve_arguments(files)]
    command += ["--shutdown-delay", "0", "--log-format", "console"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        rest, _ = process.communicate(timeout=20)

    assert "serving" in line
    assert "{" not in line + rest
    assert process.returncode == 0


def test_reload_in_the_process() -> None:
    """A new pair is served within the poll; a connection that was open goes on."""
    with serving() as server:
        before = served_serial(server)
        post_review(server, PATH, POD)
        connected = server.connection.sock
        trusting = server.directory
        other = Authority("other")
        server.context.load_verify_locations(cadata=other.pair.certificate.decode())
        write(trusting, other.issue())
        until(lambda: any(line["event"] == "certificate reloaded" for line in server.log_lines()))
        status, _ = post_review(server, PATH, POD)
        after = served_serial(server)

        assert status == 200
        assert server.connection.sock is connected
        assert before != after


def test_memory_is_bounded() -> None:
    """64 MiB in chunks are refused early, and neither they nor a gzip bomb grow the process."""
    bomb = gzip.compress(b" " * 64 * 1024 * 1024, compresslevel=1)
    with serving() as server:
        post_review(server, PATH, POD)
        before = peak_memory(server)
        for _ in range(2):
            assert send(server, (b" " * 65536 for _ in range(1024))) in {413, None}
            assert send(server, bomb, **{"Content-Encoding": "gzip"}) == 415
        grown = peak_memory(server) - before
        lines = server.log_lines()
        status, _ = post_review(server, PATH, POD)

    assert [line["code"] for line in lines[2:]] == [413, 415] * 2
    assert grown < 40 * 1024 * 1024
    assert status == 200


def test_malformed_chunks_without_the_c_parser() -> None:
    """Where aiohttp has no C parser, a body whose chunks are malformed is 400, not an error of ours."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"}
    with serving(environment=environment) as server:
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        with server.context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(
                f"{head}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it reads the body now
            connection.sendall(b"2\r\n{}\r\nzz\r\n\r\n")
            answer = connection.recv(1000)
        levels = [line["level"] for line in server.log_lines()]

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert "error" not in levels


def reviewer_of(server: Serving) -> int:
    """The process that its large reviews are done in, once it is there."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    until(lambda: bool(children.read_text()))
    return int(children.read_text())


def test_ordinary_reviews_beside_a_large_one() -> None:
    """While a large review takes as long as it likes, ordinary ones and health checks are answered."""
    large: list[int | None] = []
    with serving() as server:
        reviewer = reviewer_of(server)
        os.kill(reviewer, signal.SIGSTOP)
        asking = threading.Thread(target=lambda: large.append(send(server, BODY.ljust(3_000_000))))
        asking.start()
        for _ in range(5):
            assert post_review(server, PATH, POD)[0] == 200
            assert get(f"{server.health_url}/healthz") == (200, "ok\n")
        assert large == []
        os.kill(reviewer, signal.SIGCONT)
        asking.join()

    assert large == [200]
    assert server.process.returncode == 0


def test_end_beside_a_large_review() -> None:
    """A large review that does not end does not keep SIGTERM waiting beyond its bound, nor outlives it."""
    with serving("--shutdown-timeout", "0.2") as server:
        reviewer = reviewer_of(server)
        os.kill(reviewer, signal.SIGSTOP)
        asking = threading.Thread(target=send, args=(server, BODY.ljust(3_000_000)))
        asking.start()
        assert post_review(server, PATH, POD)[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        asking.join()

    assert not Path(f"/proc/{reviewer}").exists()


def test_few_descriptors() -> None:
    """Where it may have few files open by itself, it takes as many as the machine lets it."""
    limits = subprocess.run(["/bin/sh", "-c", "ulimit -Hn"], capture_output=True, check=True)
    with serving(
        within_cgroup=lambda it: ["/bin/sh", "-c", 'ulimit -Sn 64; exec "$@"', "-", *it]
    ) as server:
        assert post_review(server, PATH, POD)[0] == 200
        shown = Path(f"/proc/{server.process.pid}/limits").read_text()

    assert f"Max open files            {limits.stdout.decode().strip()} " in shown


# ---- its end -------------------------------------------------------------------------------


def test_no_request_fails_while_it_ends() -> None:
    """Requests that run while SIGTERM comes are all answered; it is not ready at once; it exits 0."""
    with serving("--shutdown-delay", "600") as server:
        answers: list[int] = []
        ended = threading.Event()

        def ask() -> None:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", server.port, context=server.context, timeout=20
            )
            with closing(connection):
                while not ended.is_set():
                    connection.request("POST", PATH, BODY, JSON)
                    with connection.getresponse() as response:
                        response.read()
                        answers.append(response.status)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: len(answers) > 20)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: get(f"{server.health_url}/readyz") == (503, "draining\n"))
        during = len(answers)
        until(lambda: len(answers) > during + 20)
        ended.set()  # the load balancer has taken it out before the delay is over
        for client in clients:
            client.join()
        server.process.send_signal(signal.SIGTERM)  # the delay is over
        assert server.process.wait(20) == 0

    assert set(answers) == {200}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_the_delay(number: signal.Signals) -> None:
    """A second signal, as a second ^C, does not wait for the rest of the delay."""
    with serving("--shutdown-delay", "600") as server:
        server.process.send_signal(number)
        until(lambda: any(line["event"] == "draining" for line in server.log_lines()))
        server.process.send_signal(number)

        assert server.process.wait(20) == 0


# ---- what it refuses to start with ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "sidecar: {storageSze: 1Gi}",
            "Object contains unknown field `storageSze` - at `$.sidecar`",
        ),
        ("sidecar: {rootless: 1}", "Expected `bool`, got `int` - at `$.sidecar.rootless`"),
        ("sidecar: {requests: {cpu: lots}}", "at `$.sidecar.requests"),
        ("[]", "Expected `object`, got `array`"),
        ("a: [", "not valid YAML: "),
        (None, "No such file or directory"),
    ],
)
def test_bad_config(text: str | None, expected: str, files: Files, tmp_path: Path) -> None:
    """A config file that cannot be used is one line that names file and path, and exit code 2."""
    config = tmp_path / "config.yaml"
    if text is not None:
        config.write_text(text)
    ended = CliRunner().invoke(main, serve_arguments(files, "--config", str(config)))

    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"dinp: {config}: ")
    assert expected in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


def test_bad_certificate(files: Files, ca: Authority, tmp_path: Path) -> None:
    """A certificate that is missing, expired or another key's is one line, and exit code 2."""
    for pair, expected in (
        (KeyPair(ca.issue().certificate, ca.issue().key), "key of another certificate than"),
        (ca.issue(now=ca.now - 3 * DAY), f"{files.certificate}: expired on "),
        (None, f"{files.certificate}: No such file or directory"),
    ):
        if pair is None:
            files.certificate.unlink()
        else:
            write(tmp_path, pair)
        ended = CliRunner().invoke(main, serve_arguments(files))

        assert ended.exit_code == 2
        assert ended.stderr.startswith("dinp: /")
        assert expected in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_port_in_use(files: Files) -> None:
    """A taken port is one line that names it, and exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        ended = run(*serve_arguments(files, "--secure-port", str(number)))

    assert ended.returncode == 2
    assert ended.stderr == f"dinp: 127.0.0.1:{number}: Address already in use\n"


def test_bad_host_ip(files: Files) -> None:
    """A host IP that is none is one line, and exit code 2."""
    ended = CliRunner(env={"DINP_SERVE_HOST_IP": "node-1"}).invoke(
        main, serve_arguments(files), auto_envvar_prefix="DINP"
    )

    assert ended.exit_code == 2
    assert ended.stderr.startswith("dinp: --host-ip: 'node-1'")


@pytest.mark.parametrize(
    "arguments",
    [["serve"], ["serve", "--secure-port", "65536"], ["serve", "--shutdown-delay", "-1"], ["serv"]],
)
def test_usage(arguments: list[str]) -> None:
    """Wrong usage is exit code 2."""
    assert CliRunner().invoke(main, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("host_ip", "in_file", "expected"),
    [
        (None, None, None),
        ("", None, None),
        ("10.0.0.1", None, "IPv4"),
        ("fd00::1", None, "IPv6"),
        ("fd00::1", "IPv4", "IPv4"),
        ("10.0.0.1", "IPv6", "IPv6"),
    ],
)
def test_ip_family(host_ip: str | None, in_file: Any, expected: str | None) -> None:
    """The node's address tells the IP family where the config file does not."""
    config = Config()
    config = msgspec.structs.replace(
        config, daemonset=msgspec.structs.replace(config.daemonset, ip_family=in_file)
    )

    assert with_host_ip(config, host_ip).daemonset.ip_family == expected


def test_ip_family_of_no_address() -> None:
    """What is no IP address is an error that names the option."""
    with pytest.raises(ConfigError, match="--host-ip"):
        with_host_ip(Config(), "node-1")


# ---- help ----------------------------------------------------------------------------------


def test_help_is_quick() -> None:
    """`dinp --help` names the commands and imports no server."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "webhook.cli", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert {"serve", "inject"} <= set(ended.stdout.split())
    assert "aiohttp" not in ended.stderr
    assert "msgspec" not in ended.stderr


def test_version() -> None:
    """`dinp --version` says it."""
    assert __version__ in CliRunner().invoke(main, ["--version"]).output


def test_every_option_has_an_environment_twin() -> None:
    """The help of `serve` shows a DINP_SERVE_ variable for every option."""
    text = CliRunner().invoke(main, ["serve", "--help"]).output
    options = [word for word in text.split() if word.startswith("--") and word != "--help"]
    twins = {f"DINP_SERVE_{option[2:].upper().replace('-', '_')}" for option in options}

    assert len(twins) == 11
    assert all(twin in text for twin in twins)


# ---- the tool itself -----------------------------------------------------------------------


def test_start_that_fails_is_told() -> None:
    """A server that does not start is an error with what it said, and leaves no process."""
    with (
        pytest.raises(ServingError, match=r"exit code 2.*nowhere"),
        serving("--config", "/nowhere"),
    ):
        pytest.fail("it has started")


def test_server_that_hangs_is_killed() -> None:
    """A server that does not heed SIGTERM is killed after a bound."""
    with serving("--shutdown-delay", "600", stop_seconds=0.2) as server:
        pass

    assert server.process.returncode == -signal.SIGKILL
