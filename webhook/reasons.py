"""Why dinp did what it did: one enum, read by people and by machines.

A member's value is the metric label (so it never holds user text); its `effect` is what becomes
of the Pod, wherever it is found; its `text` is the sentence for warnings, denials, logs and the command line, filled in by `say`.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from webhook.pods import bounds


class Effect(Enum):
    """What becomes of a Pod for a reason; the value is a phrase for people."""

    NONE = "left as it is: nobody asks for a daemon"
    LEFT = "left as it is"
    TOLD = "left as it is, with a warning, also in dinp.io/status"
    INJECTED = "gets a daemon"
    WARNING = "gets a daemon, with a warning"
    DENIED = "denied"
    BLOCKED = (
        "denied where the Pod itself asks; where its namespace does, left as it is, with a warning"
    )


class Reason(Enum):
    """A value, what becomes of the Pod, and a sentence with named blanks."""

    effect: Effect
    text: str

    def __new__(cls, value: str, effect: Effect, text: str) -> Reason:
        member = object.__new__(cls)
        member._value_ = value
        member.effect = effect
        member.text = text
        return member

    # ---- nothing to do ----
    NOT_REQUESTED = "not_requested", Effect.NONE, "nothing asks for a Docker daemon"
    OPTED_OUT = "opted_out", Effect.NONE, "dinp.io/inject is false"
    MIRROR_POD = "mirror_pod", Effect.NONE, "static Pods are never changed"
    DAEMONSET_POD = (
        "daemonset_pod",
        Effect.LEFT,
        "a Pod of a DaemonSet gets no daemon by namespace default; annotate the Pod with dinp.io/inject: {mode} to force it",
    )
    NEVER_INJECT = (
        "never_inject",
        Effect.TOLD,
        "no daemon by namespace default (dinp.io/inject: {mode} on the Pod forces it): this Pod {because}{socket}; that is row {row} of neverInject",
    )
    NODE_WATCHER = (
        "node_watcher",
        Effect.TOLD,
        "left as it is (dinp.io/inject: {mode} on the Pod forces it): this Pod {because}, and a daemon of dinp's has none of the node's containers; that is row {row} of nodeWatchers",
    )
    NODE_AGENT = (
        "node_agent",
        Effect.TOLD,
        "the Pod looks like a node agent, which wants the node's own containers, and is left as it is; dinp.io/inject: {mode} on the Pod forces it ({signals})",
    )
    RUN_DIRECTORY_ONLY = (
        "run_directory_only",
        Effect.TOLD,
        "nothing is migrated: container {container} mounts all of the node's {path} at {mount_path}{variables}, and dinp takes only a mount of docker.sock itself for the node's Docker; mount that file alone, or annotate the Pod with dinp.io/inject: {mode}",
    )
    OWN_DAEMON = (
        "own_daemon",
        Effect.TOLD,
        "the Pod runs a Docker daemon of its own ({where}); left unchanged, take that daemon out to use dinp's",
    )
    UNREAD_COMMAND = (
        "unread_command",
        Effect.TOLD,
        "container {container} may start a Docker daemon of its own: {what} cannot be read ({why}), and it or the image names one; left unchanged, as two daemons in a Pod break each other",
    )
    OTHERS_SOCKET = (
        "others_socket",
        Effect.TOLD,
        "container {container} mounts {path} of the node at {mount_path}, the socket of another Docker daemon than the node's; left unchanged, annotate the Pod with dinp.io/inject: {mode} to migrate it all the same",
    )
    NO_CONTAINER = (
        "no_container",
        Effect.TOLD,
        "the Pod has none of the containers that dinp.io/containers names ({names}); left unchanged",
    )
    NO_SOCKET_NAMED = (
        "no_socket_named",
        Effect.TOLD,
        "dinp.io/containers ({names}) names none of the containers that mount the node's Docker socket ({sockets}); left unchanged",
    )
    NO_USER = (
        "no_user",
        Effect.TOLD,
        "no container would use dinp's daemon, as DOCKER_HOST is set already ({hosts}); left unchanged, remove DOCKER_HOST from {place} to use dinp's",
    )
    INVALID_POD = "invalid_pod", Effect.LEFT, "not a valid Pod: {problem}"
    OTHER_OPERATION = "other_operation", Effect.LEFT, "dinp looks at the creation of Pods alone"
    ALREADY_DONE = "already_done", Effect.LEFT, "everything is in place"

    # ---- done ----
    INJECTED = "injected", Effect.INJECTED, "gave containers {containers} a Docker daemon"
    MIGRATED = "migrated", Effect.INJECTED, "migrated {paths}"
    # Nobody chose BestEffort, and nearly every Pod without requests is one.
    QOS_NOTED = (
        "qos_noted",
        Effect.INJECTED,
        "the Pod's QoS class changes from BestEffort to Burstable, as the daemon has requests of its own",
    )

    # ---- the request is wrong: always denied ----
    BAD_VALUE = "bad_value", Effect.DENIED, "{source} {key}: {value!r} is not valid: {expected}"
    CONFLICTING_REQUEST = (
        "conflicting_request",
        Effect.DENIED,
        "label and annotation dinp.io/inject differ ({label!r} and {annotation!r}); keep one of them",
    )
    SHARED_DAEMON_NOT_ALLOWED = (
        "shared_daemon_not_allowed",
        Effect.DENIED,
        "dinp.io/inject: {mode} points at a shared root daemon, which this namespace may not use; use sidecar, or ask a cluster admin to label the namespace dinp.io/shared-daemon=allowed",
    )
    SIDECAR_ONLY = (
        "sidecar_only",
        Effect.DENIED,
        "annotation {key} is for sidecar mode, and this Pod's mode is {mode}; remove the annotation or use dinp.io/inject: sidecar",
    )
    UNKNOWN_CONTAINER = (
        "unknown_container",
        Effect.DENIED,
        "annotation dinp.io/containers names {names}, and the Pod has none of them; it has {known}",
    )
    NO_ELIGIBLE_CONTAINER = (
        "no_eligible_container",
        Effect.DENIED,
        "every container of the Pod is dinp's own or of a service mesh; name one in dinp.io/containers to give it a daemon all the same",
    )
    IMAGE_NOT_ALLOWED = (
        "image_not_allowed",
        Effect.DENIED,
        "annotation dinp.io/image: {value!r} is not on the allow-list of the config file ({allowed})",
    )
    DAEMON_CONFIG_NOT_ALLOWED = (
        "daemon_config_not_allowed",
        Effect.DENIED,
        "annotation dinp.io/daemon-config: {value!r} is not allowed, as sidecar.daemonConfigKeys of the config file lists no key of daemon.json; remove the annotation, or ask a cluster admin",
    )
    DIND_IMAGE_NOT_ALLOWED = (
        "dind_image_not_allowed",
        Effect.DENIED,
        "init container {container} has image {value!r} already, which is neither dinp's own nor in allowedImages of the config file ({allowed}); if another webhook rewrites registries, add the new names to allowedImages",
    )
    BORROWED_NAME = (
        "borrowed_name",
        Effect.DENIED,
        "the Pod brings a container {container}, which dinp alone may make, and gets no daemon of dinp's: {why}; take {container} out of the Pod",
    )
    FLAG_NOT_ALLOWED = (
        "flag_not_allowed",
        Effect.DENIED,
        "annotation dinp.io/dockerd-args: {value!r} is not allowed; allowed are {allowed}",
    )
    REQUEST_OVER_LIMIT = (
        "request_over_limit",
        Effect.DENIED,
        "dinp.io/requests {resource}={request} is more than its limit {limit}; raise dinp.io/limits or lower dinp.io/requests",
    )

    # ---- the request cannot work: denied when explicit, else admitted unchanged ----
    TOO_LONG = (
        "too_long",
        Effect.BLOCKED,
        "{key} has {length}, and dinp takes at most {bound}; shorten it, or set dinp.io/inject: false",
    )
    HOST_NETWORK = (
        "host_network",
        Effect.BLOCKED,
        "a Docker daemon in a hostNetwork Pod would rewrite the node's iptables; remove hostNetwork, or use dinp.io/inject: daemonset",
    )
    WINDOWS = (
        "windows",
        Effect.BLOCKED,
        "dinp's Docker daemons run Linux containers, and this is a Windows Pod",
    )
    DRONE = (
        "drone",
        Effect.BLOCKED,
        "Drone's runner updates its Pods with a client of Kubernetes 0.21, which drops restartPolicy of init containers, so the API server would refuse every step of a Pod with a sidecar; dinp.io/inject: daemonset or service works, where the namespace allows it",
    )
    FARGATE = (
        "fargate",
        Effect.BLOCKED,
        "AWS Fargate starts no Pod with a privileged container, and has no DaemonSets; dinp.io/inject: service works, where the namespace allows it",
    )
    HOST_USERS = (
        "host_users",
        Effect.BLOCKED,
        "a privileged daemon cannot run with hostUsers: false; remove hostUsers, or use a shared daemon (dinp.io/inject: daemonset or service)",
    )
    NAME_TAKEN = (
        "name_taken",
        Effect.BLOCKED,
        "{what} {name!r} at {where} uses a name or path of dinp's; choose another",
    )
    SIDECAR_IN_PLACE = (
        "sidecar_in_place",
        Effect.BLOCKED,
        "the Pod has a dinp-dind of sidecar mode already; create it from its original manifest, or keep dinp.io/inject: sidecar",
    )
    PVC_WITH_FS_GROUP = (
        "pvc_with_fs_group",
        Effect.BLOCKED,
        "dinp.io/storage: {value} with fsGroup: the kubelet would change the owner of every image layer on the claim; remove fsGroup, or use emptydir or ephemeral storage",
    )
    UNKNOWN_VOLUME = (
        "unknown_volume",
        Effect.BLOCKED,
        "dinp.io/storage: volume:{name}: the Pod has no volume {name}; it has {known}",
    )
    UNFIT_VOLUME = (
        "unfit_volume",
        Effect.BLOCKED,
        "dinp.io/storage: volume:{name}: a Docker daemon cannot keep its data on this volume, as {why}; name one that can be written, such as a claim",
    )
    DNS_POLICY = (
        "dns_policy",
        Effect.BLOCKED,
        "dnsPolicy {policy}{network} cannot resolve {host}; use dnsPolicy {works}",
    )
    LOCAL_DOCKER_HOST = (
        "local_docker_host",
        Effect.BLOCKED,
        "container {container} sets DOCKER_HOST to {value!r}, inside the Pod, where dinp's daemon is not: the Pod has a Docker daemon of its own there, or none; {cure}",
    )
    PORT_TAKEN = (
        "port_taken",
        Effect.BLOCKED,
        "container {container} {how}, and dinp's daemon would take port {port} from it: set dinp.io/transport: unix on the Pod, or give the container another port",
    )
    SHARE_TAKEN = (
        "share_taken",
        Effect.BLOCKED,
        "dinp.io/share: {path} is a mount of container {container} already, and there can be one volume at a path; take the path out of dinp.io/share, or that mount out of the Pod",
    )

    # ---- warnings: done, but somebody should know ----
    MORE_WARNINGS = "more_warnings", Effect.WARNING, "there are more warnings than these"
    UNSURE = (
        "unsure",
        Effect.WARNING,
        "nothing shows whether this Pod builds images or watches the node; it is migrated as its namespace asks. To decide it, annotate the Pod: dinp.io/inject: {mode} for a builder, false for a watcher of the node, which an empty daemon breaks",
    )
    UNKNOWN_ANNOTATION = (
        "unknown_annotation",
        Effect.WARNING,
        "{what} is not one of dinp's and has no effect{hint}",
    )
    MISSING_CONTAINERS = (
        "missing_containers",
        Effect.WARNING,
        "annotation dinp.io/containers names {names}, which this Pod does not have: these names have no effect",
    )
    USERS_DOCKER_HOST = (
        "users_docker_host",
        Effect.WARNING,
        "{containers}: DOCKER_HOST is {value!r} already and stays so: what reads DOCKER_HOST {uses}{hint}",
    )
    DOCKER_CONTEXT = (
        "docker_context",
        Effect.WARNING,
        "{containers}: DOCKER_CONTEXT is {value!r}, but DOCKER_HOST goes before it and leads to the daemon that dinp provides; to keep the context, leave the container out of dinp.io/containers",
    )
    UNREAD_VARIABLE = (
        "unread_variable",
        Effect.WARNING,
        "{containers}: {what} cannot be read ({why}), so dinp cannot see what the container starts",
    )
    ENV_FROM = (
        "env_from",
        Effect.WARNING,
        "{containers}: dinp cannot see Docker variables that come from envFrom",
    )
    EXPORTED_AGAIN = (
        "exported_again",
        Effect.WARNING,
        "{containers}: GitLab's runner exports the job's variables again in each script, over those of the Pod; remove {names} from the CI/CD variables",
    )
    VARIABLE_REMOVED = (
        "variable_removed",
        Effect.WARNING,
        "{containers}: removed {name}, which would switch Docker clients to TLS",
    )
    VARIABLE_REPLACED = (
        "variable_replaced",
        Effect.WARNING,
        "{containers}: {name} was {old!r}, and is {new!r} now",
    )
    NO_PROXY_VALUE_FROM = (
        "no_proxy_value_from",
        Effect.WARNING,
        "{containers}: {name} comes from valueFrom, so {host} could not be added to it; docker-py would send its requests to the proxy",
    )
    SOCKET_REMOVED = (
        "socket_removed",
        Effect.WARNING,
        "{containers}: the mount of the node's Docker socket at {path} is gone; what is hard-wired to that path will fail, what reads DOCKER_HOST works",
    )
    RUN_DIRECTORY = (
        "run_directory",
        Effect.WARNING,
        "{containers}: the mount of the node's {path} at {mount_path} stays as it is, and a Docker socket of the node's in it does not lead to the daemon that dinp provides",
    )
    SOCKET_ADDRESS = (
        "socket_address",
        Effect.WARNING,
        "{containers}: {what} names {path}, {where}: what opens that path does not use the daemon that dinp provides",
    )
    SOCKET_LEFT = (
        "socket_left",
        Effect.WARNING,
        "{containers}: no daemon of dinp's here, so the mount of the node's Docker socket at {path} stays as it is",
    )
    CACHE_UNUSED = (
        "cache_unused",
        Effect.WARNING,
        "{containers}: the daemon does not use volume {volume} at {path}, and its cache is another one{hint}",
    )
    OTHERS_SOCKET_LEFT = (
        "others_socket_left",
        Effect.WARNING,
        "{containers}: the mount of {path} of the node at {mount_path}, the socket of another Docker daemon than the node's, stays as it is",
    )
    NODE_STATE_LEFT = (
        "node_state_left",
        Effect.WARNING,
        "{containers}: the mount of the node's {path} at {mount_path} stays as it is, and shows nothing of the daemon that dinp provides",
    )
    CLI_PATH_TAKEN = (
        "cli_path_taken",
        Effect.WARNING,
        "{containers}: no docker CLI (dinp.io/cli), as a mount at {path} is in the way; take the mount out, or put a CLI there",
    )
    SUB_PATH_EXPR = (
        "sub_path_expr",
        Effect.WARNING,
        "{containers}: the mount at {path} is not shared with the daemon, as it has a subPathExpr; {way}",
    )
    SUB_PATH_FILE = (
        "sub_path_file",
        Effect.WARNING,
        "{containers}: the mount at {path} is not shared with the daemon, as an init container can write its subPath after the daemon has started; {way}",
    )
    SYSTEM_PATH = (
        "system_path",
        Effect.WARNING,
        "{containers}: the mount at {path} is not shared with the daemon, as it would hide files of its image; {way}",
    )
    DAEMON_CONFIG_MOUNT = (
        "daemon_config_mount",
        Effect.WARNING,
        "{containers}: the mount at {path} would configure the daemon and is not shared with it, as sidecar.daemonConfigKeys of the config file lists no key of daemon.json",
    )
    TRUST = (
        "trust",
        Effect.WARNING,
        "{containers}: the mount at {path} is not shared with the daemon, as it would change whom the daemon trusts{way}",
    )
    CREDENTIALS = (
        "credentials",
        Effect.WARNING,
        "{containers}: the volume at {path} is not shared with the daemon, as it has credentials of the Pod (a token or a certificate); copy other files of it to another volume to share them",
    )
    MOUNT_CONFLICT = (
        "mount_conflict",
        Effect.WARNING,
        "{containers}: at {path} the daemon has the volume of container {kept}, and this is another one, or another part of it",
    )
    IMAGE_IN_PLACE = (
        "image_in_place",
        Effect.WARNING,
        "the Pod has a {container} with image {there} already: that image is kept, not changed to {asked}; create the Pod from its original manifest to change it",
    )
    RENEWED = (
        "renewed",
        Effect.WARNING,
        "container {container} is made anew, without these parts of it: {what}",
    )
    POD_LEVEL_RESOURCES = (
        "pod_level_resources",
        Effect.WARNING,
        "dinp.io/requests and dinp.io/limits have no effect: the Pod-level resources bound the daemon too",
    )
    NO_CLIENT_RESOURCES = (
        "no_client_resources",
        Effect.WARNING,
        "dinp.io/{field}: client: no client has {field} of {what}, so the daemon has those of the config file ({instead}); give them to a client, or name amounts",
    )
    QOS_CHANGED = (
        "qos_changed",
        Effect.WARNING,
        "the Pod's QoS class changes from {old} to {new}, as the daemon has requests of its own; dinp.io/requests and dinp.io/limits keep it, both client or with equal cpu and memory",
    )
    PROXY_REFERENCE = (
        "proxy_reference",
        Effect.WARNING,
        "the daemon does not get {name} of container {container}, as its value refers to other variables",
    )
    VIRTUAL_MACHINE = (
        "virtual_machine",
        Effect.WARNING,
        "runtimeClassName {name}: a privileged Docker daemon is not known to start in Kata Containers or gVisor; if the Pod does not start, use another RuntimeClass, or a shared daemon (dinp.io/inject: daemonset or service)",
    )
    DAEMON_PER_POD = (
        "daemon_per_pod",
        Effect.WARNING,
        "Pods of {kind} {name} shared the Docker of their node; now each Pod has its own daemon, starts without images, and sees no containers of other Pods; mode daemonset keeps one daemon a node",
    )
    PVC_SHARED = (
        "pvc_shared",
        Effect.WARNING,
        "dinp.io/storage: {value}: two daemons on one data directory destroy it; make sure that no other Pod uses the claim at the same time",
    )
    STORAGE_MOUNTED = (
        "storage_mounted",
        Effect.WARNING,
        "{containers}: volume {volume}, mounted at {path}, has the daemon's data (dinp.io/storage), and what changes them there may destroy them; take the mount out",
    )
    BIND_MOUNTS_SHARED = (
        "bind_mounts_shared",
        Effect.WARNING,
        "docker run -v sees the file system of the shared daemon, not of this Pod{jenkins}",
    )
    PUBLISHED_PORTS = (
        "published_ports",
        Effect.WARNING,
        "ports published on the shared daemon (docker run -p, testcontainers) are not reachable from this Pod",
    )

    @property
    def code(self) -> str:
        """A denial ends with it, whole: a sentence has names in it, and this finds docs/reasons.md."""
        return f"[{self.value}]"

    def say(self, **blanks: object) -> Finding:
        """Fill in the sentence. A missing blank is a KeyError: a bug of ours.

        `{containers}` in it is the blank `container`, and may be several (planning.sentences).
        """
        for name, blank in blanks.items():
            if isinstance(blank, str) and len(blank) > bounds.QUOTED:
                # A Pod may have a thousand warnings of one long text: none quotes it whole.
                blanks[name] = f"{blank[: bounds.QUOTED]}…"
        before, mark, after = self.text.partition("{containers}")
        if not mark or "container" not in blanks:
            return Finding(self, self.text.format(**blanks))
        container = str(blanks["container"])
        around = before.format(**blanks), after.format(**blanks)
        return Finding(self, f"{around[0]}container {container}{around[1]}", container, around)


class Finding(msgspec.Struct, frozen=True):
    """A reason and its finished sentence; of one container: which, and what stands around its name."""

    reason: Reason
    text: str
    container: str = ""
    around: tuple[str, str] | None = None

    def __str__(self) -> str:
        return self.text
