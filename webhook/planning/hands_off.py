"""Why a Pod is none of dinp's, though its namespace or it itself asks."""

from __future__ import annotations

from typing import Final

from webhook.asking.config import Config
from webhook.asking.controllers import CONTROLLERS
from webhook.asking.request import Request
from webhook.asking.watchers import WATCHERS
from webhook.finding import node_docker
from webhook.finding.found import Found
from webhook.finding.node_docker import Kind
from webhook.finding.triage import Verdict
from webhook.pods import jobs, selectors
from webhook.pods import pod as pods
from webhook.pods.pod import Pod
from webhook.pods.selectors import PodSelector
from webhook.reasons import Finding, Reason

# Of a node agent's signals, the first ones; a warning is short.
_SIGNALS_TOLD: Final = 4


def hands_off(pod: Pod, request: Request, seen: Found, config: Config) -> Finding | None:
    """Why this Pod gets nothing, or None; the first row that holds.

    | the namespace asks | and the Pod | reason |
    |---|---|---|
    | for `migrate` | mounts another daemon's socket, and not the node's | OTHERS_SOCKET |
    | for `migrate` | mounts all of /run or /var/run, and no socket | RUN_DIRECTORY_ONLY |
    | for `migrate` | mounts no socket | NOT_REQUESTED |
    | in any way | is a DaemonSet's | DAEMONSET_POD |
    | in any way | is a controller beside its jobs, with no CI system's label | NEVER_INJECT |
    | in any way | mounts the socket for a watcher of the node, with no CI system's label | NODE_WATCHER |
    | for `migrate` | is a node agent | NODE_AGENT |
    | in any way, or the Pod itself | runs a daemon of its own | OWN_DAEMON |
    | in any way, or the Pod itself | perhaps starts one, by a command that cannot be read | UNREAD_COMMAND |

    A Pod that dinp has given a daemon before is none of the first four: it has asked, or was none then.
    """
    if request.migrate and not seen.sockets:
        return _without_socket(pod, request, seen)
    if not request.explicit and seen.dind is None:
        never = _never_by_default(pod, request, seen, config)
        if never is not None:
            return never
    if seen.judgement is not None and seen.judgement.verdict is Verdict.NODE:
        signals = ", ".join(seen.judgement.signals[:_SIGNALS_TOLD])
        return Reason.NODE_AGENT.say(signals=signals, mode=request.mode.value)
    if seen.pod_daemons:
        return Reason.OWN_DAEMON.say(where=seen.pod_daemons[0].where)
    unread = next((one for one in seen.unread if one.names_daemon), None)
    return None if unread is None else Reason.UNREAD_COMMAND.say(**unread.blanks())


def _without_socket(pod: Pod, request: Request, seen: Found) -> Finding:
    """Under the migrate label; a Pod that has been through dinp has none of the node's any more."""
    if seen.others_sockets and not seen.been_here:
        return Reason.OTHERS_SOCKET.say(**seen.others_sockets[0].blanks(), mode=request.mode.value)
    return _run_directory(pod, request, seen) or Reason.NOT_REQUESTED.say()


def _never_by_default(pod: Pod, request: Request, seen: Found, config: Config) -> Finding | None:
    mode = request.mode.value
    # Not told: the manifests send no such Pod, so that no DaemonSet of the cluster's waits for dinp.
    if pods.owned_by(pod, "DaemonSet"):
        return Reason.DAEMONSET_POD.say(mode=mode)
    if jobs.is_job(pod):
        return None
    controller = _controller(pod, request, config)
    if controller is not None:
        socket = ", and keeps its mount of the node's Docker socket" if seen.sockets else ""
        because = controller.because or "is one that the config file names"
        return Reason.NEVER_INJECT.say(
            because=because, row=controller.name, mode=mode, socket=socket
        )
    watcher = _watcher(pod, seen, config)
    if watcher is not None:
        because = watcher.because or "watches the node's containers"
        return Reason.NODE_WATCHER.say(because=because, row=watcher.name, mode=mode)
    return None


def _controller(pod: Pod, request: Request, config: Config) -> PodSelector | None:
    rows = selectors.merged(CONTROLLERS, config.never_inject)
    held = (row for row in rows if row.migrate or not request.migrate)
    return selectors.row_of(held, pod, pod["spec"]["containers"])


def _watcher(pod: Pod, seen: Found, config: Config) -> PodSelector | None:
    rows = selectors.merged(WATCHERS, config.node_watchers)
    users = [container for container in pods.containers(pod) if container["name"] in seen.sockets]
    return selectors.row_of(rows, pod, users) if users else None


def _run_directory(pod: Pod, request: Request, seen: Found) -> Finding | None:
    """Said of /run itself, or where a variable shows that Docker's socket is meant; not of agents."""
    if seen.been_here or pods.owned_by(pod, "DaemonSet"):
        return None
    everyone = {container["name"]: container for container in pods.containers(pod)}
    for found in seen.node_mounts:
        if found.kind is not Kind.RUN_DIRECTORY:
            continue
        below = node_docker.variables_below(everyone[found.container], found.mount["mountPath"])
        if below or found.path in node_docker.SOCKET_DIRECTORIES:
            return Reason.RUN_DIRECTORY_ONLY.say(
                **found.blanks(),
                variables=f" ({', '.join(below)} points there)" if below else "",
                mode=request.mode.value,
            )
    return None
