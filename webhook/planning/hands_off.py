"""Why a Pod is none of dinp's, though its namespace or it itself asks."""

from __future__ import annotations

from typing import Final

from webhook.asking.config import Config
from webhook.asking.controllers import CONTROLLERS
from webhook.asking.request import Request
from webhook.finding import node_docker
from webhook.finding.found import Found
from webhook.finding.node_docker import Kind
from webhook.finding.triage import Judgement, Verdict
from webhook.pods import jobs, selectors
from webhook.pods import pod as pods
from webhook.pods.pod import Pod
from webhook.reasons import Finding, Reason

# Of a node agent's signals, the first ones; a warning is short.
_SIGNALS_TOLD: Final = 4


def hands_off(pod: Pod, request: Request, seen: Found, config: Config) -> Finding | None:
    """Why this Pod gets nothing, or None; the first row that holds.

    | the namespace asks | and the Pod | reason |
    |---|---|---|
    | for `migrate` | mounts all of /run or /var/run, and no socket | RUN_DIRECTORY_ONLY |
    | for `migrate` | mounts no socket | NOT_REQUESTED |
    | in any way | is a DaemonSet's | DAEMONSET_POD |
    | in any way | is a controller beside its jobs, with no CI system's label | NEVER_INJECT |
    | for `migrate` | is a node agent | NODE_WATCHER, NODE_AGENT |
    | in any way, or the Pod itself | runs a daemon of its own | OWN_DAEMON |

    A Pod that dinp has given a daemon before is no controller and no DaemonSet's: it has asked, or
    was none then.
    """
    if request.migrate and not seen.sockets:
        return _run_directory(pod, request, seen) or Reason.NOT_REQUESTED.say()
    if not request.explicit and seen.dind is None:
        never = _never_by_default(pod, request, seen, config)
        if never is not None:
            return never
    if seen.judgement is not None and seen.judgement.verdict is Verdict.NODE:
        return _node_agent(seen.judgement, request)
    return Reason.OWN_DAEMON.say(where=seen.pod_daemons[0].where) if seen.pod_daemons else None


def _never_by_default(pod: Pod, request: Request, seen: Found, config: Config) -> Finding | None:
    socket = ", and keeps its mount of the node's Docker socket" if seen.sockets else ""
    blanks = {"mode": request.mode.value, "socket": socket}
    if pods.owned_by(pod, "DaemonSet"):
        return Reason.DAEMONSET_POD.say(**blanks)
    if jobs.is_job(pod):
        return None
    rows = selectors.merged(CONTROLLERS, config.never_inject)
    row = selectors.row_of(
        (row for row in rows if row.migrate or not request.migrate), pod, pod["spec"]["containers"]
    )
    if row is None:
        return None
    because = row.because or "is one that the config file names"
    return Reason.NEVER_INJECT.say(because=because, row=row.name or "without a name", **blanks)


def _node_agent(judgement: Judgement, request: Request) -> Finding:
    row, mode = judgement.watcher, request.mode.value
    if row is None:
        signals = ", ".join(judgement.signals[:_SIGNALS_TOLD])
        return Reason.NODE_AGENT.say(signals=signals, mode=mode)
    because = row.because or "watches the node's containers"
    return Reason.NODE_WATCHER.say(because=because, row=row.name or "without a name", mode=mode)


def _run_directory(pod: Pod, request: Request, seen: Found) -> Finding | None:
    """Said of /run itself, or where a variable shows that Docker's socket is meant; not of agents."""
    if seen.been_here or pods.owned_by(pod, "DaemonSet"):
        return None
    everyone = {container["name"]: container for container in pods.containers(pod)}
    for found in seen.node_mounts:
        if found.kind is not Kind.RUN_DIRECTORY:
            continue
        below = node_docker.variables_below(everyone[found.container], found.mount["mountPath"])
        if below or found.path in {"/run", "/var/run"}:
            return Reason.RUN_DIRECTORY_ONLY.say(
                container=found.container,
                path=found.path,
                mount_path=found.mount["mountPath"],
                variables=f" ({', '.join(below)} points there)" if below else "",
                mode=request.mode.value,
            )
    return None
