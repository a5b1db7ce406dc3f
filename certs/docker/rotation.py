"""Keep right what shared daemons and their clients go by: one pass, and the loop around it.

A pass reads, decides and writes, and holds no state. What another replica has written since is a
conflict, and the next pass reads again. What fails for one namespace or one request is told and
tried again, and keeps nobody else from what is theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from certs import passes
from certs.authority import KeyPair
from certs.docker import authorities, clients, requests
from certs.docker.names import Which
from certs.docker.policy import CLIENT_CA, SERVER_CA, Policy
from certs.docker.requests import Approval, Denial, Object, Requester
from certs.docker.store import ClientSecret, Store, Watched
from certs.errors import ConflictError, StoreError
from certs.passes import Clock, Passed
from certs.records import Authorities

_WATCHED: Final[tuple[Watched, ...]] = ("namespaces", "secrets", "requests", "server", "client")
_SOON: Final = timedelta(seconds=2)
_BUG: Final = timedelta(seconds=30)


class Rotation:
    """One process that keeps the certificates of shared daemons right."""

    def __init__(self, store: Store, policy: Policy, clock: Clock | None = None) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock or Clock()
        self._log = structlog.get_logger()
        self._failed = self._told = frozenset[str]()

    async def run_pass(self) -> Passed:
        """Make everything right that can be made right now.

        Raises:
            StoreError: the API server is away, or refuses what everything else needs.
        """
        pass_ = _Pass(self._store, self._policy, self._clock.now())
        passed = await pass_.run()
        # What fails once may be a label that the API server does not know of everywhere yet.
        again = pass_.failures & self._failed
        for failure in sorted(again - self._told):
            self._log.warning("not done, and tried again", error=failure)
        self._failed, self._told = frozenset(pass_.failures), frozenset(again)
        return passed


def loop(store: Store, policy: Policy) -> passes.Loop:
    """Passes for ever: whenever an object changes, something is due, or a minute is over."""
    watches = [partial(store.watch, what) for what in _WATCHED]
    return passes.Loop(Rotation(store, policy).run_pass, watches, "shared daemons' certificates")


class _Pass:
    """One pass, at one time."""

    def __init__(self, store: Store, policy: Policy, now: datetime) -> None:
        self._store = store
        self._policy = policy
        self._now = now
        self._log = structlog.get_logger()
        self._writes = 0
        self._waits: list[timedelta] = []
        self.failures: set[str] = set()

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
            await self._alone(self._clients(clients.Authorities(client.signing, servers)))
        return Passed(self._writes, min(self._waits))

    async def _alone(self, work: Awaitable[None]) -> None:
        """Do something whose failure concerns nothing else."""
        try:
            await work
        except ConflictError:
            self._waits.append(timedelta())
        except StoreError as error:
            self.failures.add(str(error))
            self._waits.append(_SOON)
        except Exception:  # noqa: BLE001 - tenants write what is read here: no one of them may end the process
            self._log.exception("a bug of dinp's: not done, and tried again")
            self._waits.append(_BUG)

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
        return wanted

    async def _publish(self, bundles: dict[str, bytes]) -> None:
        if await self._store.publish(bundles):
            self._writes += 1
            self._log.info("published the CAs of shared daemons")

    async def _requests(self, ca: KeyPair) -> None:
        for request in await self._store.requests():
            await self._alone(self._request(request, ca))

    async def _request(self, request: Object, ca: KeyPair) -> None:
        state = requests.state(request)
        if state is requests.State.ANSWERED:
            return
        verdict = await self._judge(request)
        name = request["metadata"]["name"]
        about = {"request": name, "username": request["spec"].get("username")}
        if isinstance(verdict, Denial):
            kind = "Denied" if state is requests.State.PENDING else "Failed"
            refused = requests.with_condition(request, kind, verdict.reason.value, verdict.message)
            write = self._store.decide if kind == "Denied" else self._store.answer
            await write(refused)
            self._log.warning(
                "denied a server certificate",
                **about,
                reason=verdict.reason.value,
                message=verdict.message,
            )
        else:
            if state is requests.State.PENDING:
                message = f"Pod {verdict.pod} may have {', '.join(verdict.names)}"
                approved = requests.with_condition(request, "Approved", "SharedDaemon", message)
                request = await self._store.decide(approved)
            wanted = requests.wanted_lifetime(request)
            certificate = self._policy.sign_server(ca, verdict, wanted, self._now)
            await self._store.answer(requests.with_certificate(request, certificate))
            self._log.info("signed a server certificate", **about, names=list(verdict.names))

    async def _judge(self, request: Object) -> Approval | Denial:
        sender = requests.requester(request, self._policy.daemons)
        if not isinstance(sender, Requester):
            return sender
        pod, node = await self._store.pod(sender.pod), await self._store.node(sender.node)
        return requests.judge(request, sender, pod, node, self._policy.daemons)

    async def _clients(self, signing: clients.Authorities) -> None:
        # In this order: what another replica has written for a new label is not taken for a leftover.
        there = await self._store.client_secrets()
        found = await self._store.namespaces()
        allowed = {item["metadata"]["name"] for item in found if clients.is_allowed(item)}
        ending = {item["metadata"]["name"] for item in found if clients.is_ending(item)}
        for name in sorted(allowed):
            await self._alone(self._client(name, there.get(name), signing))
        for name in sorted(there.keys() - allowed - ending):
            if there[name].is_ours:
                await self._alone(self._remove(name))

    async def _client(
        self, namespace: str, there: ClientSecret | None, signing: clients.Authorities
    ) -> None:
        secret = None if there is None else there.secret
        lifetime = self._policy.client_lifetime
        why = clients.problem(secret, signing, lifetime, self._now)
        if secret is not None and why is None:
            due = clients.due_at(secret.data["cert.pem"], lifetime)
            self._waits.append(due - self._now)
            return
        pair = self._policy.issue_client(signing.client, namespace, self._now)
        version = None if secret is None else secret.version
        await self._store.write_client(namespace, clients.data(pair, signing), version)
        self._writes += 1
        self._log.info("issued a client certificate", namespace=namespace, why=why)

    async def _remove(self, namespace: str) -> None:
        await self._store.delete_client(namespace)
        self._writes += 1
        self._log.info("removed a client certificate", namespace=namespace, why="no longer allowed")
