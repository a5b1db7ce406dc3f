"""containerd, its configuration, the Pod network and the images of the node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster.processes import StartError, wait_until
from tests.node.namespace import Namespace
from tests.node.programs import Programs

SOCKET: Final = "/run/containerd/containerd.sock"
PAUSE: Final = "localhost/pause:3"
MTU: Final = 1420  # of the Pod network: no default of anybody's

# restrict_oom_score_adj: a sandbox asks for a negative value, which root without
# CAP_SYS_RESOURCE must not give. What runc keeps goes to /run, which is the node's own.
_CONFIG: Final = """\
version = 3
[grpc]
address = "{socket}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{cni}"]
conf_dir = "{cni_config}"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"""


@contextmanager
def containerd(node: Namespace, programs: Programs) -> Iterator[None]:
    """Run it inside, until it answers at SOCKET.

    Raises:
        StartError: it does not.
    """
    cni_config = node.directory / "cni"
    cni_config.mkdir()
    (cni_config / "10-pods.conflist").write_text(
        json.dumps(_pod_network(node.pods)), encoding="utf-8"
    )
    config = node.directory / "containerd.toml"
    settings = {"socket": SOCKET, "pause": PAUSE, "cni": programs.cni, "cni_config": cni_config}
    config.write_text(_CONFIG.format(**settings, runc=programs.runc / "runc"), encoding="utf-8")
    # It looks for its shim in PATH.
    path = f"PATH={programs.containerd}:/usr/sbin:/usr/bin:/sbin:/bin"
    command = ["env", path, str(programs.containerd / "containerd"), f"--config={config}"]
    with node.running("containerd", command):
        wait_until(lambda: _answers(node, programs), "containerd answers", interval=0.2)
        yield


def import_images(node: Namespace, programs: Programs, files: Iterable[Path]) -> None:
    """Give the node these images, each an OCI layout in a tar.

    Raises:
        StartError: containerd refuses one.
    """
    for file in files:
        node.run(*_ctr(programs), "--namespace=k8s.io", "images", "import", str(file))


def _answers(node: Namespace, programs: Programs) -> bool:
    try:
        node.run(*_ctr(programs), "version")
    except StartError:
        return False
    return True


def _ctr(programs: Programs) -> list[str]:
    return [str(programs.containerd / "ctr"), f"--address={SOCKET}"]


def _pod_network(subnet: str) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "mtu": MTU,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    # hostPort works by portmap.
    port_map = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, port_map]}
