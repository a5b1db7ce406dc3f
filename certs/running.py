"""The processes of `dinp certs run` and `run-shared`: their loops, their health port, and their signals."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from certs import calls, commands, health, progress, rotation, store
from certs.metrics import Metrics
from certs.policy import Policy
from certs.shared import rotation as docker_rotation
from certs.shared import store as docker_store
from certs.shared.dry_runs import DryRuns
from certs.shared.names import Names
from certs.shared.policy import Policy as DockerPolicy
from certs.shared.self_check import SelfCheck


async def run(policy: Policy, options: Mapping[str, Any]) -> None:
    """Keep the webhook's certificates right until SIGTERM; `options` are those of the command, by their names.

    Raises:
        StoreError: no cluster can be found.
        health.ListenError: the health port cannot be had.
    """
    stop = _until_terminated()
    metrics = Metrics()
    names = store.Names(
        options["namespace"], options["ca_secret"], options["tls_secret"], options["configuration"]
    )
    async with calls.connected(options["kubeconfig"]) as api:
        loop = rotation.loop(store.Store(api, names), policy, metrics.of("webhook"))
        loops = {"certificates of the webhook": loop}
        async with health.listening(loops, metrics, *_where(options)) as port:
            structlog.get_logger().info(
                "keeping certificates right", names=list(policy.names), health_port=port
            )
            await loop.run(stop)


async def run_shared(policy: DockerPolicy, options: Mapping[str, Any]) -> str | None:
    """Keep those of shared daemons right until SIGTERM, or until a policy does not hold: say which.

    Raises:
        StoreError: no cluster can be found.
        health.ListenError: the health port cannot be had.
    """
    stop = _until_terminated()
    metrics = Metrics()
    names = Names(
        system=options["namespace"],
        daemons=options["docker_namespace"],
        client_secret=options["client_secret"],
    )
    log = structlog.get_logger()
    async with calls.connected(options["kubeconfig"]) as api:
        objects = docker_store.Store(api, names)
        check = SelfCheck(DryRuns(api, objects), names, options["policies_within"])
        loop = docker_rotation.loop(objects, policy, metrics.of("shared-daemons"))
        loops = {"certificates of shared daemons": loop}
        async with health.listening(loops, metrics, *_where(options)) as port:
            log.info("asking the API server whether policies are in force", health_port=port)
            with progress.told(loop.move):
                problem = await check.until_they_hold(stop)
            if problem is not None or stop.is_set():
                return problem
            log.info("the policies hold: keeping shared daemons' certificates right")
            async with asyncio.TaskGroup() as group:
                group.create_task(loop.run(stop))
                watching = group.create_task(check.watch(stop))
            return watching.result()


def _until_terminated() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    commands.when_terminated(stop.set)
    return stop


def _where(options: Mapping[str, Any]) -> tuple[str, int]:
    return options["bind_address"], options["health_port"]
