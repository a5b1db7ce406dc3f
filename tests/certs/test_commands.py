"""`dinp certs issue`, `run` and `run-shared`, as they are called."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from base64 import b64decode
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from click.testing import CliRunner, Result

from certs import durations, inspection
from certs.cli import certs
from tests.certs.fake_api import CONFIGURATION, FakeApi, fake_api
from tests.certs.openssl import complaint, is_verified

ROOT = Path(__file__).parents[2]
WEBHOOK = ROOT / "manifests" / "base" / "webhook.yaml"
PATIENCE = 240.0  # seconds: a process of its own is slow on a busy machine
HOST = ("-verify_hostname", "dinp.dinp-system.svc")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(certs, arguments, auto_envvar_prefix="DINP_CERTS")


def test_issue_manifests() -> None:
    """A Secret and the configuration with its caBundles; OpenSSL, strict, accepts the chain."""
    done = invoke("issue", "--configuration-file", str(WEBHOOK))
    assert 0 == done.exit_code
    secret, configuration = yaml.safe_load_all(done.stdout)
    assert ("Secret", "dinp-tls", "kubernetes.io/tls") == (
        secret["kind"],
        secret["metadata"]["name"],
        secret["type"],
    )
    bundles = {hook["clientConfig"]["caBundle"] for hook in configuration["webhooks"]}
    assert {secret["data"]["ca.crt"]} == bundles
    assert 10 == len(configuration["webhooks"])
    leaf, ca = (b64decode(secret["data"][key]) for key in ("tls.crt", "ca.crt"))
    assert "" == complaint(leaf, ca, *HOST)
    assert "*" not in done.stdout
    assert "ca.key" not in done.stdout


def test_openssl_knows_the_names() -> None:
    """The same certificate is refused for another name, and as a client's."""
    (secret,) = yaml.safe_load_all(invoke("issue").stdout)
    leaf, ca = (b64decode(secret["data"][key]) for key in ("tls.crt", "ca.crt"))
    assert is_verified(leaf, ca, *HOST)
    assert "hostname mismatch" in complaint(leaf, ca, "-verify_hostname", "dinp.other.svc")
    assert not is_verified(leaf, ca, "-purpose", "sslclient")
    assert "" == complaint(ca, ca, "-purpose", "any")


def test_issue_files(tmp_path: Path) -> None:
    """Files: keys for their owner only, even where a readable one was before."""
    directory = tmp_path / "a" / "b"
    directory.mkdir(parents=True)
    (directory / "tls.key").write_text("old")
    done = invoke("issue", "--output-dir", str(directory), "--with-ca-key")
    assert (0, "") == (done.exit_code, done.stdout)
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in directory.iterdir()}
    assert modes == {"ca.crt": "0o644", "tls.crt": "0o644", "ca.key": "0o600", "tls.key": "0o600"}
    leaf, ca = ((directory / name).read_bytes() for name in ("tls.crt", "ca.crt"))
    assert is_verified(leaf, ca, *HOST)


