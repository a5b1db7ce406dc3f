"""webhook.serving.server over real TLS: what it answers, what it refuses, how it reloads and ends."""

from __future__ import annotations

import asyncio
import base64
import copy
import gzip
import io
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from certs.authority import Usage
from tests.conftest import DAY, Authority, StartServer, write
from tools.serving import admission_review
from webhook.admission import Outcome, review
from webhook.asking.config import Config
from webhook.asking.rules import RULES, Rule
from webhook.pods import bounds
from webhook.serving import listening
from webhook.serving.listening import ListenError
from webhook.serving.server import Server, Settings
from webhook.serving.tls import Files, ServingCertificate

POD: dict[str, Any] = {
    "metadata": {"name": "build", "namespace": "ci", "annotations": {"dinp.io/inject": "sidecar"}},
    "spec": {"containers": [{"name": "build", "image": "docker:29-cli"}]},
}
BODY = json.dumps(admission_review(POD)).encode()
JSON = {"Content-Type": "application/json"}
PATH = "/pods/annotated"


@asynccontextmanager
async def session(ca: Authority) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(ssl=ca.trusting())
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(30)
    ) as client:
        yield client
    await asyncio.sleep(0)


async def ask(
    server: Server,
    ca: Authority,
    *,
    method: str = "POST",
    path: str = PATH,
    data: Any = BODY,
    headers: dict[str, str] | None = None,
) -> tuple[int, str, dict[str, str]]:
    """One request on a connection of its own: status, text and headers of the answer."""
    async with (
        session(ca) as client,
        client.request(
            method,
            f"https://localhost:{server.port}{path}",
            data=io.BytesIO(data) if isinstance(data, bytes) else data,
            headers=JSON if headers is None else headers,
            allow_redirects=False,
            skip_auto_headers=["Content-Type"],
        ) as response,
    ):
        return response.status, await response.text(), dict(response.headers)


async def health(server: Server, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{server.health_port}{path}") as response,
    ):
        return response.status, await response.text()


async def raw(server: Server, ca: Authority) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=ca.trusting(), server_hostname="localhost"
    )


def head(length: int | None, path: str = PATH, **headers: str) -> bytes:
    """The head of a POST; `length` None means chunked."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [f"POST {path} HTTP/1.1", "Host: dinp", "Content-Type: application/json", framing]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one HTTP response."""
    async with asyncio.timeout(20):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(lines[0].split()[1]), headers, body


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the other side of a socket does."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing here could set an event
            await asyncio.sleep(0.01)


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server ends the connection."""
    try:
        async with asyncio.timeout(20):
            return await reader.read() == b""
    except ConnectionError:
        return True


# ---- what it answers -----------------------------------------------------------------------


@pytest.mark.parametrize("path", RULES)
async def test_every_rule_has_its_path(path: str, start_server: StartServer, ca: Authority) -> None:
    """Each rule is reviewed at its path, with the API server's ?timeout= behind it."""
    status, text, headers = await ask(await start_server(), ca, path=f"{path}?timeout=5s")
    response = json.loads(text)["response"]
    operations = json.loads(base64.b64decode(response["patch"]))

    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    assert response["uid"] == json.loads(BODY)["request"]["uid"]
    assert response["auditAnnotations"]["rule"] == path.removeprefix("/pods/")
    assert any("dind" in json.dumps(operation) for operation in operations)


async def test_denial_is_200(start_server: StartServer, ca: Authority) -> None:
    """A refused Pod is HTTP 200 with allowed false and code 403."""
    pod = {**POD, "metadata": {"annotations": {"dinp.io/inject": "sidecart"}}}
    data = json.dumps(admission_review(pod))
    status, text, _ = await ask(await start_server(), ca, data=data)
    response = json.loads(text)["response"]

    assert status == 200
    assert not response["allowed"]
    assert response["status"]["code"] == 403


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;x=y",
        " application/json ;",
    ],
)
async def test_media_types(media_type: str, start_server: StartServer, ca: Authority) -> None:
    """application/json is taken in any case and with parameters."""
    status, _, _ = await ask(await start_server(), ca, headers={"Content-Type": media_type})

    assert status == 200


@pytest.mark.parametrize("text", ["identity", " Identity"])
async def test_identity_encoding(text: str, start_server: StartServer, ca: Authority) -> None:
    """A body that says it is not compressed is taken."""
    status, _, _ = await ask(await start_server(), ca, headers={**JSON, "Content-Encoding": text})

    assert status == 200


