"""The attack: its table, its cgroup and what it sends; and that it fails where a server does not hold."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from tests.webhook import large_pods
from tools.attack import __main__ as attack
from tools.attack import cgroup, deployment, exchange, families, refused, report, too_long
from tools.attack.bodies import DENSE, Dense
from tools.attack.cgroup import Cgroup
from tools.attack.table import Figure, Result, Row, Run, at_most, none_of
from tools.attack.target import Answer
from tools.attack.too_long import Case
from tools.serving import write_certificate
from webhook import admission
from webhook.asking.annotations import TABLE
from webhook.asking.config import Config
from webhook.asking.rules import RULES

ROOT = Path(__file__).parents[2]
MIB = 2**20
RUN = Run(quick=True, seed=0, say=lambda _line: None)
V1 = """tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /cg/memory cgroup rw,relatime,memory 0 0
cgroup /cg/cpu cgroup rw,relatime,cpu,cpuacct 0 0
"""


def row(*seen: Figure, fails: bool = False) -> Row:
    def look(_run: Run) -> Iterator[Figure]:
        yield from seen
        if fails:
            raise ConnectionResetError("it is gone")

    return Row("its name", "what is sent", "what holds", look)


# ---- the table -----------------------------------------------------------------------------


def test_rows() -> None:
    """Each row has a name of its own, and most are quick."""
    names = [each.name for each in attack.TABLE]
    assert len(names) == len(set(names))
    quick = {each.name for each in attack.TABLE if each.is_quick}
    assert {"families", "idle, 8443", "dense bodies", "small beside huge", "too long"} <= quick


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (at_most("it", 2.0, 2.0, "s"), True),
        (at_most("it", 2.01, 2.0, "s"), False),
        (none_of("it", [], 3, "well"), True),
        (none_of("it", ["the second"], 3, "well"), False),
    ],
)
def test_verdicts(figure: Figure, expected: bool) -> None:
    """What is at its bound is well, and one of many that is otherwise is a miss."""
    assert expected == figure.is_well
    result = Result(row(), [at_most("another", 0, 1, "s"), figure], 1.0)
    assert expected == result.is_well


def test_a_row_that_saw_nothing_is_a_miss() -> None:
    """Where nothing was looked at, nothing holds."""
    assert not Result(row(), [], 1.0).is_well


def test_a_row_that_breaks_off_is_a_miss() -> None:
    """What it had seen stays, and the error stands beside it."""
    result = attack.run_row(row(at_most("it", 1, 2, "s"), fails=True), RUN)
    assert [True, False] == [figure.is_well for figure in result.figures]
    assert "ConnectionResetError: it is gone" == result.figures[-1].seen


def test_a_miss_says_all() -> None:
    """The row's name, what was sent, what was expected, and what was seen."""
    result = Result(row(), [at_most("a health check", 7.5, 5, "s")], 1.0)
    text = "\n".join(report.lines([result], 1.0))
    assert "MISS its name: what is sent. Must hold: what holds." in text
    assert "a health check: expected ≤ 5 s, saw 7.50 s" in text
    assert "0 of 1 rows hold, 1 figures" in text


# ---- what is sent --------------------------------------------------------------------------


def test_quick_families_cover_each_place() -> None:
    """One of each list and text, the same for the same seed; all of them without --quick."""
    names = [family.name for family, _ in families.chosen(RUN)]
    assert names == [family.name for family, _ in families.chosen(RUN)]
    other = Run(quick=True, seed=1, say=RUN.say)
    assert names != [family.name for family, _ in families.chosen(other)]
    places = [families.place(family) for family, _ in families.chosen(RUN)]
    everything = list(large_pods.families())
    assert len(places) == len(set(places))
    assert {families.place(family) for family in everything} == set(places)
    whole = list(families.chosen(Run(quick=False, seed=0, say=RUN.say)))
    assert len(everything) == len(whole)


@pytest.mark.parametrize("name", ["list spec.containers, with a name", "text metadata.annotations.dinp.io/share '' of 'x'"])  # fmt: skip
def test_the_longest_that_is_taken(name: str) -> None:
    """From dinp's own sentence follows how much it takes: a Pod of that is not refused for its length."""
    (family,) = (found for found in large_pods.families() if found.name == name)
    served = large_pods.SERVED[0]
    n = 20_000
    for _ in range(3):
        outcome = admission.review(large_pods.body(family, n, served), served.rule, Config())
        shorter = families._taken(Answer(200, outcome.body.decode(), 0.0), n)
        if shorter is None:
            break
        n = shorter
    assert "too_long" != outcome.reason.value
    assert 100 < n < 20_000


@pytest.mark.parametrize("dense", DENSE, ids=lambda dense: dense.name)
@pytest.mark.parametrize("size", [5_000, 100_001])
def test_dense_bodies(dense: Dense, size: int) -> None:
    """JSON of exactly so many bytes, nearly all of them at the place that it names."""
    body = dense.body(size)
    assert size == len(body)
    node = json.loads(body)
    for step in dense.path:
        node = node[step]
    item = dense.item.replace("#", "0" * 6).encode()
    assert len(node) >= (size - 2_000) // len(item)


