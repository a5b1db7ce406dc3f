"""Keep the ServiceAccount's token out of the containers that dinp adds.

The API server's ServiceAccount plugin mounts a token into every container that has nothing at
its path. Ours have an empty volume there: a daemon that runs anybody's builds holds no
credentials of the cluster. And the plugin, which runs once more after the webhooks, finds
nothing to change, so that the API server has no reason to call every webhook a second time
(reinvocation; plugin/pkg/admission/serviceaccount, Kubernetes 1.34).
"""

from __future__ import annotations

from typing import Final

from webhook import names
from webhook.pod import Volume, VolumeMount

VOLUME: Final[Volume] = {"name": names.NO_TOKEN, "emptyDir": {}}
MOUNT: Final[VolumeMount] = {
    "name": names.NO_TOKEN,
    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    "readOnly": True,
}