async def test_largest_body(start_server: StartServer, ca: Authority) -> None:
    """A body of exactly 8 MiB is reviewed."""
    status, _, _ = await ask(await start_server(), ca, data=BODY.ljust(bounds.BODY))

    assert status == 200


async def test_expect_continue(start_server: StartServer, ca: Authority) -> None:
    """A client that asks before it sends its body is told to go on."""
    reader, writer = await raw(await start_server(), ca)
    writer.write(head(len(BODY), Expect="100-continue"))
    assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
    writer.write(BODY)

    assert (await answer(reader))[0] == 200
    writer.close()


async def test_log_line(start_server: StartServer, ca: Authority) -> None:
    """A review is logged in one line that holds nothing of the Pod but its names."""
    server = await start_server()
    with capture_logs() as lines:
        await ask(server, ca)
    line = lines[0]

    assert len(lines) == 1
    assert (line["event"], line["namespace"], line["name"]) == ("review", "ci", "build")
    assert (line["rule"], line["outcome"], line["reason"]) == ("annotated", "mutated", "injected")
    assert "docker:29-cli" not in str(line)


AUDITED = """
import json, sys
from tests import golden_cases
from tools.serving import admission_review
from webhook import admission

def watch(event, _):
    if watching and event != "builtins.id":
        events.add(event)

cases = list(golden_cases.all_cases())
bodies = [json.dumps(admission_review(case.pod)).encode() for case in cases]
events, watching = set(), False
sys.addaudithook(watch)
for watching in (False, True):  # what is loaded at the first use is loaded then
    for case, body in zip(cases, bodies, strict=True):
        admission.review(body, case.rule, case.config)
watching = False
print(len(bodies), sorted(events))
"""


def test_a_review_reaches_nothing() -> None:
    """Whatever a Pod says, its review opens no file or connection, and runs and compiles nothing."""
    # In a process of its own, as an audit hook cannot be taken out again.
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", AUDITED],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    reviews, events = done.stdout.split(maxsplit=1)

    assert done.returncode == 0, done.stderr
    assert int(reviews) > 100
    assert events == "[]\n"


def calls_for(managed: int) -> int:
    """How many calls of functions one review takes, of a Pod with so many managedFields."""
    pod = copy.deepcopy(POD)
    pod["metadata"]["managedFields"] = [{"manager": "x", "fieldsV1": {}}] * managed
    body = json.dumps(admission_review(pod)).encode()
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        outcome = review(body, RULES[PATH], Config())
    finally:
        sys.setprofile(None)
    assert outcome.outcome == "mutated"
    return calls


def test_managed_fields_are_no_work() -> None:
    """However many there are: nothing of them is decoded (test_linear.py has what is read)."""
    calls_for(0)  # what is loaded at the first use is loaded
    assert calls_for(20_000) < calls_for(0) + 100


# ---- what it refuses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"method": "GET", "data": None}, 405),
        ({"method": "PUT"}, 405),
        ({"method": "OPTIONS", "data": None}, 405),
        ({"path": "/"}, 404),
        ({"path": "/pods"}, 404),
        ({"path": "/pods/annotated/"}, 404),
        ({"path": "//pods/annotated"}, 404),
        ({"path": "/pods/annotated/../annotated/x"}, 404),
        ({"path": "/pods/inject/sidecart"}, 404),
        ({"path": "/pods/inject/daemonset/shared"}, 404),
        ({"path": "/metrics", "method": "GET", "data": None}, 404),
        ({"headers": {}}, 415),
        ({"headers": {"Content-Type": "text/plain"}}, 415),
        ({"headers": {"Content-Type": "application/yaml"}}, 415),
        ({"headers": {"Content-Type": "application/jsonx"}}, 415),
        ({"headers": {**JSON, "Content-Encoding": "br"}}, 415),
        ({"headers": {**JSON, "Content-Encoding": "identity, gzip"}}, 415),
        ({"data": b" " * (bounds.BODY + 1)}, 413),
    ],
)
async def test_refused(
    asked: dict[str, Any], expected: int, start_server: StartServer, ca: Authority
) -> None:
    """Other methods, paths, types and sizes get their status with a sentence, and no redirect."""
    server = await start_server()
    status, text, headers = await ask(server, ca, **asked)

    assert status == expected
    assert text.strip()
    assert "Location" not in headers
    assert ("Allow" in headers) is (expected == 405)
    assert (
        f'dinp_bad_requests_total{{code="{expected}"}} 1.0' in (await health(server, "/metrics"))[1]
    )