def test_too_long_knows_every_annotation() -> None:
    """Each that is parsed is in it, at a text that its parser takes but for the length."""
    keys = {case.key for case in too_long.cases()}
    others = {"dinp.io/inject", "dinp.io/status"}
    assert {f"annotation {name}" for name in TABLE if name not in others} <= keys


@pytest.mark.parametrize(
    "case", list(too_long.cases()), ids=lambda case: f"{case.key} {case.bound}"
)
def test_too_long_is_refused(case: Case) -> None:
    """What is sent is refused in words that name key, length and bound, as webhook/pods/bounds.py has them."""
    pod = admission.inject(case.pod(1), RULES["/pods/inject/sidecar"], Config())
    warned = {"allowed": True, "warnings": list(pod.warnings)}
    denied = {"allowed": False, "status": {"message": pod.finding.text}}
    assert [] == list(too_long._complaints(case, 1, denied, warned))
    quiet = {"allowed": True, "warnings": [text.replace(f"{case.bound:,}", "so many") for text in pod.warnings]}  # fmt: skip
    assert 1 == len(list(too_long._complaints(case, 1, denied, quiet)))
    assert 1 == len(list(too_long._complaints(case, 1, {"allowed": True}, warned)))


def test_a_sentence_in_its_order() -> None:
    """How long it is, before how long it may be."""
    assert too_long._has(("the key", "65", "64"), "the key has 65, and dinp takes 64")
    assert not too_long._has(("the key", "65", "64"), "the key has 64, and dinp takes 65")


def test_what_the_log_accounts_for() -> None:
    """Lines of one request each, and the numbers of those that were left out."""
    lines: list[dict[str, Any]] = [*({"event": "refused", "code": 400} for _ in range(30)), {"left_out": 1500}, {"left_out": 470}]  # fmt: skip
    assert {"left_out": 2000} == refused.accounted(lines)
    assert {} == refused.accounted(lines[:30])


def test_a_refusal_in_the_middle_of_a_body(tmp_path: Path) -> None:
    """The answer that comes while a large body is still being sent is read, though no more is taken."""
    write_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")

    def refuse() -> None:
        connection, _ = listener.accept()
        with context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(100_000)
            text = b"HTTP/1.1 413 No\r\nContent-Length: 18\r\n\r\nthis is too large."
            encrypted.sendall(text)
            answered.wait(60)  # neither reading on nor closing

    answered = threading.Event()
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    body = exchange.request("/x", 8 * MIB) + b" " * 8 * MIB
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        refusing = pool.submit(refuse)
        plain = socket.create_connection(listener.getsockname(), timeout=20)
        with trusting.wrap_socket(plain, server_hostname="localhost") as connection:
            assert (413, "this is too large.") == exchange.exchange(connection, body, 20)
        answered.set()
        refusing.result()


# ---- where it runs -------------------------------------------------------------------------


def test_the_server_is_the_manifests(tmp_path: Path) -> None:
    """Arguments, memory and patience are those of the Deployment, with folders for its volumes."""
    found = deployment.read()
    command = found.command(tmp_path)
    assert "serve" == command[0]
    assert f"--tls-cert-file={tmp_path}/tls.crt" in command
    (config,) = (each for each in command if each.startswith("--config="))
    assert Path(config.partition("=")[2]).is_file()
    assert not [each for each in command if "$(" in each]
    whole = yaml.safe_load((deployment.BASE / "deployment.yaml").read_text(encoding="utf-8"))
    (container,) = whole["spec"]["template"]["spec"]["containers"]
    container["resources"]["limits"]["memory"] = "77Mi"
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    assert 77 * MIB == deployment.read(tmp_path / "deployment.yaml").memory


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (V1, (1, Path("/cg/memory"), Path("/cg/cpu"))),
        (V1 + "cgroup2 /cg/unified cgroup2 rw 0 0\n", (1, Path("/cg/memory"), Path("/cg/cpu"))),
        ("cgroup2 {} cgroup2 rw 0 0\n", (2, Path("{}"), Path("{}"))),
    ],
)
def test_hierarchies(mounts: str, expected: tuple[int, Path, Path], tmp_path: Path) -> None:
    """Version 1 where it has the controllers, else version 2, whose root passes memory on."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu\n")
    version, memory, cpu = expected
    there = tuple(Path(str(path).replace("{}", str(tmp_path))) for path in (memory, cpu))
    assert (version, *there) == cgroup._hierarchies(mounts.replace("{}", str(tmp_path)))
    if version == 2:
        assert "+memory" == (tmp_path / "cgroup.subtree_control").read_text()


def test_version_2(tmp_path: Path) -> None:
    """Kills, peak, processes and time are read from the files that version 2 has."""
    made = Cgroup(2, tmp_path, tmp_path)
    (tmp_path / "memory.events").write_text("low 0\nmax 9\noom 2\noom_kill 1\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (tmp_path / "cgroup.procs").write_text("1\n23\n")
    assert made.peak() is None
    (tmp_path / "memory.peak").write_text("134217728\n")
    assert (134217728, 1, 1.5, [1, 23]) == (made.peak(), made.kills(), made.cpu_seconds(), made.processes())  # fmt: skip
    assert [tmp_path / "cgroup.procs"] == made.joins


def test_limit_of_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is written, and no swap is left to get around it."""
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    made = tmp_path / "made"
    made.mkdir()
    for name in ("memory.max", "memory.swap.max"):
        (made / name).write_text("max\n")
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(made))
    found = cgroup._make(64 * MIB, f"cgroup2 {tmp_path} cgroup2 rw 0 0\n", [])
    assert Cgroup(2, made, made) == found
    assert f"{64 * MIB}" == (made / "memory.max").read_text()
    assert "0" == (made / "memory.swap.max").read_text()


