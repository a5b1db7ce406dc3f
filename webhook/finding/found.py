"""Found: what a Pod has, looked at once, before anything is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from webhook import names
from webhook.finding import dind, docker_hosts, gitlab, node_docker, pod_daemons, triage
from webhook.finding.docker_hosts import LocalHost
from webhook.finding.node_docker import Kind, NodeMount
from webhook.finding.pod_daemons import PodDaemon, Unread
from webhook.finding.triage import Judgement
from webhook.pods import pod as pods
from webhook.pods.pod import Container, Pod
from webhook.pods.selectors import PodSelector

# Sources of a projected volume that are the Pod's own credentials: whoever has them acts as the
# Pod (KEP-1205; KEP-4317, for certificates).
_CREDENTIALS: Final = ("serviceAccountToken", "podCertificate")


class Found(msgspec.Struct, frozen=True):
    """What the steps after it need to know of a Pod."""

    node_mounts: tuple[NodeMount, ...]  # of the node's Docker
    sockets: frozenset[str]  # containers that mount the node's socket
    others_sockets: tuple[NodeMount, ...]  # of a daemon that is not the node's; see `find`
    pod_daemons: tuple[PodDaemon, ...]  # which the Pod brings itself
    unread: tuple[Unread, ...]  # commands of which that cannot be told
    local_hosts: tuple[LocalHost, ...]  # DOCKER_HOSTs that lead into the Pod
    aliases: frozenset[str]  # names that hostAliases give the loopback
    judgement: Judgement | None  # builder or node agent; None: see `find`
    dind: Container | None  # of an earlier pass
    been_here: bool  # an earlier pass has given it a daemon, of whatever mode
    # Volumes with a token of the Pod's ServiceAccount, or a certificate of the Pod's. A daemon
    # that runs anybody's builds must not have them, at whatever path.
    credentials: frozenset[str]
    default_container: Container  # as kubectl takes it
    gitlab_job: bool = False


def find(pod: Pod, *, judged: bool) -> Found:
    """Look at a Pod that is well formed; `judged`: with a judgement on one that mounts the socket,
    and has not been through dinp before. It is by signals alone, without rows of watchers.

    Where it is judged, a docker.sock that is not directly in /run or /var/run is not the node's, but
    of a daemon that somebody else runs there (BinderHub's, say). A Pod that asks itself means that, too.
    """
    node_mounts = node_docker.node_mounts(pod)
    others = tuple(filter(node_docker.is_others_socket, node_mounts)) if judged else ()
    if others:
        node_mounts = tuple(
            mount for mount in node_mounts if not node_docker.is_others_socket(mount)
        )
    aliases = docker_hosts.aliases(pod)
    local = tuple(docker_hosts.local_hosts(pod, aliases))
    daemons, unread = pod_daemons.pod_daemons(pod, node_mounts, local)
    sockets = frozenset(found.container for found in node_mounts if found.kind is Kind.SOCKET)
    there = dind.in_place(pod)
    # A Pod with a dinp-dind was judged before it had one. What spoke for it then is perhaps gone:
    # its clients have other mounts now.
    judged = judged and bool(sockets) and there is None
    return Found(
        node_mounts=node_mounts,
        sockets=sockets,
        others_sockets=others,
        pod_daemons=daemons,
        unread=unread,
        local_hosts=local,
        aliases=aliases,
        judgement=triage.judge(pod, node_mounts, daemons, ()) if judged else None,
        dind=there,
        been_here=there is not None or names.has_been_here(pods.labels_of(pod)),
        credentials=_credentials(pod),
        default_container=pods.default_container(pod),
        gitlab_job=gitlab.is_job(pod),
    )


def judge(pod: Pod, watchers: Sequence[PodSelector]) -> Judgement:
    """Judge any Pod, also one without the node's Docker."""
    node_mounts = node_docker.node_mounts(pod)
    local = docker_hosts.local_hosts(pod, docker_hosts.aliases(pod))
    daemons = pod_daemons.pod_daemons(pod, node_mounts, local).daemons
    return triage.judge(pod, node_mounts, daemons, watchers)


def _credentials(pod: Pod) -> frozenset[str]:
    return frozenset(
        volume["name"]
        for volume in pods.volumes(pod)
        for source in (volume.get("projected") or {}).get("sources") or ()
        if any(source.get(kind) is not None for kind in _CREDENTIALS)
    )
