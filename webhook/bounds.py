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
# What a securityContext and resources take as JSON, where dinp copies them: 1 KiB would be much.
COPIED: Final = 16 * 1024

# ---- numbers -------------------------------------------------------------------------------

# With its status and managedFields each takes some 700 bytes of the 1.5 MiB that etcd stores as
# one object; Pods that people show have fewer than 50.
CONTAINERS: Final = 2000
# Likewise, of all containers together: some 140 bytes each, and 100 a volume.
MOUNTS: Final = 10_000
VOLUMES: Final = 10_000
# Paths of dinp.io/share: each is a volume, and a mount in every client; one or two are usual.
SHARES: Final = 32
# Warnings told: of them the API server hands 4 KiB on to kubectl, some 16.
WARNINGS: Final = 256
# Characters of a name, a value or a list in a sentence. Denials end at 4 KiB, warnings at 256 bytes.
QUOTED: Final = 1000
# Characters of all that the triage judges of a Pod: four thousand phrases of usual length.
PHRASES: Final = 256 * 1024
# Characters of what was changed, and of the warnings, in dinp.io/status: with all annotations of
# the Pod they have to fit into those 256 KiB.
STATUS: Final = 64 * 1024
