"""The process of `dinp certs run`: its loops, its health port, and its signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import structlog

from certs import calls, health, rotation, store
from certs.docker import rotation as docker_rotation
from certs.docker import store as docker_store
from certs.docker.policy import Policy as DockerPolicy
from certs.metrics import Metrics
from certs.passes import Loop
from certs.policy import Policy


async def run(policy: Policy, docker_policy: DockerPolicy, options: Mapping[str, Any]) -> None:
    """Keep certificates right until SIGTERM; `options` are those of the command, by their names.

    Raises:
        StoreError: no cluster can be found.
        health.ListenError: the health port cannot be had.
    """
    stop = asyncio.Event()
    for ending in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(ending, stop.set)
    metrics = Metrics()
    async with calls.connected(options["kubeconfig"]) as api:
        loops = {"certificates of the webhook": _webhook(api, metrics, policy, options)}
        if options["shared_daemons"]:
            docker = _shared_daemons(api, metrics, docker_policy, options)
            loops["certificates of shared daemons"] = docker
        where = options["bind_address"], options["health_port"]
        async with health.listening(loops, metrics, *where) as port, asyncio.TaskGroup() as group:
            structlog.get_logger().info(
                "keeping certificates right", names=list(policy.names), health_port=port
            )
            for loop in loops.values():
                group.create_task(loop.run(stop))


def _webhook(
    api: calls.Connection, metrics: Metrics, policy: Policy, options: Mapping[str, Any]
) -> Loop:
    names = store.Names(
        options["namespace"], options["ca_secret"], options["tls_secret"], options["configuration"]
    )
    return rotation.loop(store.Store(api, names), policy, metrics.of("webhook"))


def _shared_daemons(
    api: calls.Connection, metrics: Metrics, policy: DockerPolicy, options: Mapping[str, Any]
) -> Loop:
    names = docker_store.Names(
        system=options["namespace"],
        daemons=options["docker_namespace"],
        client_secret=options["client_secret"],
    )
    made = docker_store.Store(api, names)
    return docker_rotation.loop(made, policy, metrics.of("shared-daemons"))