def altered(**fields: Any) -> bytes:
    """An AdmissionReview whose request differs in `fields`."""
    review = admission_review(POD)
    return json.dumps({**review, "request": {**review["request"], **fields}}).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not an AdmissionReview"),
        (b"\xff\xfe\x00", "not an AdmissionReview"),
        (b"spec: {}", "not an AdmissionReview"),
        (b"[" * 100_000 + b"]" * 100_000, "not an AdmissionReview"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not an AdmissionReview"),
        (b"[]", "`object`"),
        (b"{}", "apiVersion"),
        (BODY.replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"), "$.apiVersion"),
        (b'{"apiVersion": "v1", "kind": "Pod"}', "$.apiVersion"),
        (json.dumps({**admission_review(POD), "request": None}).encode(), "$.request"),
        (altered(object=None), "$.request.object"),
        (altered(object=[]), "$.request.object"),
        (altered(object={"kind": "Job"}), "$.request.object.kind"),
        (altered(kind={"group": "batch", "version": "v1", "kind": "Job"}), "$.request.kind"),
        (altered(uid=1), "$.request.uid"),
    ],
)
async def test_bad_body(
    data: bytes, expected: str, start_server: StartServer, ca: Authority
) -> None:
    """What is no AdmissionReview of a Pod is 400 with a sentence that says where."""
    status, text, _ = await ask(await start_server(), ca, data=data)

    assert status == 400
    assert expected in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "spec",
    [
        None,
        [],
        {"containers": None},
        {"containers": {}},
        {"containers": [None]},
        {"containers": [{"name": "a", "env": {}}]},
        {"containers": [{"name": "a", "volumeMounts": "x"}]},
        {"containers": [{"name": "a"}], "volumes": 1},
    ],
)
async def test_invalid_pod(spec: Any, start_server: StartServer, ca: Authority) -> None:
    """A Pod that the API server refuses anyway is admitted unchanged, never a 500."""
    data = json.dumps(admission_review({**POD, "spec": spec}))
    status, text, _ = await ask(await start_server(), ca, data=data)
    response = json.loads(text)["response"]

    assert (status, response["allowed"]) == (200, True)
    assert "patch" not in response