def test_issue_lifetimes_and_names(tmp_path: Path) -> None:
    """Lifetimes and names are what the options, or their environment twins, say."""
    done = CliRunner().invoke(
        certs,
        ["issue", "--output-dir", str(tmp_path), "--service=hook", "--leaf-lifetime=2h"],
        auto_envvar_prefix="DINP_CERTS",
        env={"DINP_CERTS_ISSUE_NAMESPACE": "ci", "DINP_CERTS_ISSUE_CA_LIFETIME": "1d"},
    )
    assert 0 == done.exit_code
    leaf, ca = ((tmp_path / name).read_bytes() for name in ("tls.crt", "ca.crt"))
    assert frozenset({"hook.ci.svc"}) == inspection.dns_names(leaf)
    assert timedelta(hours=22) == inspection.ends_at(ca) - inspection.ends_at(leaf)
    assert not (tmp_path / "ca.key").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--with-ca-key"], "needs --output-dir"),
        (["--leaf-lifetime=1w"], "'1w' is not a duration"),
        (["--leaf-lifetime=2d", "--ca-lifetime=1d"], "the leaf may not live longer than its CA"),
        (["--output-dir=/dev/null/x"], "dinp: "),
        (["--configuration-file=/dev/null"], "0 documents of kind MutatingWebhookConfiguration"),
    ],
)
def test_issue_refused(arguments: list[str], message: str) -> None:
    """What cannot be done is one line and exit code 2."""
    done = invoke("issue", *arguments)
    assert 2 == done.exit_code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_issue_for_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    """A configuration file that is not YAML is said to be so."""
    file = tmp_path / "webhook.yaml"
    file.write_text("a: [")
    done = invoke("issue", "--configuration-file", str(file))
    assert 2 == done.exit_code
    assert "not YAML" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("365d", timedelta(days=365)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    """Durations are sums of days, hours, minutes and seconds."""
    assert expected == durations.parse(text)


@pytest.mark.parametrize("text", ["", "1", "d", "1 d", "-1d", "1.5h", "99999999999d"])
def test_no_durations(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"is not a duration|is too long"):
        durations.parse(text)


@pytest.mark.parametrize("command", ["run", "run-shared"])
def test_run_without_a_cluster(tmp_path: Path, command: str) -> None:
    """Without a cluster both say so and end with 2."""
    done = invoke(command, "--kubeconfig", str(tmp_path / "missing"))
    assert 2 == done.exit_code
    assert "dinp: no access to a cluster" in done.stderr


def test_run_with_times_that_cannot_work() -> None:
    """Lifetimes that leave no time for a rotation are refused."""
    done = invoke("run", "--leaf-lifetime=10m")
    assert 2 == done.exit_code
    assert "too short" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ca-lifetime=200d"], "may not live longer than its CA"),
        (["--ca-lifetime=400d", "--daemon-restart-within=200d"], "CA of clients is too"),
        (["--client-lifetime=0s"], "has to live for some time"),
        (["--client-lifetime=10m"], "clients' certificates is too short"),
        (["--server-lifetime=1w"], "'1w' is not a duration"),
    ],
)
def test_run_with_times_that_cannot_work_for_daemons(arguments: list[str], message: str) -> None:
    """Neither can lifetimes of the shared daemons' certificates."""
    done = invoke("run-shared", *arguments)
    assert 2 == done.exit_code
    assert message in done.stderr


@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_run(tmp_path: Path, log_format: str) -> None:
    """The process fills in caBundle, is watched on the port that it logs, and ends with 0 by SIGTERM."""
    async with fake_api() as api:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from certs.cli import certs; certs()", "run"),
            *("--log-format", log_format, "--kubeconfig", str(api.kubeconfig(tmp_path))),
            *("--bind-address", "127.0.0.1", "--health-port", "0"),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            first = await process.stdout.readline()
            found = re.search(rb'health_port"?[=:] *(\d+)', first)
            assert found is not None, first
            port = int(found[1])
            while await status(session, port, "/readyz") != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            assert 200 == await status(session, port, "/healthz")
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                text = await answer.text()
            process.send_signal(signal.SIGTERM)
            out, _ = await process.communicate()
        assert 0 == process.returncode
        webhooks = api.objects[CONFIGURATION]["webhooks"]
    assert all(hook["clientConfig"]["caBundle"] for hook in webhooks)
    assert b"PRIVATE" not in first + out
    if log_format == "json":
        said: list[dict[str, Any]] = [json.loads(line) for line in (first + out).splitlines()]
        expected = ["issued a CA", "published caBundle", "issued a serving certificate"]
        assert expected == [line["event"] for line in said if "why" in line]
    kinds = set(re.findall(r'^dinp_certs_certificates\{kind="([^"]+)"\} 1\.0$', text, re.MULTILINE))
    assert {"webhook", "webhook-ca"} == kinds
    assert 'dinp_certs_passes_total{of="webhook",outcome="done"}' in text


async def status(session: aiohttp.ClientSession, port: int, path: str) -> int:
    async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status


def test_run_on_a_port_that_is_taken(tmp_path: Path) -> None:
    """It says which, and ends with 2."""
    kubeconfig = FakeApi().kubeconfig(tmp_path, "http://127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = ("--bind-address", "127.0.0.1", "--health-port", str(port))
        done = invoke("run", "--kubeconfig", str(kubeconfig), *options)
    assert 2 == done.exit_code
    assert f"dinp: --health-port: 127.0.0.1:{port}: Address already in use\n" == done.stderr
