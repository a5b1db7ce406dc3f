"""A real dockerd under start.sh and dind.sh, and `dinp daemon keep` beside it.

The network, the mounts and the processes are their own, as in a Pod; PID 1 is not dind.sh, though.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509

from certs import authority
from certs.authority import KeyPair, Usage
from keeper import files
from keeper.files import Files
from tests.cluster.processes import StartError, wait_until
from tests.docker import clients
from tests.docker.clients import write_files
from tests.node.leftovers import is_v2, run_directory
from tests.node.namespace import Namespace, namespace
from tests.node.programs import Programs, command, environment
from tests.terminal import teller

pytestmark = pytest.mark.node

ROOT: Final = Path(__file__).parents[2]
ENTRYPOINT: Final = ROOT / "tests" / "node" / "dockerd-entrypoint.sh"
DINP: Final = ROOT / ".venv" / "bin" / "dinp"
PORT: Final = 2376
IMAGE: Final = "localhost/shell:1"
SOCKET: Final = "/run/dinp/docker.sock"
# dind.sh has fixed paths, and only some of them are this daemon's own here.
MOVED: Final = {"/dinp": "/run/dinp", "/usr/local/sbin": "/run/sbin"}
PROTOCOLS: Final = {"tcp": f"tcp://127.0.0.1:{PORT}", "unix": f"unix://{SOCKET}"}


@dataclass(frozen=True, slots=True)
class Client:
    """A client that has been started."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """What it has said by now."""
        return self.log.read_text(encoding="utf-8")


@dataclass
class Daemon:
    """A shared daemon's container, and the files that its keeper shares with it."""

    node: Namespace
    directory: Path
    programs: str  # folders of dockerd, containerd and runc, as in PATH
    servers: KeyPair
    clients: KeyPair
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def shared(self) -> Path:
        """What is /daemon in a Pod."""
        return self.directory / "daemon"

    @property
    def published(self) -> Path:
        """What is /ca in a Pod."""
        return self.directory / "ca"

    @property
    def logs(self) -> Path:
        """What the processes say."""
        return self.directory / "logs"

    def client(self, protocol: str) -> dict[str, str]:
        """Variables of a client: where its daemon is, and how it builds."""
        where = {"DOCKER_HOST": PROTOCOLS[protocol]}
        if protocol == "tcp":
            where |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.directory / "client")}
        return {**where, "DOCKER_BUILDKIT": "1"}

    def docker(self, *arguments: str, protocol: str = "unix") -> str:
        """Run a client that has to succeed; return what it says."""
        said, _ = clients.run(self.node, "docker", *arguments, own=self.client(protocol))
        return said.strip()

    def start_client(self, *arguments: str, protocol: str, inside: Sequence[str] = ()) -> Client:
        """Start a client and do not wait; `inside` is a command that runs it."""
        log = self.logs / f"client-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command
                self.node.command(*inside, "docker", *arguments),
                env=clients.variables(self.client(protocol)),
                stdout=output,
                stderr=output,
            )
        self.processes.append(process)
        return Client(process, log)

    def answers(self) -> bool:
        """Whether it does."""
        with suppress(AssertionError):
            self.docker("version")
            return True
        return False

    def wait_until_ready(self) -> None:
        """Wait until it answers."""
        wait_until(self.answers, "dockerd answers", interval=0.2)

    def pid(self) -> str:
        """dockerd's process; nothing while there is none."""
        try:
            return self.node.run("cat", "/var/run/docker.pid").strip()
        except StartError:
            return ""

    def serial(self) -> int | None:
        """The number of the certificate that it serves with; None while it does not."""
        code = f"import ssl; print(ssl.get_server_certificate(('127.0.0.1', {PORT})))"
        try:
            pem = self.node.run("python3", "-c", code)
        except StartError:
            return None
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    def put(self, name: str, pair: KeyPair, *client_authorities: KeyPair) -> None:
        """Write a folder for dockerd."""
        authorities = frozenset(it.certificate for it in client_authorities or (self.clients,))
        files.put(self.shared / name, Files(pair, authorities))

    def publish(self, *client_authorities: KeyPair) -> None:
        """Write what certs publishes."""
        bundle = b"".join(it.certificate for it in client_authorities)
        (self.published / "client-ca.pem").write_bytes(bundle)
        (self.published / "server-ca.pem").write_bytes(self.servers.certificate)

    def server(self) -> KeyPair:
        """A new certificate for it."""
        return leaf(self.servers, Usage.SERVER)

    def is_asked(self) -> bool:
        """Whether a restart is still asked for."""
        return (self.shared / files.RESTART).exists()

    @contextmanager
    def keeper(self, *options: str) -> Iterator[Path]:
        """Run it with a look each second; the file with what it says."""
        arguments = [str(DINP), "daemon", "keep", "--names=127.0.0.1", f"--socket={SOCKET}"]
        arguments += [f"--directory={self.shared}", f"--ca-directory={self.published}"]
        arguments += ["--check-interval=1s", *options]
        log = self.logs / "keeper.log"
        with log.open("wb") as output:
            process = subprocess.Popen(self.node.command(*arguments), stdout=output, stderr=output)  # noqa: S603 - our own command
        try:
            yield log
        finally:
            # nsenter does not pass a signal on.
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            os.kill(int(children), signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text(encoding="utf-8")


def leaf(ca: KeyPair, usage: Usage) -> KeyPair:
    """A certificate for an hour."""
    now, names = datetime.now(UTC), ["127.0.0.1"]
    return authority.issue_leaf(
        ca, "test", usage=usage, now=now, lifetime=timedelta(hours=1), names=names
    )


def new_ca(name: str) -> KeyPair:
    """A CA for a day."""
    return authority.issue_ca(name, now=datetime.now(UTC), lifetime=timedelta(days=1))


# Shared daemons are of 29. With Debian's 20.10 all of it passes, too, and takes as long again.
@pytest.fixture(scope="module")
def daemon(request: pytest.FixtureRequest, built: Programs) -> Iterator[Daemon]:
    """The daemon, ready, with an image."""
    programs = f"{built.docker_29}:{built.containerd}:{built.runc}:/usr/sbin:/usr/bin"
    with (
        run_directory() as directory,
        namespace(directory, "keeper", f"/{directory.name}") as node,
    ):
        made = Daemon(node, directory, programs, new_ca("servers"), new_ca("clients"))
        prepare(made)
        with node.running("docker", in_cgroup(directory.name, start_command(made))):
            try:
                made.wait_until_ready()
                # It looks once a second, and takes an end before that for a failure.
                wait_until(lambda: knows_that_it_is_ready(made), "dind.sh has seen that, too")
                made.docker("import", str(busybox(made)), IMAGE)
                teller(request)(f"Docker {made.docker('version', '--format={{.Server.Version}}')}")
                yield made
            except Exception as error:
                error.add_note((directory / "logs" / "docker.log").read_text()[-3000:])
                raise
            finally:
                # pytest shows it where a test fails.
                sys.stderr.write((directory / "logs" / "docker.log").read_text())
                for process in made.processes:
                    process.kill()
                    process.wait()


def knows_that_it_is_ready(daemon: Daemon) -> bool:
    """Whether dind.sh does: of its shells, the one that asks dockerd has ended."""
    processes = daemon.node.run("ps", "-e", "-o", "args=").splitlines()
    return 1 == sum(line.startswith(f"sh {daemon.shared}/dind.sh ") for line in processes)


def prepare(daemon: Daemon) -> None:
    """What the init container and the kubelet do."""
    for folder in (daemon.shared, daemon.published):
        folder.mkdir()
    # Else the image's entrypoint mounts an empty one, and the files of this test are there.
    daemon.node.run("mount", "--bind", "/tmp", "/tmp")  # noqa: S108
    daemon.node.run("mkdir", "-p", "/run/dinp", "/run/sbin", "/run/dinp-config", "/var/lib/docker")
    command_line = [str(DINP), "daemon", "prepare", "--no-tls", f"--directory={daemon.shared}"]
    daemon.node.run(*command_line)
    script = daemon.shared / "dind.sh"
    text = script.read_text(encoding="utf-8")
    for path, place in MOVED.items():
        text = re.sub(rf"(?<![\w.}}]){re.escape(path)}", place, text)
    script.write_text(text, encoding="utf-8")
    (daemon.directory / "daemon.json").write_text(
        json.dumps({"live-restore": True, "storage-driver": "vfs"}), encoding="utf-8"
    )
    daemon.node.run("cp", str(daemon.directory / "daemon.json"), "/run/dinp-config/")
    bin_folder = daemon.directory / "bin"
    bin_folder.mkdir()
    entrypoint = bin_folder / "dockerd-entrypoint.sh"
    entrypoint.write_bytes(ENTRYPOINT.read_bytes())
    entrypoint.chmod(0o755)
    daemon.put(files.TLS, daemon.server())
    daemon.publish(daemon.clients)
    pair = leaf(daemon.clients, Usage.CLIENT)
    ca = daemon.servers.certificate
    contents = {"ca.pem": ca, "cert.pem": pair.certificate, "key.pem": pair.key}
    write_files(daemon.directory / "client", contents)


def start_command(daemon: Daemon) -> list[str]:
    """As in the manifests, but for the places."""
    tls = daemon.shared / files.TLS
    return [
        *("env", f"PATH={daemon.directory}/bin:{daemon.programs}:{environment()['PATH']}"),
        *("sh", str(daemon.shared / "start.sh"), "dockerd", f"--host=unix://{SOCKET}"),
        *("--host=unix:///var/run/docker.sock", f"--host=tcp://0.0.0.0:{PORT}", "--tlsverify=true"),
        *(f"--tlscacert={tls}/ca.pem", f"--tlscert={tls}/cert.pem", f"--tlskey={tls}/key.pem"),
        *("--iptables=false", "--bridge=none", f"--cgroup-parent=/{daemon.directory.name}"),
        *("--data-root=/var/lib/docker", "--exec-root=/run/docker"),
    ]


def in_cgroup(name: str, arguments: Sequence[str]) -> list[str]:
    """Run it in the cgroups of this run: dind.sh takes the own one for the daemon's root."""
    pattern = f"/sys/fs/cgroup/{name}" if is_v2() else f"/sys/fs/cgroup/*/{name}"
    enter = f'for cgroup in {pattern}; do echo $$ >"$cgroup/cgroup.procs"; done; exec "$@"'
    return ["sh", "-c", enter, "sh", *arguments]


def busybox(daemon: Daemon) -> Path:
    """An image as a tar."""
    root = daemon.directory / "image"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    for applet in ("sh", "sleep"):
        (root / "bin" / applet).symlink_to("busybox")
    tar = daemon.directory / "image.tar"
    subprocess.run([command("tar"), "-cf", tar, "-C", root, "."], check=True)  # noqa: S603 - our own command
    return tar


RUN: Final = ("run", "--detach", "--pull=never", "--network=none")


@pytest.fixture
def running(daemon: Daemon) -> Iterator[str]:
    """A container that runs."""
    container = daemon.docker(*RUN, IMAGE, "sleep", "100000")
    yield container
    daemon.docker("rm", "--force", "--volumes", container)


def state(daemon: Daemon, container: str) -> str:
    """Whether it runs, and since when."""
    wanted = "{{.State.Status}} {{.State.StartedAt}} {{.State.Pid}}"
    return daemon.docker("inspect", f"--format={wanted}", container)


DOCKERFILE: Final = f"FROM {IMAGE}\nRUN busybox sleep 15\nRUN echo RUNS $((6 * 7))\n"


def builds(daemon: Daemon, protocol: str, inside: Sequence[str] = ()) -> Client:
    """Start a build that takes some seconds, and wait until dockerd is at it."""
    context = daemon.directory / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    arguments = ("build", "--progress=plain", "--no-cache", "--network=none", str(context))
    client = daemon.start_client(*arguments, protocol=protocol, inside=inside)
    wait_until(lambda: "RUN busybox sleep" in client.said(), "the build's first step runs")
    return client


def listens(daemon: Daemon, protocol: str, inside: Sequence[str] = ()) -> Client:
    """Start a client that only holds its connection, and wait until dockerd tells it something."""
    client = daemon.start_client("events", protocol=protocol, inside=inside)

    def is_told() -> bool:
        daemon.docker("volume", "rm", daemon.docker("volume", "create"))
        return "volume" in client.said()

    wait_until(is_told, "the client hears of events", interval=0.3)
    return client


# Another network namespace with the same files: a Pod that mounts the node's socket.
POD: Final = (command("unshare"), "--net")
Start = Callable[[Daemon, str, Sequence[str]], Client]


@pytest.mark.parametrize("start", [listens, builds], ids=["events", "build"])
@pytest.mark.parametrize(
    ("protocol", "inside"),
    [
        pytest.param("tcp", (), id="tcp"),
        pytest.param("unix", (), id="unix", marks=pytest.mark.tail),
        pytest.param("unix", POD, id="Pod"),
    ],
)
def test_a_new_certificate_waits_for_clients(
    daemon: Daemon, start: Start, protocol: str, inside: Sequence[str]
) -> None:
    """While one holds a connection dockerd stays; then it serves with the new certificate."""
    pair, before, pid = daemon.server(), daemon.serial(), daemon.pid()
    client = start(daemon, protocol, inside)
    daemon.put(files.NEXT, pair)
    ask_and_see_it_read(daemon)
    assert client.process.poll() is None, client.said()
    assert (pid, before) == (daemon.pid(), daemon.serial())
    assert daemon.is_asked()
    if start is builds:
        assert client.process.wait(60) == 0, client.said()
        assert "RUNS 42" in client.said()
    else:
        client.process.terminate()
        client.process.wait(20)
    serial = x509.load_pem_x509_certificate(pair.certificate).serial_number
    # Docker 20.10 forgets to close a connection of `docker exec`: that is left to Go's collector,
    # which runs every two minutes at the latest.
    wait_until(
        lambda: daemon.serial() == serial, "the new one is served", seconds=180, interval=0.3
    )
    daemon.wait_until_ready()
    assert daemon.docker("version", "--format={{.Server.Os}}", protocol="tcp") == "linux"
    assert not daemon.is_asked()
    assert not (daemon.shared / files.NEXT).is_symlink()


def ask_and_see_it_read(daemon: Daemon) -> None:
    """Ask for a restart when there are no clients; start.sh has decided twice when this returns.

    For these looks the request is a pipe each, and start.sh waits for what is written to it.
    """
    asked = daemon.shared / files.RESTART
    put_pipe(asked)
    for _ in range(2):
        reader = writing(asked)
        put_pipe(asked)  # for the next look: there is to be no second one at the same pipe
        os.write(reader, b"idle")
        os.close(reader)
    reader = writing(asked)
    files.ask(daemon.shared, "idle")
    os.write(reader, b"idle")
    os.close(reader)


def put_pipe(file: Path) -> None:
    """Put a new pipe in the place of whatever is there, in one step."""
    new = file.with_name(".pipe")
    os.mkfifo(new)
    new.replace(file)


def writing(pipe: Path) -> int:
    """Open it to write as soon as somebody reads it; where it is gone, dockerd is restarted."""
    opened: list[int] = []

    def is_read() -> bool:
        try:
            opened.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:  # which says that nobody does
                raise
        return bool(opened)

    wait_until(is_read, "start.sh reads the request")
    return opened[0]


def test_an_added_ca_waits_for_containers(daemon: Daemon) -> None:
    """The keeper asks for a restart only when none runs; then its clients are let in."""
    added, pid = new_ca("added"), daemon.pid()
    container = daemon.docker(*RUN, IMAGE, "sleep", "100000")
    daemon.publish(daemon.clients, added)
    with daemon.keeper("--prune-interval=1s", "--container-age=1s") as log:
        wait_until(lambda: "is to be restarted" in log.read_text(), "the keeper has noticed")
        wait_for_looks(daemon, log)
        assert (pid, False) == (daemon.pid(), daemon.is_asked())
        daemon.docker("rm", "--force", container)
        wait_until(lambda: daemon.pid() not in ("", pid), "it is another")
        daemon.wait_until_ready()
        wait_until(lambda: not daemon.is_asked(), "no restart is asked for")
        running = files.read(daemon.shared / files.TLS)
        assert running is not None
        assert {daemon.clients.certificate, added.certificate} == running.client_authorities
        again = daemon.pid()
        wait_for_looks(daemon, log)
        assert again == daemon.pid()
    said = [json.loads(line) for line in log.read_text().splitlines()]
    (asked,) = (line for line in said if line["event"] == "dockerd is to be restarted")
    assert ("idle", "there is another CA of clients") == (asked["when"], asked["why"])


def test_a_revoked_ca_is_gone_at_once(daemon: Daemon, running: str) -> None:
    """Whoever is connected; its clients are refused then, and a container that runs goes on."""
    new, before, pid = new_ca("new"), state(daemon, running), daemon.pid()
    client = listens(daemon, "tcp")
    daemon.publish(new)
    with daemon.keeper("--no-prune"):
        wait_until(lambda: daemon.pid() not in ("", pid), "it is another")
        daemon.wait_until_ready()
        assert client.process.wait(20) != 0, client.said()
        with pytest.raises(AssertionError, match=r"tls: (bad certificate|certificate required)"):
            daemon.docker("version", protocol="tcp")
        assert before == state(daemon, running)
        # And back, for the tests after this one.
        pid = daemon.pid()
        daemon.publish(daemon.clients)
        wait_until(lambda: daemon.pid() not in ("", pid), "it is the first again")
        daemon.wait_until_ready()
    daemon.docker("version", protocol="tcp")


def test_what_is_left_behind_goes(daemon: Daemon) -> None:
    """After their time, and nothing that is used or has a name of somebody's choice."""
    daemon.docker("volume", "create", "named")
    volume = ("--volume=/data", "--volume=named:/named")
    runs = daemon.docker(*RUN, *volume, IMAGE, "sleep", "100000")
    ended = daemon.docker(*RUN, *volume, IMAGE, "busybox", "true")
    created = daemon.docker("create", "--pull=never", "--network=none", IMAGE, "busybox", "true")
    other = "localhost/other:1"
    daemon.docker("import", str(daemon.directory / "image.tar"), other)
    before = set(daemon.docker("volume", "ls", "--quiet").split())
    with daemon.keeper(
        "--prune-interval=1s", "--container-age=4s", "--image-age=4s", "--no-tls"
    ) as log:
        wait_until(lambda: ended not in every(daemon), "the one that ended is gone")
        wait_until(lambda: created not in every(daemon), "the one that never ran is gone")
        wait_until(lambda: other not in images(daemon), "the unused image is gone")
        # All else is older than these, and so has been judged, too.
        later = wait_for_looks(daemon, log)
    assert [runs] == every(daemon)
    assert IMAGE in images(daemon)
    left = set(daemon.docker("volume", "ls", "--quiet").split())
    assert "named" in left
    assert len(before) - 1 == len(left)
    said = [json.loads(line) for line in log.read_text().splitlines()]
    removed = [line for line in said if line["event"] == "removed what finished Pods have left"]
    containers = [name for line in removed for name in line.get("containers", [])]
    assert sorted([ended[:12], created[:12], *later]) == sorted(containers)
    # And what the builds of other tests have left.
    assert other in [name for line in removed for name in line.get("images", [])]
    daemon.docker("rm", "--force", "--volumes", runs)


def test_a_restart_in_place(daemon: Daemon, running: str) -> None:
    """A container that runs goes on and can be used; dockerd is another process."""
    before, pid = state(daemon, running), daemon.pid()
    assert before.startswith("running ")
    (daemon.shared / files.RESTART).touch()
    wait_until(lambda: daemon.pid() not in ("", pid), "it is another")
    daemon.wait_until_ready()
    assert before == state(daemon, running)
    assert "alive" == daemon.docker("exec", running, "busybox", "echo", "alive")
    assert not daemon.is_asked()


def wait_for_looks(daemon: Daemon, log: Path) -> list[str]:
    """Wait until the keeper has looked after everything anew, twice; the containers by which this is seen.

    It removes a container that has ended in a look after the first that finds it, and looks after
    the certificate before.
    """
    ended = []
    for _ in range(2):
        ended.append(daemon.docker(*RUN, IMAGE, "busybox", "true")[:12])
        wait_until(lambda: ended[-1] in log.read_text(), "the keeper has removed it")
    return ended


def every(daemon: Daemon) -> list[str]:
    """All containers, running or not."""
    return daemon.docker("ps", "--all", "--quiet", "--no-trunc").split()


def images(daemon: Daemon) -> list[str]:
    """The names of all images."""
    return daemon.docker("images", "--format={{.Repository}}:{{.Tag}}").split()
