"""A container of dinp's that is there already is made anew; one table says what of it stays.

It is there on reinvocation, in an exported Pod that is applied again, in one of an older dinp,
or because the Pod's author wrote it, as policies may admit a privileged container of the name
dinp-dind. So what a container runs, and as what, is dinp's alone. What other webhooks are known to
give every container stays, where it changes nothing of that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, cast

from webhook import names
from webhook.planning import bind_mounts
from webhook.pods import edits, quantity
from webhook.pods import pod as pods
from webhook.pods.pod import Container, EnvVar, Quantity, Resources, VolumeMount
from webhook.reasons import Finding, Reason

Row = Callable[
    [Any, Any], object
]  # what is there, what dinp makes -> what it becomes; None: absent

# What the API server fills in where dinp says nothing (pkg/apis/core/v1/defaults.go, 1.34).
_PROBE_DEFAULTS: Final = {"successThreshold": 1}
_TERMINATION_LOG: Final = "/dev/termination-log"


def _dinps(there: Any, made: Any) -> Any:
    return there if there == made else made


def _theirs(there: Any, made: Any) -> Any:
    return made if there is None else there


def _gone(_there: Any, _made: Any) -> object:
    return None


def _probe(there: Any, made: Any) -> Any:
    if not isinstance(there, dict) or made is None:  # no field of a type that nobody has checked
        return made
    same = {**_PROBE_DEFAULTS, **there} == {**_PROBE_DEFAULTS, **made}
    return there if same else made


def _pull_policy(there: Any, made: Any) -> Any:
    """Always stays: the plugin AlwaysPullImages sets it, and refuses Pods without it."""
    return there if there == "Always" or made is None else made


def _message_path(there: Any, _made: Any) -> Any:
    """A file is mounted at that path: elsewhere it would hide one of the image's."""
    return there if there == _TERMINATION_LOG else None


def _message_policy(there: Any, made: Any) -> Any:
    """`File` is what the API server fills in where nobody has said anything."""
    return there if made is None else made


def _resources(there: Any, made: Any) -> Any:
    """What stays of another's was decided before; here it only must not be written anew."""
    if made is None or same_resources(cast("Resources", there or {}), made):
        return there
    return made


# Every field of a Container in Kubernetes 1.34. A field that is not here is newer than dinp, so
# nobody knows what it lets a privileged container do: it goes. So does what the API server fills
# in of such fields; it does that again.
FIELDS: Final[Mapping[str, Row]] = {
    "name": _theirs,
    # Judged before (sidecar.image_in_place): another webhook may have rewritten the registry.
    "image": _theirs,
    "imagePullPolicy": _pull_policy,
    # What runs, and as what.
    "command": _dinps,
    "args": _dinps,
    "securityContext": _dinps,
    "restartPolicy": _dinps,  # old clients of other webhooks drop it
    "startupProbe": _probe,
    # Commands of a probe or a hook run in the container, with all its privileges; a liveness
    # probe would kill builds, a readiness probe flip the Pod's Ready.
    **dict.fromkeys(("livenessProbe", "readinessProbe", "lifecycle"), _gone),
    "restartPolicyRules": _gone,  # the daemon starts again whatever its exit code
    "workingDir": _gone,  # made where it is missing, in whatever is mounted there
    "ports": _gone,  # a hostPort would open the daemon's network to the node's
    "volumeDevices": _gone,  # a disk of the Pod's, raw, at any path
    **dict.fromkeys(("stdin", "stdinOnce", "tty"), _gone),
    # With `_variables` and `mounts`, below.
    "env": _theirs,
    "envFrom": _gone,  # what it brings cannot be seen, so it may be a variable of dinp's
    "volumeMounts": _theirs,
    # What other webhooks, the VerticalPodAutoscaler and the API server say of every container.
    "resources": _resources,
    "resizePolicy": _theirs,
    "terminationMessagePath": _message_path,
    "terminationMessagePolicy": _message_policy,
}

