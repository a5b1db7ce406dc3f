"""Keep right what shared daemons and their clients go by: one pass, and the loop around it.

A pass reads, decides and writes; of what was read before it knows only what need not be read again
(memory.Memory). What another replica has written since is a conflict, and the next pass reads
again. What fails for one namespace or one request is told and tried again, and keeps nobody else
from what is theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog

from certs import inspection, passes
from certs.authority import KeyPair
from certs.errors import ConflictError, Reason, StoreError, TooLargeError
from certs.passes import Clock, Kind, Observer, Passed
from certs.records import Authorities
from certs.shared import authorities, clients, memory, requests
from certs.shared.memory import Answered, Failed, Memory, Right, Wrong
from certs.shared.names import Which
from certs.shared.policy import CLIENT_CA, SERVER_CA, Policy
from certs.shared.requests import Approval, Denial, Object, Requester
from certs.shared.store import ClientSecret, Store, Watched

_WATCHED: Final[tuple[Watched, ...]] = ("namespaces", "secrets", "requests", "server", "client")
_KINDS: Final = (Kind.SERVER_CA, Kind.CLIENT_CA, Kind.CLIENT)
_SOON: Final = timedelta(seconds=2)
_LATER: Final = timedelta(seconds=30)


class Rotation:
    """One process that keeps the certificates of shared daemons right."""

    def __init__(self, store: Store, policy: Policy, clock: Clock | None = None) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock or Clock()
        self._memory = Memory()
        self._log = structlog.get_logger()
        self._failed = self._told = frozenset[str]()

    async def run_pass(self) -> Passed:
        """Make everything right that can be made right now.

        Raises:
            StoreError: the API server is away, or refuses what everything else needs.
        """
        pass_ = _Pass(self._store, self._policy, self._clock.now(), self._memory, self._failed)
        passed = await pass_.run()
        # What fails once may be a label that the API server does not know of everywhere yet.
        again = pass_.failures.keys() & self._failed
        for failure in sorted(again - self._told):
            self._log.warning("not done, and tried again", error=failure)
        self._failed, self._told = frozenset(pass_.failures), frozenset(again)
        return passed


def loop(store: Store, policy: Policy, observer: Observer | None = None) -> passes.Loop:
    """Passes for ever: whenever an object changes, something is due, or a minute is over."""
    watches = [partial(store.watch, what) for what in _WATCHED]
    run_pass = Rotation(store, policy).run_pass
    return passes.Loop(run_pass, watches, "shared daemons' certificates", observer=observer)


class _Pass:
    """One pass, at one time. `failed` are the failures of the pass before."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        now: datetime,
        memory: Memory,
        failed: frozenset[str],
    ) -> None:
        self._store = store
        self._policy = policy
        self._now = now
        self._memory = memory
        self._failed = failed
        self._log = structlog.get_logger()
        self._writes = self._bugs = 0
        self._waits: list[timedelta] = []
        self._ends: dict[Kind, list[datetime]] = {kind: [] for kind in _KINDS}
        self.failures: dict[str, Reason] = {}

    async def run(self) -> Passed:
        server = await self._authorities("server")
        client = await self._authorities("client")
        bundles = {
            "client-ca.pem": authorities.bundle(client),
            "server-ca.pem": authorities.bundle(server),
        }
        # Before anything is signed by them.
        await self._alone(self._publish(bundles))
        if server.signing is not None:
            await self._alone(self._requests(server.signing))
        if client.signing is not None:
            servers = bundles["server-ca.pem"]
            signing = clients.Authorities(client.signing, servers, client.certificates)
            await self._alone(self._clients(signing))
        failures = [*self.failures.values(), *[Reason.BUG] * self._bugs]
        return Passed(self._writes, min(self._waits), self._ends, failures)

    async def _alone(self, work: Awaitable[None]) -> None:
        """Do something whose failure concerns nothing else."""
        try:
            await work
        except ConflictError:
            self._waits.append(timedelta())
        except StoreError as error:
            self._fail(error)
            self._waits.append(_LATER if str(error) in self._failed else _SOON)
        except Exception:  # noqa: BLE001 - tenants write what is read here: no one of them may end the process
            self._log.exception("a bug of dinp's: not done, and tried again")
            self._bugs += 1
            self._waits.append(_LATER)

    def _fail(self, error: StoreError) -> None:
        self.failures[str(error)] = error.reason

    async def _authorities(self, which: Which) -> Authorities:
        known, version = await self._store.read_authorities(which)
        is_server = which == "server"
        schedule = self._policy.server_ca if is_server else self._policy.client_ca
        issue = partial(self._policy.issue_ca, SERVER_CA if is_server else CLIENT_CA, self._now)
        wanted = authorities.advanced(known, schedule, self._now, issue)
        if wanted != known:
            await self._store.write_authorities(which, wanted, version)
            self._writes += 1
            self._log.info("rotated a CA of shared daemons", of=which, cas=len(wanted.certificates))
        self._waits.append(authorities.next_due(wanted, schedule, self._now))
        if wanted.signing is not None:
            kind = Kind.SERVER_CA if is_server else Kind.CLIENT_CA
            self._ends[kind].append(inspection.ends_at(wanted.signing.certificate))
        return wanted

    async def _publish(self, bundles: dict[str, bytes]) -> None:
        if await self._store.publish(bundles):
            self._writes += 1
            self._log.info("published the CAs of shared daemons")

    async def _requests(self, ca: KeyPair) -> None:
        there = await self._store.requests()
        self._memory.begin_requests(there)
        for name, version in there.items():
            known = self._memory.requests.get(name)
            if isinstance(known, Failed):
                self._fail(known.error)
            elif known is None:
                await self._alone(self._request(name, version, ca))

    async def _request(self, name: str, version: str, ca: KeyPair) -> None:
        try:
            request = await self._store.request(name)
        except TooLargeError as error:
            self._memory.requests[name] = Failed(version, error)
            raise
        if request is None:
            return
        if requests.state(request) is requests.State.ANSWERED:
            self._memory.requests[name] = Answered(version)
            return
        verdict = await self._judge(request)
        if isinstance(verdict, Denial):
            await self._refuse(request, verdict)
        else:
            await self._sign(request, verdict, ca)

    async def _refuse(self, request: Object, denial: Denial) -> None:
        kind = "Denied" if requests.state(request) is requests.State.PENDING else "Failed"
        refused = requests.with_condition(request, kind, denial.reason.value, denial.message)
        write = self._store.decide if kind == "Denied" else self._store.answer
        await write(refused)
        self._log.warning(
            "denied a server certificate",
            **_about(request),
            reason=denial.reason.value,
            message=denial.message,
        )

    async def _sign(self, request: Object, approval: Approval, ca: KeyPair) -> None:
        if requests.state(request) is requests.State.PENDING:
            message = f"Pod {approval.pod} may have {', '.join(approval.names)}"
            approved = requests.with_condition(request, "Approved", "SharedDaemon", message)
            request = await self._store.decide(approved)
        wanted = requests.wanted_lifetime(request)
        certificate = self._policy.sign_server(ca, approval, wanted, self._now)
        await self._store.answer(requests.with_certificate(request, certificate))
        names = list(approval.names)
        self._log.info("signed a server certificate", **_about(request), names=names)

    async def _judge(self, request: Object) -> Approval | Denial:
        sender = requests.requester(request, self._policy.daemons)
        if not isinstance(sender, Requester):
            return sender
        pod, node = await self._store.pod(sender.pod), await self._store.node(sender.node)
        return requests.judge(request, sender, pod, node, self._policy.daemons)

    async def _clients(self, signing: clients.Authorities) -> None:
        # In this order: what another replica has written for a new label is not taken for a leftover.
        there = await self._store.client_secrets()
        allowed, ending = set[str](), set[str]()
        async for namespace in self._store.namespaces():
            if namespace.is_ending:
                ending.add(namespace.name)  # it gets nothing new, and loses all
            elif clients.is_allowed(namespace.labels):
                allowed.add(namespace.name)
        self._memory.begin_clients(signing, allowed)
        for name in sorted(allowed):
            await self._alone(self._client(name, there.get(name), signing))
        for name in sorted(there.keys() - allowed - ending):
            if there[name].is_ours:
                await self._alone(self._remove(name))

    async def _client(
        self, namespace: str, there: ClientSecret | None, signing: clients.Authorities
    ) -> None:
        known = self._memory.client(namespace, None if there is None else there.version)
        if isinstance(known, Failed):
            self._fail(known.error)
            return
        if known is None or not known.holds(self._now):
            known = await self._renewed(namespace, there, signing)
        self._memory.clients[namespace] = known
        if isinstance(known, Failed):
            raise known.error
        self._waits.append(known.due - self._now)
        self._ends[Kind.CLIENT].append(known.ends)

    async def _renewed(
        self, namespace: str, there: ClientSecret | None, signing: clients.Authorities
    ) -> Right | Failed:
        """Read what is there, and write another one where that is not right."""
        judged = await self._judged(namespace, there, signing)
        if not isinstance(judged, Wrong):
            return judged
        pair = self._policy.issue_client(signing.client, namespace, self._now)
        data = clients.data(pair, signing)
        written = await self._store.write_client(namespace, data, judged.version)
        self._writes += 1
        self._log.info("issued a client certificate", namespace=namespace, why=judged.why)
        return memory.right(pair.certificate, written, self._policy.client_lifetime)

    async def _judged(
        self, namespace: str, there: ClientSecret | None, signing: clients.Authorities
    ) -> Right | Failed | Wrong:
        if there is None:
            return Wrong(None, "there is none")
        try:
            secret = await self._store.read_client(namespace)
        except TooLargeError:
            # What others have added does not keep dinp from renewing its own keys.
            why = "too large to be read"
            return Wrong(there.version, why) if there.is_ours else self._foreign(namespace, there)
        if secret is None:
            return Wrong(None, "there is none")
        if not there.is_ours and clients.is_foreign(secret, signing):
            return self._foreign(namespace, there)
        lifetime = self._policy.client_lifetime
        problem = clients.problem(secret, signing, lifetime, self._now)
        if problem is not None or not there.is_ours:
            return Wrong(there.version, problem or "without dinp's label")
        return memory.right(secret.data["cert.pem"], secret.version, lifetime)

    def _foreign(self, namespace: str, there: ClientSecret) -> Failed:
        return Failed(there.version, self._store.foreign(namespace))

    async def _remove(self, namespace: str) -> None:
        await self._store.delete_client(namespace)
        self._writes += 1
        self._log.info("removed a client certificate", namespace=namespace, why="no longer allowed")


def _about(request: Object) -> dict[str, Any]:
    """Which request a line of the log is about."""
    return {
        "request": request["metadata"]["name"],
        "username": request["spec"].get("username"),
    }
