"""`dinp certs run-shared` works only while the policies hold that bound it: each is taken away in turn.

The API server is one of this module's own, with the manifests applied; the process, or the part of it that looks,
uses the ServiceAccount of the manifests, so its permissions suffice.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from certs import calls
from certs.errors import RefusedError
from certs.shared import forbidden, self_check
from certs.shared.dry_runs import DryRuns
from certs.shared.names import Names
from certs.shared.requests import SIGNER
from certs.shared.self_check import SelfCheck
from certs.shared.store import Store
from tests.cluster.api import Api, Cluster, Object
from tests.cluster.installation import apply_base, apply_shared, write_kubeconfig
from tests.cluster.processes import PATIENCE, running, wait_until
from tests.cluster.test_certs import RBAC, installed_site, writes
from tests.cluster.test_permissions import CERTIFICATES, SIGNERS, request_for

pytestmark = pytest.mark.cluster

ACCOUNT: Final = "dinp-certs-docker"
SECRETS: Final = Names().secrets_policy
REQUESTS: Final = Names().requests_policy
ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
POLICIES: Final = f"{ADMISSION}/validatingadmissionpolicies"
BINDINGS: Final = f"{ADMISSION}/validatingadmissionpolicybindings"
SYSTEM: Final = "/api/v1/namespaces/dinp-system"
PUBLISHED: Final = "/api/v1/namespaces/dinp-daemons/configmaps/dinp-docker-ca"
AUTHORITIES: Final = ("dinp-docker-server-ca", "dinp-docker-client-ca")
ALLOWED: Final = "annotated-shared"  # a namespace that may use shared daemons

Change = Callable[[Object], None]


@dataclass(frozen=True)
class Site:
    """A cluster with the manifests, and who the process is there."""

    admin: Api
    kubeconfig: Path

    def command(self, *options: str) -> list[str]:
        """The process."""
        program = "from certs.cli import certs; certs()"
        kubeconfig = f"--kubeconfig={self.kubeconfig}"
        return [sys.executable, "-c", program, "run-shared", kubeconfig, *options]

    def problem(self) -> str | None:
        """What one look finds, by the same connection that the process makes."""

        async def look() -> str | None:
            async with calls.connected(self.kubeconfig) as api:
                return await check(api).until_they_hold(asyncio.Event())

        return asyncio.run(look())

    def is_written(self) -> bool:
        """Whether the process has done its work."""
        path = f"/api/v1/namespaces/{ALLOWED}/secrets/{Names().client_secret}"
        return self.admin.get(path).status == 200


def check(api: Any) -> SelfCheck:
    """One that has no patience."""
    return SelfCheck(DryRuns(api, Store(api, Names())), Names(), timedelta())


@pytest.fixture(scope="module")
def bare(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The manifests, just applied."""
    with closing(Api(own_cluster)) as api:
        apply_base(own_cluster, api)
        apply_shared(own_cluster)
        file = tmp_path_factory.mktemp("check") / "kubeconfig"
        yield Site(api, write_kubeconfig(api, ACCOUNT, file))