def test_without_a_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none can be made it ends with 1 before anything is sent, and says how to get one."""
    (tmp_path / "mounts").write_text("tmpfs /tmp tmpfs rw 0 0\n")
    monkeypatch.setattr(cgroup, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(attack, "interrupt_by_signals", lambda: None)
    result = CliRunner().invoke(attack.main, ["--only", "too long"])
    assert 1 == result.exit_code
    assert "no cgroup hierarchy here bounds memory" in result.stderr
    assert "run it as root" in result.stderr


def test_no_such_row() -> None:
    """A row that is not there is wrong usage, and those that are, are named."""
    result = CliRunner().invoke(attack.main, ["--only", "nothing"])
    assert 2 == result.exit_code
    assert "small beside huge" in result.stderr


# ---- at a server: root, for the cgroup -----------------------------------------------------


def start(folder: Path, *arguments: str, wrong: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tools.attack", "--folder", str(folder), *arguments]
    if wrong:
        command += ["--program", "tests.tools.attack_stub"]
    environment = {**os.environ, "DINP_STUB": wrong}
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - our own program
        command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def cgroups(run: subprocess.Popen[str]) -> list[Path]:
    """Those that a run has now."""
    folders = set(cgroup._hierarchies(cgroup.MOUNTS.read_text(encoding="utf-8"))[1:])
    return [found for folder in folders for found in folder.glob(f"dinp-attack-{run.pid}-*")]


@pytest.mark.cluster
def test_memory_is_bounded() -> None:
    """What takes more than the limit is killed, the kill is counted, and the cgroup is gone then."""
    greedy = "import os; kept = os.urandom(200 * 2**20)"
    with cgroup.cgroup(48 * MIB) as made:
        joins = "".join(f"echo $$ >{file}; " for file in made.joins)
        command = ["sh", "-c", f'{joins} exec "$0" -c "{greedy}"', sys.executable]
        done = subprocess.run(command, check=False)  # noqa: S603 - our own program
        assert (-9, 1) == (done.returncode, made.kills())
        assert made.cpu_seconds() > 0
        assert 40 * MIB < (made.peak() or 0) <= 48 * MIB
    assert not made.memory.exists()
    assert not made.cpu.exists()


@pytest.mark.cluster
def test_what_holds_is_0(tmp_path: Path) -> None:
    """A row at the real server: every figure is well, and the table is in the folder too."""
    with start(tmp_path, "--only", "too long") as run:
        out, told = run.communicate()
    assert 0 == run.returncode, out + told
    assert "1 of 1 rows hold" in out
    assert "1 of 1 rows hold" in (tmp_path / "attack.txt").read_text(encoding="utf-8")


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("refusing", "ConnectionRefusedError"),
        ("slow", "a readiness check: expected ≤ 5 s, saw 6."),
        ("greedy", "1 killed for want of memory"),
    ],
)
def test_what_does_not_hold_is_1(wrong: str, said: str, tmp_path: Path) -> None:
    """A server that refuses, answers late or is killed fails its row, which is named."""
    with start(tmp_path, "--only", "nesting", wrong=wrong) as run:
        out, told = run.communicate()
    assert 1 == run.returncode, out + told
    assert "MISS nesting: lists and mappings in each other." in out
    assert said in out
    assert [] == cgroups(run)


@pytest.mark.cluster
def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of a row ^C ends the server, and takes its cgroup and its folder away."""
    with start(tmp_path, "--only", "pool") as run:
        until(lambda: any((each / "cgroup.procs").read_text() for each in cgroups(run)))
        servers = {
            int(pid) for each in cgroups(run) for pid in (each / "cgroup.procs").read_text().split()
        }
        run.send_signal(signal.SIGINT)
        out, told = run.communicate()
    assert 130 == run.returncode, out + told
    assert [] == cgroups(run)
    assert servers
    assert not [pid for pid in servers if Path(f"/proc/{pid}").exists()]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