# Variables of others that stay: what known webhooks, and policies of many clusters, give every
# container. Nobody knows all variables that choose what a program of the image's loads, runs or
# trusts (OPENSSL_CONF, XTABLES_LIBDIR, GIT_SSH_COMMAND, AWS_CONFIG_FILE): so any other goes.
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
_FREE_NAMES: Final = frozenset(
    {
        *_PROXIES,
        *map(str.lower, _PROXIES),
        *("TZ", "LANG", "LANGUAGE", "LC_ALL", "GOMAXPROCS", "GOMEMLIMIT"),
        *("POD_NAME", "POD_NAMESPACE", "POD_IP", "POD_UID", "NODE_NAME", "NODE_IP", "HOST_IP"),
        # EKS: amazon-eks-pod-identity-webhook, for roles of ServiceAccounts and for Pod identity.
        *("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_REGION", "AWS_DEFAULT_REGION"),
        *("AWS_STS_REGIONAL_ENDPOINTS", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        # azure-workload-identity; AKS adds KUBERNETES_*.
        *("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"),
        "AZURE_AUTHORITY_HOST",
        # The entrypoint's choice of iptables.
        "DOCKER_IPTABLES_LEGACY",
    }
)
# No program of the image reads these.
_FREE: Final = (
    "KUBERNETES_",
    "DD_",  # Datadog's admission controller
    "DT_",  # Dynatrace's operator
)
# Variables that an earlier dinp may have set: nobody misses them.
_OURS: Final = ("DINP_", "DOCKER_MIN_API_VERSION", "DOCKERD_ROOTLESS_ROOTLESSKIT_FLAGS")


def renewed(there: Container, made: Container, credentials: Collection[str] = ()) -> Container:
    """`there` as dinp makes it: `made`, with what of `there` may stay; the same object if it is so.

    `credentials` are the volumes that no container of dinp's may mount.
    """
    old, new = cast("dict[str, Any]", there), cast("dict[str, Any]", made)
    found: dict[str, Any] = {}
    for field in {**old, **new}:
        row = FIELDS.get(field, _gone)
        value = row(old.get(field), new.get(field))
        if value is not None:
            found[field] = value
    result = cast("Container", found)
    result = _with(result, "env", pods.env(there), _variables(there, made))
    result = _with(result, "volumeMounts", pods.mounts(there), mounts(there, made, credentials))
    kept = {field for field, value in old.items() if value is not None}
    unchanged = kept == result.keys() and all(old[field] is result.get(field) for field in kept)
    return there if unchanged else result


def _with(container: Container, field: str, old: Sequence[Any], new: Sequence[Any]) -> Container:
    same = len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))
    return container if same else cast("Container", {**container, field: list(new)})


def _variables(there: Container, made: Container) -> Sequence[EnvVar]:
    """dinp's first, and others that may stay."""
    ours = {var["name"] for var in pods.env(made)}
    both = [var for var in pods.env(there) if var["name"] in ours or _is_free(var["name"])]
    others = [var for var in both if var["name"] not in ours]
    in_place = edits.with_env({"name": "", "env": both}, pods.env(made))
    by_name = {var["name"]: var for var in pods.env(in_place)}
    return [*(by_name[var["name"]] for var in pods.env(made)), *others]


def _is_free(name: str) -> bool:
    return name in _FREE_NAMES or name.startswith(_FREE)


def mounts(
    there: Container, made: Container, credentials: Collection[str] = ()
) -> Sequence[VolumeMount]:
    """dinp's first, and others that are neither at a system path nor of `credentials`.

    In one order, whoever came first: the API server gives a container without a mount for the
    ServiceAccount's token one, before dinp sees it.
    """
    wanted = {pods.clean_path(mount["mountPath"]): mount for mount in pods.mounts(made)}
    rootless = names.ROOTLESS_DATA in wanted
    others = []
    for mount in pods.mounts(there):
        path = pods.clean_path(mount["mountPath"])
        if path in wanted:
            wanted[path] = _at_one_path(mount, wanted[path], credentials, rootless=rootless)
        elif not (names.is_dinps_volume(mount["name"]) or mount["name"] in credentials) and (
            bind_mounts.may_be_at(path, rootless=rootless)
        ):
            others.append(_quiet(mount))
    return [*wanted.values(), *others]