@pytest.fixture(scope="module")
def site(bare: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The same with all that there is to try on: CAs, a namespace that is allowed, requests."""
    log = tmp_path_factory.mktemp("run") / "log"
    with running(bare.command(), log) as process:
        wait_until(lambda: "the policies hold" in log.read_text(encoding="utf-8"), "it has looked")
        wait_until(bare.is_written, "it works")
        process.terminate()
        assert process.wait(PATIENCE) == 0
    for signer in (SIGNER, SIGNERS[0]):
        bare.admin.must("POST", CERTIFICATES, request_for(signer))
    return bare


@contextmanager
def changed(api: Api, path: str, change: Change | None) -> Iterator[None]:
    """Have an object otherwise for a while; None: not at all."""
    before = api.must("GET", path)
    if change is None:
        api.must("DELETE", path)
    else:
        after = deepcopy(before)
        change(after)
        assert before != after
        api.must("PUT", path, after)
    try:
        yield
    finally:
        if change is None:
            for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
                before["metadata"].pop(key)
            api.must("POST", path.rpartition("/")[0], before)
        else:
            before["metadata"]["resourceVersion"] = api.must("GET", path)["metadata"][
                "resourceVersion"
            ]
            api.must("PUT", path, before)


def spec(**fields: Any) -> Change:
    return lambda it: it["spec"].update(fields)


def action(name: str) -> Change:
    return spec(validationActions=[name])


def condition(expression: str) -> Change:
    return lambda it: it["spec"]["matchConditions"].append(
        {"name": "narrower", "expression": expression}
    )


def constraint(**fields: Any) -> Change:
    return lambda it: it["spec"]["matchConstraints"].update(fields)


def operations(*names: str) -> Change:
    def narrow(it: Object) -> None:
        for rule in it["spec"]["matchConstraints"]["resourceRules"]:
            rule["operations"] = list(names)

    return narrow


def without_resource(name: str) -> Change:
    def narrow(it: Object) -> None:
        for rule in it["spec"]["matchConstraints"]["resourceRules"]:
            rule["resources"] = [kept for kept in rule["resources"] if kept != name] or ["pods"]

    return narrow


def passes(number: int) -> Change:
    return lambda it: it["spec"]["validations"][number].update(expression="true")


NOWHERE: Final = {"matchLabels": {"dinp.test/never": "true"}}
NOT_ITSELF: Final = f"request.userInfo.username != 'system:serviceaccount:dinp-system:{ACCOUNT}'"
OF_BOTH: Final[dict[str, tuple[str, Change | None]]] = {
    "no policy": (POLICIES, None),
    "no binding": (BINDINGS, None),
    "it audits": (BINDINGS, action("Audit")),
    "it warns": (BINDINGS, action("Warn")),
    "bound in no namespace": (BINDINGS, spec(matchResources={"namespaceSelector": NOWHERE})),
    "bound to no object": (BINDINGS, spec(matchResources={"objectSelector": NOWHERE})),
    "for others": (POLICIES, condition(NOT_ITSELF)),
    "in no namespace": (POLICIES, constraint(namespaceSelector=NOWHERE)),
    "for no object": (POLICIES, constraint(objectSelector=NOWHERE)),
    "not for updates": (POLICIES, operations("CREATE")),
}
WEAKER: Final[dict[str, tuple[str, str, Change | None]]] = {
    **{
        f"{policy}: {what}": (policy, *how)
        for policy in (SECRETS, REQUESTS)
        for what, how in OF_BOTH.items()
    },
    f"{SECRETS}: not for creation": (SECRETS, POLICIES, operations("UPDATE")),
    f"{SECRETS}: not for its own namespace": (
        SECRETS,
        POLICIES,
        condition("request.namespace != 'dinp-system'"),
    ),
    f"{SECRETS}: not for tenants": (
        SECRETS,
        POLICIES,
        condition(f"request.namespace != '{ALLOWED}'"),
    ),
    **{f"{SECRETS}: not its validation {at}": (SECRETS, POLICIES, passes(at)) for at in range(4)},
    **{f"{REQUESTS}: not its validation {at}": (REQUESTS, POLICIES, passes(at)) for at in range(2)},
    **{
        f"{REQUESTS}: not for {resource}": (REQUESTS, POLICIES, without_resource(resource))
        for resource in (
            "certificatesigningrequests/approval",
            "certificatesigningrequests/status",
            "configmaps",
        )
    },
}


# ---- before anything is written ----------------------------------------------------------------


@pytest.mark.parametrize("policy", [SECRETS, REQUESTS])
@pytest.mark.parametrize("collection", [POLICIES, BINDINGS])
def test_it_ends(bare: Site, policy: str, collection: str, tmp_path: Path) -> None:
    """With exit code 2, a sentence that names the policy, and nothing written; the webhook's certs goes on."""
    certs = installed_site(bare.admin, tmp_path)
    with changed(bare.admin, f"{collection}/{policy}", None):
        command = bare.command("--policies-within=2s")
        done = subprocess.run(  # noqa: S603 - our own command
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            f"dinp: ValidatingAdmissionPolicy {policy} does not hold: a dry run to "
        )
        assert line.endswith(
            " passed. Apply manifests/shared again, which has the policy and its binding"
        )
        for name in AUTHORITIES:
            assert bare.admin.get(f"{SYSTEM}/secrets/{name}").status == 404
        assert "data" not in bare.admin.must("GET", PUBLISHED)
        assert not bare.is_written()
        certs.api.request("DELETE", certs.secret_path("dinp-tls"))
        assert asyncio.run(writes(certs)) >= 1
        assert certs.is_right()
    wait_until(lambda: bare.problem() is None, "the policy is in force again", interval=0.5)


def test_both_are_named(bare: Site) -> None:
    """Who has forgotten both reads so at once."""
    with (
        changed(bare.admin, f"{BINDINGS}/{SECRETS}", None),
        changed(bare.admin, f"{BINDINGS}/{REQUESTS}", None),
    ):
        named = [f"{policy} does not hold: " for policy in (SECRETS, REQUESTS)]
        wait_until(
            lambda: all(it in (bare.problem() or "") for it in named),
            "both are named",
            interval=0.5,
        )
    wait_until(lambda: bare.problem() is None, "they are in force again", interval=0.5)


def test_it_waits_for_policies_that_come(bare: Site, tmp_path: Path) -> None:
    """Started before they are in force, it has patience, says so once, and works as soon as they are."""
    log = tmp_path / "log"
    with changed(bare.admin, f"{BINDINGS}/{SECRETS}", None):
        wait_until(lambda: bare.problem() is not None, "it is seen", interval=0.5)
        with running(bare.command(f"--policies-within={PATIENCE:.0f}s"), log) as process:
            wait_until(lambda: "not in force (yet)" in log.read_text(), "it has looked")
            assert not bare.is_written()
            apply_shared(bare.admin.cluster)
            wait_until(bare.is_written, "it works")
            process.terminate()
            assert process.wait(PATIENCE) == 0
        bare.admin.must(
            "DELETE", f"{BINDINGS}/{SECRETS}"
        )  # for the end of this `with` to put it back
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert events.count("a policy is not in force (yet)") == 1
    wait_until(lambda: bare.problem() is None, "it is in force again", interval=0.5)


def test_it_ends_well_while_it_waits(bare: Site, tmp_path: Path) -> None:
    """Its Pod is deleted before the policies are there: exit code 0, and no word that they hold."""
    log = tmp_path / "log"
    with changed(bare.admin, f"{BINDINGS}/{REQUESTS}", None):
        wait_until(lambda: bare.problem() is not None, "it is seen", interval=0.5)
        with running(bare.command(f"--policies-within={PATIENCE:.0f}s"), log) as process:
            wait_until(lambda: "not in force (yet)" in log.read_text(encoding="utf-8"), "it waits")
            process.terminate()
            assert process.wait(PATIENCE) == 0
    assert "the policies hold" not in log.read_text(encoding="utf-8")
    wait_until(lambda: bare.problem() is None, "it is in force again", interval=0.5)


# ---- whatever is taken away --------------------------------------------------------------------


@pytest.mark.parametrize("what", WEAKER)
def test_a_weaker_policy_is_seen(site: Site, what: str) -> None:
    """Missing, unbound, auditing, narrowed, or without one of its validations: it is named."""
    policy, collection, change = WEAKER[what]
    with changed(site.admin, f"{collection}/{policy}", change):
        wait_until(
            lambda: f"{policy} does not hold: a dry run to " in (site.problem() or ""),
            "it is seen",
            seconds=60,
            interval=0.2,
        )
    wait_until(lambda: site.problem() is None, "it is in force again", interval=0.2)


def test_a_refusal_by_somebody_else_is_none(site: Site) -> None:
    """Where another policy refuses, too, nobody knows of dinp's: it ends, and quotes the other."""
    policy = {
        "metadata": {"name": "aa-other"},
        "spec": site.admin.must("GET", f"{POLICIES}/{SECRETS}")["spec"],
    }
    policy["spec"]["validations"] = [{"expression": "false", "message": "no Secrets at all"}]
    binding = {
        "metadata": {"name": "aa-other"},
        "spec": {"policyName": "aa-other", "validationActions": ["Deny"]},
    }
    site.admin.must("POST", POLICIES, policy)
    site.admin.must("POST", BINDINGS, binding)
    try:
        with changed(site.admin, f"{BINDINGS}/{SECRETS}", None):
            wait_until(
                lambda: "no Secrets at all" in (site.problem() or ""), "it is quoted", interval=0.2
            )
            problem = site.problem()
        assert problem is not None
        assert f"{SECRETS} does not hold: a dry run to create Secret dinp-self-check" in problem
        assert "was refused, but not by it (" in problem
    finally:
        for collection in (BINDINGS, POLICIES):
            site.admin.must("DELETE", f"{collection}/aa-other")
    wait_until(lambda: site.problem() is None, "all is as before", interval=0.2)


def test_dry_runs_write_nothing(site: Site) -> None:
    """Where nothing refuses them, all pass, and no object is another than before, or new."""

    def versions() -> dict[str, str]:
        paths = ("/api/v1/secrets", "/api/v1/configmaps", CERTIFICATES)
        items = [item for path in paths for item in site.admin.must("GET", path)["items"]]
        return {it["metadata"]["uid"]: it["metadata"]["resourceVersion"] for it in items}

    with (
        changed(site.admin, f"{BINDINGS}/{SECRETS}", None),
        changed(site.admin, f"{BINDINGS}/{REQUESTS}", None),
    ):
        wait_until(lambda: (site.problem() or "").count(" passed") == 2, "they pass", interval=0.2)
        before, answers = versions(), asyncio.run(all_dry_runs(site))
        # What the storage itself refuses has passed whatever stands before it.
        others = [it for it in answers if it is not None and "already exists" not in it]
        assert others == []
        assert answers.count(None) >= 8
        assert before == versions()
    wait_until(lambda: site.problem() is None, "they are in force again", interval=0.2)


async def all_dry_runs(site: Site) -> list[str | None]:
    """Try everything; return what each was refused by."""
    found: list[str | None] = []
    async with calls.connected(site.kubeconfig) as api:
        dry_runs = DryRuns(api, Store(api, Names()))
        for attempt in forbidden.attempts(Names(), await dry_runs.there()):
            try:
                await dry_runs.dry_run(attempt)
            except RefusedError as error:
                found.append(str(error))
            else:
                found.append(None)
    return found


def test_it_needs_no_permission_for_that(site: Site) -> None:
    """Each dry run is refused by a policy, and none by RBAC: the permissions are those of its work."""
    found = asyncio.run(all_dry_runs(site))
    assert all(
        it is not None and "ValidatingAdmissionPolicy 'dinp-certs-docker" in it for it in found
    )


# ---- while it works ----------------------------------------------------------------------------


async def test_it_goes_on_looking(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that is taken away later ends it, too: nothing more is written."""
    monkeypatch.setattr(self_check, "_INTERVAL_SECONDS", 0.1)
    stop = asyncio.Event()
    async with calls.connected(site.kubeconfig) as api, asyncio.timeout(PATIENCE):
        watching = asyncio.create_task(check(api).watch(stop))
        await asyncio.sleep(1)
        assert not stop.is_set()
        with changed(site.admin, f"{POLICIES}/{REQUESTS}", None):
            problem = await watching
    assert stop.is_set()
    assert problem is not None
    assert f"ValidatingAdmissionPolicy {REQUESTS} does not hold" in problem


async def test_no_answer_is_no_verdict(site: Site, tmp_path: Path) -> None:
    """An API server that is away, or knows no such account: it asks again, and does not end."""
    known = json.loads(site.kubeconfig.read_text(encoding="utf-8"))
    away, stranger = deepcopy(known), deepcopy(known)
    away["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    stranger["users"][0]["user"]["token"] = "none"
    for name, config in {"away": away, "stranger": stranger}.items():
        file = tmp_path / name
        file.write_text(json.dumps(config), encoding="utf-8")
        stop = asyncio.Event()
        with structlog.testing.capture_logs() as said:
            async with calls.connected(file) as api, asyncio.timeout(PATIENCE):
                looking = asyncio.create_task(check(api).until_they_hold(stop))
                while len(said) < 3:  # noqa: ASYNC110 - nobody sets an event for a line of a log
                    await asyncio.sleep(0.05)
                assert not looking.done()
                stop.set()
                assert await looking is None
        assert {"policies not checked"} == {line["event"] for line in said}


def test_what_rbac_refuses_says_nothing_of_policies(site: Site) -> None:
    """Without the permission that a policy narrows nobody knows whether it would: it ends, and quotes that."""
    path = f"{RBAC}/clusterroles/{ACCOUNT}"

    def narrow(role: Object) -> None:
        role["rules"] = [it for it in role["rules"] if it["verbs"] != ["create"]]

    with changed(site.admin, path, narrow):
        wait_until(lambda: site.problem() is not None, "it is seen", interval=0.2)
        problem = site.problem()
    assert problem is not None
    assert "was refused, but not by it (not allowed to dry-run create Secret" in problem
    wait_until(lambda: site.problem() is None, "all is as before", interval=0.2)