async def test_bug_is_500(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours is a 500 with its traceback in the log, not a denial, and the server goes on."""

    def review(*_: object) -> None:
        raise KeyError("a bug")

    server = await start_server()
    with monkeypatch.context() as patched, capture_logs() as lines:
        patched.setattr("webhook.serving.server.review", review)
        status, text, _ = await ask(server, ca)

    assert status == 500
    assert "a bug" not in text
    assert lines[0]["exc_info"]
    assert (await ask(server, ca))[0] == 200


async def test_long_sentence_is_cut(start_server: StartServer, ca: Authority) -> None:
    """A refusal does not echo a megabyte."""
    kind = {"group": "", "version": "v1", "kind": "x" * 1_000_000}
    status, text, _ = await ask(await start_server(), ca, data=altered(kind=kind))

    assert status == 400
    assert len(text) < 1100


async def chunked(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * size


async def test_chunked_over_the_limit(start_server: StartServer, ca: Authority) -> None:
    """A chunked body is refused when it passes 8 MiB, and the connection closed, not read to its end."""
    reader, writer = await raw(await start_server(), ca)
    writer.write(head(None))
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    for _ in range(9):
        writer.write(chunk)
        await writer.drain()
    status, headers, _ = await answer(reader)

    assert status == 413
    assert headers["connection"] == "close"
    assert await closed(reader)
    writer.close()


async def test_declared_over_the_limit(start_server: StartServer, ca: Authority) -> None:
    """A declared length over 8 MiB is refused before a byte of the body is sent."""
    reader, writer = await raw(await start_server(), ca)
    writer.write(head(bounds.BODY + 1))
    status, headers, _ = await answer(reader)

    assert status == 413
    assert headers["connection"] == "close"
    assert await closed(reader)
    writer.close()


async def test_gzip_is_refused_unread(start_server: StartServer, ca: Authority) -> None:
    """A gzip bomb is refused by its header, and is never inflated."""
    bomb = gzip.compress(b" " * 64 * 1024 * 1024)
    status, text, _ = await ask(
        await start_server(), ca, data=bomb, headers={**JSON, "Content-Encoding": "gzip"}
    )

    assert status == 415
    assert "gzip" in text


async def test_odd_bytes_in_headers(start_server: StartServer, ca: Authority) -> None:
    """A media type that is not text is refused as any other, not an error of ours."""
    reader, writer = await raw(await start_server(), ca)
    writer.write(
        b"POST /pods/annotated HTTP/1.1\r\nHost: a\r\nContent-Type: \xff\r\nContent-Length: 2\r\n\r\n{}"
    )

    assert (await answer(reader))[0] == 415
    writer.close()


async def test_slow_body(start_server: StartServer, ca: Authority) -> None:
    """A body that does not arrive in time is 408, and the connection is closed."""
    reader, writer = await raw(await start_server(exchange=0.1), ca)
    writer.write(head(len(BODY)) + BODY[:10])
    status, headers, _ = await answer(reader)

    assert status == 408
    assert headers["connection"] == "close"
    assert await closed(reader)
    writer.close()


async def rest(reader: asyncio.StreamReader) -> int:
    """How much more there is to read, until an end or an error."""
    taken = 0
    with suppress(OSError):
        while chunk := await reader.read(1 << 16):
            taken += len(chunk)
    return taken


async def test_answer_that_is_not_read(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not take its answer loses its connection, and the server goes on."""
    server = await start_server(exchange=0.5)

    def reviewing(body: bytes, rule: Rule, config: Config) -> Outcome:
        return msgspec.structs.replace(review(body, rule, config), body=b" " * bounds.UNSENT)

    monkeypatch.setattr("webhook.serving.server.review", reviewing)
    near = socket.socket()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # else the kernel takes it all
    near.connect(("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(
        sock=near, ssl=ca.trusting(), server_hostname="localhost", limit=1024
    )
    writer.write(head(len(BODY)) + BODY)
    await until(lambda: bool(server._secure.connections.sending))
    async with asyncio.timeout(20):
        await server._secure.connections.idle.wait()
    taken = await rest(reader)

    assert 0 < taken < bounds.UNSENT
    assert server._secure.connections.unsent == 0
    monkeypatch.undo()
    assert (await ask(server, ca))[0] == 200
    writer.close()


@pytest.mark.parametrize(
    "text",
    [
        b"GET\r\n\r\n",
        b"\x16\x03\x01",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\r\n" * 9,
    ],
)
async def test_malformed_http(text: bytes, start_server: StartServer, ca: Authority) -> None:
    """What is not HTTP gets 400 or silence, and the server goes on."""
    server = await start_server()
    reader, writer = await raw(server, ca)
    writer.write(text)
    writer.write(b"\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), 20) if text.strip() else b""

    assert not line or b" 400 " in line
    assert (await ask(server, ca))[0] == 200
    writer.close()


async def test_malformed_chunks(start_server: StartServer, ca: Authority) -> None:
    """A body whose chunks are malformed ends when its time is over: aiohttp's C parser is silent."""
    server = await start_server(exchange=0.3)
    reader, writer = await raw(server, ca)
    with capture_logs() as lines:
        writer.write(head(None) + b"2\r\n{}\r\n")
        await until(lambda: bool(server._secure.connections.busy))
        writer.write(b"zz\r\n\r\n")
        status, _, _ = await answer(reader)

    assert status == 408
    assert [line["log_level"] for line in lines] == ["warning"]
    writer.close()


async def test_client_that_leaves(start_server: StartServer, ca: Authority) -> None:
    """A client that goes away in the middle of its body leaves nothing behind but a line in the log."""
    server = await start_server()
    with capture_logs() as lines:
        _, writer = await raw(server, ca)
        writer.write(head(len(BODY)) + BODY[:10])
        await until(lambda: bool(server._secure.connections.busy))
        writer.transport.abort()
        async with asyncio.timeout(20):
            await server._secure.connections.idle.wait()

    assert [line["code"] for line in lines] == [499]
    assert server._secure.connections.held == 0


async def test_stalled_bodies(start_server: StartServer, ca: Authority) -> None:
    """Of large bodies that stall, the one that came first makes room, and says so; others pass."""
    server = await start_server(exchange=60)
    part = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    stalled = [await raw(server, ca) for _ in range(bounds.HELD // bounds.MIB + 2)]
    for _, writer in stalled:
        writer.write(head(None) + part)
        await writer.drain()
    statuses = [(await answer(reader))[0] for reader, _ in stalled[:2]]

    assert statuses == [503, 503]
    assert server._secure.connections.held <= bounds.HELD
    assert (await ask(server, ca))[0] == 200
    assert (await ask(server, ca, data=BODY.ljust(bounds.SMALL_BODY + 1)))[0] == 200
    for _, writer in stalled:
        writer.transport.abort()
    async with asyncio.timeout(20):
        await server._secure.connections.idle.wait()
    assert server._secure.connections.held == 0


async def test_longest_idle_makes_room(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is no room, the connection that has been idle for longest goes: used or not."""
    monkeypatch.setattr(bounds, "CONNECTIONS", 3)
    server = await start_server()
    never_used, used, again = [await raw(server, ca) for _ in range(3)]
    for reader, writer in (used, again, used):
        writer.write(head(len(BODY)) + BODY)
        assert (await answer(reader))[0] == 200
    newer = []
    for gone in (never_used, again):
        newer.append(await raw(server, ca))
        assert await closed(gone[0])
    for reader, writer in (used, *newer):
        writer.write(head(len(BODY)) + BODY)
        assert (await answer(reader))[0] == 200

    metrics = (await health(server, "/metrics"))[1]
    assert 'dinp_dropped_connections_total{port="https",why="no room"} 2.0' in metrics
    for _, writer in (never_used, used, again, *newer):
        writer.close()


async def test_a_request_in_flight_keeps_its_connection(
    start_server: StartServer, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has a request in flight stays, and those that come then wait until there is room."""
    monkeypatch.setattr(bounds, "CONNECTIONS", 2)
    server = await start_server(exchange=60)
    flying = [await raw(server, ca) for _ in range(2)]
    for _, writer in flying:
        writer.write(head(len(BODY)) + BODY[:10])
    await until(lambda: len(server._secure.connections.busy) == 2)
    waiting = asyncio.create_task(ask(server, ca))
    for reader, writer in flying:
        writer.write(BODY[10:])
        assert (await answer(reader))[0] == 200

    assert (await waiting)[0] == 200
    for _, writer in flying:
        writer.close()


# ---- certificates --------------------------------------------------------------------------


async def served_serial(server: Server, ca: Authority) -> str:
    _, writer = await raw(server, ca)
    certificate = writer.get_extra_info("peercert")
    writer.close()
    return str(certificate["serialNumber"])


async def logged(lines: list[Any], event: str) -> dict[str, Any]:
    """Wait for a line of the log."""
    async with asyncio.timeout(20):
        while True:
            for line in lines:
                if line["event"].startswith(event):
                    return dict(line)
            await asyncio.sleep(0.01)


async def test_reload(start_server: StartServer, ca: Authority, tmp_path: Path) -> None:
    """A changed certificate is served without a restart; open connections go on; its end is a metric."""
    server = await start_server(poll=0.02)
    old = await served_serial(server, ca)
    async with session(ca) as client:
        url = f"https://localhost:{server.port}{PATH}"
        async with client.post(url, data=BODY, headers=JSON) as response:
            assert response.status == 200
        with capture_logs() as lines:
            write(tmp_path, ca.issue(lifetime=2 * DAY))
            await logged(lines, "certificate reloaded")
        async with client.post(url, data=BODY, headers=JSON) as response:
            assert response.status == 200
            assert "Connection" not in response.headers
    metrics = (await health(server, "/metrics"))[1]
    end = float(metrics.split("\ndinp_certificate_not_after_seconds ")[1].split("\n")[0])

    assert await served_serial(server, ca) != old
    assert abs(end - (ca.now + 2 * DAY).timestamp()) < 2


async def test_bad_pair_keeps_the_old(
    start_server: StartServer, files: Files, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key of another certificate is logged once, and the old pair goes on being served."""
    polls = 0

    def reload(certificate: ServingCertificate, now: datetime) -> bool:
        nonlocal polls
        polls += 1
        return _reload(certificate, now)

    _reload = ServingCertificate.reload
    monkeypatch.setattr(ServingCertificate, "reload", reload)
    server = await start_server(poll=0.02)
    old = await served_serial(server, ca)
    with capture_logs() as lines:
        files.key.write_bytes(ca.issue().key)
        line = await logged(lines, "certificate refused")
        refused = polls
        await until(lambda: polls >= refused + 5)  # each finds the bad pair again

    assert "key of another certificate" in line["why"]
    assert len(lines) == 1
    assert await served_serial(server, ca) == old
    assert (await ask(server, ca))[0] == 200
    assert (await health(server, "/readyz"))[0] == 200


async def test_poll_survives_a_bug(
    start_server: StartServer, files: Files, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error of one poll is logged, and the next poll loads the certificate."""
    await start_server(poll=0.02)
    with capture_logs() as lines:
        with monkeypatch.context() as patched:
            patched.setattr("webhook.serving.tls._signature", lambda _: 1 / 0)
            await logged(lines, "certificate not reloaded")
        write(files.certificate.parent, ca.issue())
        await logged(lines, "certificate reloaded")


async def test_client_ca(
    start_server: StartServer, files: Files, ca: Authority, tmp_path: Path
) -> None:
    """With a client CA a client without its certificate is not served; health needs none."""
    clients = Authority("clients")
    (tmp_path / "ca.crt").write_bytes(clients.pair.certificate)
    server = await start_server(files=files._replace(client_ca=tmp_path / "ca.crt"))
    context = ca.trusting(clients.issue(Usage.CLIENT), tmp_path)
    connector = aiohttp.TCPConnector(ssl=context)
    url = f"https://localhost:{server.port}{PATH}"
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.post(url, data=BODY, headers=JSON) as response,
    ):
        assert response.status == 200
    with pytest.raises(aiohttp.ClientError):
        await ask(server, ca)

    assert (await health(server, "/readyz"))[0] == 200


# ---- health and draining -------------------------------------------------------------------


async def test_health(start_server: StartServer) -> None:
    """A server with a valid certificate is alive and ready, and shows its metrics."""
    server = await start_server()

    assert await health(server, "/healthz") == (200, "ok\n")
    assert await health(server, "/readyz") == (200, "ok\n")
    assert (await health(server, "/metrics"))[0] == 200
    assert (await health(server, "/pods/annotated"))[0] == 404


async def test_not_ready_before_it_serves(
    files: Files, ca: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing says that it is ready until its reviews are served by TLS, however long that takes."""
    certificate = ServingCertificate(files, now=datetime.now(UTC))
    server = Server(Config(), certificate, Settings("127.0.0.1", secure_port=0, health_port=0))
    opening, may_open, open_ = asyncio.Event(), asyncio.Event(), server._secure.open

    async def open_late(application: web.Application, context: ssl.SSLContext) -> None:
        opening.set()
        await may_open.wait()
        await open_(application, context)

    monkeypatch.setattr(server._secure, "open", open_late)
    starting = asyncio.create_task(server.start())
    try:
        await opening.wait()
        with pytest.raises((aiohttp.ClientConnectorError, TimeoutError)):
            await asyncio.wait_for(health(server, "/readyz"), 0.5)
        may_open.set()
        await starting
        assert (await health(server, "/readyz"))[0] == 200
        assert (await ask(server, ca))[0] == 200
    finally:
        starting.cancel()
        await server.close()


@pytest.mark.parametrize(("days", "why"), [(-2, "not valid before"), (2, "expired on")])
async def test_not_ready_outside_validity(days: int, why: str, start_server: StartServer) -> None:
    """Before and after its certificate's time the server is alive, not ready, and says why."""
    server = await start_server(now=lambda: datetime.now(UTC) + days * DAY)
    status, text = await health(server, "/readyz")

    assert status == 503
    assert why in text
    assert (await health(server, "/healthz"))[0] == 200


async def test_draining(start_server: StartServer, ca: Authority) -> None:
    """While draining it is not ready at once, still serves, and asks each client to reconnect."""
    server = await start_server(shutdown_delay=60)
    hurry = asyncio.Event()
    draining = asyncio.create_task(server.drain(hurry))
    await asyncio.sleep(0)

    assert await health(server, "/readyz") == (503, "draining\n")
    assert (await health(server, "/healthz"))[0] == 200
    status, _, headers = await ask(server, ca)
    assert (status, headers["Connection"]) == (200, "close")
    hurry.set()
    async with asyncio.timeout(20):
        await draining
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(server, ca)


async def test_draining_finishes_what_is_in_flight(
    start_server: StartServer, ca: Authority
) -> None:
    """A request whose body is still arriving when the port closes is answered; idle ones are closed."""
    server = await start_server(shutdown_delay=0)
    idle_reader, idle = await raw(server, ca)
    idle.write(head(len(BODY)) + BODY)
    assert (await answer(idle_reader))[0] == 200
    reader, writer = await raw(server, ca)
    writer.write(head(len(BODY)) + BODY[:10])
    await until(lambda: bool(server._secure.connections.busy))
    draining = asyncio.create_task(server.drain())
    assert await closed(idle_reader)
    writer.write(BODY[10:])
    status, headers, body = await answer(reader)

    assert (status, headers["connection"]) == (200, "close")
    assert json.loads(body)["response"]["allowed"]
    async with asyncio.timeout(20):
        await draining
    idle.close()
    writer.close()


async def test_draining_answers_what_has_just_arrived(
    start_server: StartServer, ca: Authority
) -> None:
    """A request that the kernel has when the port closes, and the server has not read, is answered."""
    server = await start_server(shutdown_delay=20)
    clients = [await raw(server, ca) for _ in range(8)]
    for reader, writer in clients:  # each has been used, as those of an API server's pool
        writer.write(head(len(BODY)) + BODY)
        assert (await answer(reader))[0] == 200

    class Hurry(asyncio.Event):
        async def wait(self) -> Literal[True]:
            for _, writer in clients:
                writer.write(head(len(BODY)) + BODY)
            return True

    async with asyncio.timeout(20):
        await server.drain(Hurry())

    for reader, writer in clients:
        status, headers, _ = await answer(reader)
        assert (status, headers["connection"]) == (200, "close")
        writer.close()


async def test_draining_has_an_end(start_server: StartServer, ca: Authority) -> None:
    """A request that never ends does not keep the server from ending."""
    server = await start_server(shutdown_delay=0, shutdown_timeout=0.1, exchange=60)
    reader, writer = await raw(server, ca)
    writer.write(head(len(BODY)) + BODY[:10])
    await until(lambda: bool(server._secure.connections.busy))
    async with asyncio.timeout(20):
        await server.drain()

    assert await closed(reader)
    writer.close()


# ---- ports ---------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["secure_port", "health_port"])
async def test_port_in_use(taken: str, start_server: StartServer, files: Files) -> None:
    """A taken port is an error that names it, before anything is served."""
    number = (await start_server()).port
    certificate = ServingCertificate(files, now=datetime.now(UTC))
    ports: dict[str, Any] = {"secure_port": 0, "health_port": 0, taken: number}

    with pytest.raises(ListenError, match=f"^127.0.0.1:{number}: Address already in use$"):
        Server(Config(), certificate, Settings("127.0.0.1", **ports))


async def test_never_started(files: Files) -> None:
    """A server that has never been started gives its ports back."""
    certificate = ServingCertificate(files, now=datetime.now(UTC))
    server = Server(Config(), certificate, Settings("127.0.0.1", secure_port=0, health_port=0))
    await server.close()

    with listening.bind("127.0.0.1", server.port), listening.bind("127.0.0.1", server.health_port):
        pass


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1:0: Cannot assign requested address"),
        ("2001:db8::1", "[2001:db8::1]:0: "),
        ("256.256.256.256", "256.256.256.256:0: Name or service not known"),
    ],
)
def test_bad_address(address: str, expected: str) -> None:
    """An address that is not of this machine is an error that names it."""
    with pytest.raises(ListenError) as caught:
        listening.bind(address, 0)

    assert str(caught.value).startswith(expected)
    assert "(" not in str(caught.value)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", ""])  # noqa: S104 - that is the point
@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
async def test_every_interface(address: str, client: str) -> None:
    """An unspecified address listens on every interface, IPv4 and IPv6."""
    with listening.bind(address, 0) as listener:
        listener.setblocking(False)
        _, writer = await asyncio.open_connection(client, listener.getsockname()[1])
        writer.close()


def test_ipv4_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no IPv6, an unspecified address means every IPv4 interface."""
    monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    with listening.bind("0.0.0.0", 0) as listener:  # noqa: S104 - that is the point
        assert listener.getsockname()[0] == "0.0.0.0"  # noqa: S104