def _at_one_path(
    there: VolumeMount, ours: VolumeMount, credentials: Collection[str], *, rootless: bool
) -> VolumeMount:
    """What an earlier pass has mirrored stays: the clients of that pass may write there.

    Of this pass are perhaps others, as under the migrate label a migrated socket is none. At a
    path of the system's is nothing mirrored, but perhaps the daemon's data on a volume of the Pod.
    """
    is_mirrored = not names.is_dinps_volume(ours["name"]) and bind_mounts.may_be_at(
        ours["mountPath"], rootless=rootless
    )
    if is_mirrored and there["name"] not in credentials:
        if bind_mounts.source(there) != bind_mounts.source(ours):
            return ours if names.is_dinps_volume(there["name"]) else _quiet(there)
        ours = bind_mounts.looser(there, ours)
    return there if _said(there) == _said(ours) else ours


def _quiet(mount: VolumeMount) -> VolumeMount:
    """Without mountPropagation, as what dinp mirrors."""
    if _PROPAGATION not in mount:
        return mount
    return cast("VolumeMount", {k: v for k, v in mount.items() if k != _PROPAGATION})


_PROPAGATION: Final = "mountPropagation"


def _said(mount: VolumeMount) -> dict[str, Any]:
    return {field: value for field, value in mount.items() if value}


def same_resources(there: Resources, made: Resources) -> bool:
    """Whether both say the same.

    The API server writes quantities its own way, and takes limits for missing requests.
    """
    limits, requests = there.get("limits") or {}, there.get("requests") or {}
    our_limits, our_requests = made.get("limits") or {}, made.get("requests") or {}
    return (
        (there.get("claims") or []) == (made.get("claims") or [])
        and _same_amounts(limits, our_limits)
        and _same_amounts({**limits, **requests}, {**our_limits, **our_requests})
    )


def _same_amounts(there: Mapping[str, Quantity], made: Mapping[str, Quantity]) -> bool:
    same = quantity.same
    return there.keys() == made.keys() and all(same(there[name], made[name]) for name in made)


def lost(there: Container, new: Container, credentials: Collection[str] = ()) -> Finding | None:
    """What of `there` somebody else gave it, and `new` has not; None where that is nothing.

    Nothing is said of `credentials`: some webhooks give them to every container.
    """
    gone = _lost_mounts(there, new, credentials)
    what = [*_lost_fields(there, new), *_lost_variables(there, new), *gone]
    if not what:
        return None
    return Reason.RENEWED.say(container=there["name"], what=", ".join(dict.fromkeys(what)))


def _lost_fields(there: Container, new: Container) -> Iterator[str]:
    for field in {**dict.fromkeys(FIELDS), **there}:  # the API server has an order of its own
        if there.get(field) and field not in new:
            yield field


def _lost_variables(there: Container, new: Container) -> Iterator[str]:
    left = {var["name"] for var in pods.env(new)}
    for var in pods.env(there):
        if var["name"] not in left and not var["name"].startswith(_OURS):
            yield f"variable {var['name']}"


def _lost_mounts(there: Container, new: Container, credentials: Collection[str]) -> Iterator[str]:
    left = {pods.clean_path(mount["mountPath"]): mount["name"] for mount in pods.mounts(new)}
    for mount in pods.mounts(there):
        path = pods.clean_path(mount["mountPath"])
        name = mount["name"]
        if names.is_dinps_volume(name) or name in credentials:
            continue
        if left.get(path) != name:
            yield f"the mount of {name} at {path}"
        elif mount.get(_PROPAGATION) not in (None, "None"):
            yield f"{_PROPAGATION} of {name} at {path}"
