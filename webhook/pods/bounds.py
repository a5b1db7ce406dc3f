"""How much of a Pod dinp takes: one number for each thing that it parses or multiplies.

Whoever may create Pods writes them, up to the API server's 3 MiB. Above these bounds a request
is refused in words (excess.py), so that no review takes long. Each is far above what a Pod
that runs can have, for the reason beside it. Commands and variables are never refused for
their length: a bounded part of them is judged.
"""

from __future__ import annotations

from typing import Final

# ---- characters ----------------------------------------------------------------------------

# An annotation that dinp parses. The API server gives all annotations of an object together
# 256 KiB (validation.TotalAnnotationSizeLimitB); this holds 256 container names of full length.
ANNOTATION: Final = 16 * 1024
ANNOTATIONS: Final = 256 * 1024  # those 256 KiB
# A reference has at most 255 characters of name, 128 of tag and 135 of digest (sha512); what is
# longer no registry serves and no runtime pulls (distribution/reference).
IMAGE: Final = 1024
# Sign, 19 digits, a point, 9 digits and a suffix are what resource.Quantity can hold: int64,
# down to nano. Python's Decimal would take a million digits, and time and memory for each.
QUANTITY: Final = 64
# A DNS subdomain; containers and volumes have labels, which end at 63 (RFC 1123).
NAME: Final = 253
# PATH_MAX of Linux: mount(2) takes no longer one.
PATH: Final = 4096
# MAX_ARG_STRLEN of Linux: execve(2) takes no longer argument, so no longer script ever runs, nor
# is there a longer variable. Of what is longer so much is judged.
COMMAND: Final = 128 * 1024
# Words, quotes and operators of a shell's text that are taken apart, where it names a Docker daemon.
# Each takes a microsecond, twice; a script of 500 lines has as many. What is longer is said to be unreadable.
TOKENS: Final = 8000
# Characters of such texts of all containers together: they are taken apart in the server's own process.
SCRIPTS: Final = 24 * 1024
# host:port with a scheme; a name of DNS ends at 253.
ADDRESS: Final = 300
# Names of hostAliases that are looked at, for one that means the loopback. Each takes 5 microseconds to
# read; /etc/hosts of a Pod has a few.
ALIASES: Final = 1000
# What a securityContext and resources take as JSON, where dinp copies them: 1 KiB would be much.
COPIED: Final = 16 * 1024

# PEM of the config file's certificateAuthorities, in bytes: some twenty certificates. Each Pod has them in
# its spec, and etcd stores 1.5 MiB as one object.
AUTHORITIES: Final = 32 * 1024

# ---- numbers -------------------------------------------------------------------------------

# With its status and managedFields each takes some 700 bytes of the 1.5 MiB that etcd stores as
# one object; Pods that people show have fewer than 50.
CONTAINERS: Final = 1000
# Likewise, of all containers together: some 140 bytes each, and 100 a volume.
MOUNTS: Final = 3400
VOLUMES: Final = 9900
# The same for a Pod that has been through dinp, and comes a second time: it has the daemon's mounts
# beside the clients', two more in each client, and the shares. A Pod above these would be denied
# for what dinp itself has made of it.
CONTAINERS_LATER: Final = CONTAINERS + 40
MOUNTS_LATER: Final = 10_000
VOLUMES_LATER: Final = VOLUMES + 100
# Paths of dinp.io/share: each is a volume, and a mount in every client; one or two are usual.
SHARES: Final = 32
# Mounts that dinp.io/share adds to all clients together, and the characters of their paths.
SHARED_MOUNTS: Final = 900
SHARED_PATHS: Final = 128 * 1024
# Warnings told: of them the API server hands 4 KiB on to kubectl, some 16.
WARNINGS: Final = 256
# Characters of containers' names in one warning, which ends at 256 bytes and has more to say.
NAMES_TOLD: Final = 80
# Characters of a name, a value or a list in a sentence. Denials end at 4 KiB, warnings at 256 bytes.
QUOTED: Final = 1000
# Characters of all that the triage judges of a Pod: four thousand phrases of usual length.
PHRASES: Final = 256 * 1024
# Characters of what was changed, and of the warnings, in dinp.io/status: with all annotations of
# the Pod they have to fit into those 256 KiB.
STATUS: Final = 64 * 1024

# ---- the server ----------------------------------------------------------------------------
#
# How much of its clients' the server holds at a time, in bytes and connections. Together these
# bounds fit the memory limit of the Deployment: MEMORY is the sum, tests/webhook/serving/test_memory_limit.py
# compares it with manifests/base/deployment.yaml, and fills a cgroup of that limit.

KIB: Final = 1024
MIB: Final = 1024 * KIB

# A body. The API server takes 3 MiB from its clients; fields that it fills in come on top.
BODY: Final = 8 * MIB
# Of such a body the server's own process does the review, in 20 ms at most, and 2 MiB. For larger
# ones there is a process of its own (reviewer.py), and for those that are made of many little
# things, of which each may be given a daemon: a usual Pod has some 150 objects.
SMALL_BODY: Final = 64 * KIB
SMALL_OBJECTS: Final = 1000
# All requests that are arriving, waiting in line or being reviewed: their heads and bodies.
HELD: Final = 12 * MIB
# All answers that their clients have not taken yet. A patch has 2 MiB where a Pod has as many
# containers and mounts as dinp takes.
UNSENT: Final = 8 * MIB
# An API server has at most some 200 creations in flight (--max-mutating-requests-inflight). More
# connections than these wait in the kernel, until one that is idle has made room.
CONNECTIONS: Final = 512
# The kubelet's probes and Prometheus: three would do.
HEALTH_CONNECTIONS: Final = 64
# What asyncio reads of a TLS connection at once, and keeps as a buffer for each connection. Its own
# 256 KiB would be half a GiB for 2,000 connections that send nothing.
TLS_BUFFER: Final = 16 * KIB
HEADERS: Final = 64  # of a request: the API server sends ten
# Data of the reviewer's process (RLIMIT_DATA): 14 MiB of it Python's, and 77 MiB what a Pod of
# 3 MiB becomes where it is nothing but `{},{},{}`. A review that needs more is refused (reviewer.py).
REVIEWER: Final = 112 * MIB
# Above this between two reviews, of 23 MiB at its start, another process takes its place: what large
# Pods of many kinds leave behind is in too many pieces to be given back.
REVIEWER_AT_REST: Final = 36 * MIB
# What each can come to at most, as measured with Python 3.11 on x86-64.
MEMORY: Final = {
    "the server at rest, after 100,000 reviews": 42 * MIB,
    "the reviewer, with its page tables": REVIEWER + 2 * MIB,
    # In the middle of its handshake one has 60 KiB, later 45.
    "connections with TLS": CONNECTIONS * 60 * KIB,
    "connections without": HEALTH_CONNECTIONS * 16 * KIB,
    # Of a header both its bytes and its text are kept; a body is in memory once, and grows by an eighth.
    "requests": 3 * HELD,
    # Large ones come from the reviewer, and are once in a buffer and once as what is sent.
    "answers": 2 * UNSENT,
    "a review in the server's process": 4 * MIB,
    "the kernel's part of connections": (CONNECTIONS + HEALTH_CONNECTIONS) * 10 * KIB,
}
# Of the Deployment's container.
MEMORY_LIMIT: Final = 256 * MIB
