"""What the node's images have in them: pause, a client, and stand-ins for docker:<version>-dind."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.node.containerd import PAUSE
from tests.node.images import Image
from tests.node.programs import Programs
from tests.node.python_client import PYTHON_CLIENT, add_python
from webhook.asking.config import Config

CLIENT: Final = "localhost/client:1"
DIND_20_10: Final = "docker:20.10-dind"
DIND_29: Final = Config().sidecar.image  # what dinp injects where nobody says otherwise
_HUB: Final = "docker.io/library/"  # where a name without a host is looked for
_ENTRYPOINT: Final = Path(__file__).with_name("dockerd-entrypoint.sh")

# It ends by TERM at once: as the first process of its namespace, `sleep` would ignore it.
_PAUSE: Final = 'trap "exit 0" TERM INT; while :; do sleep 100000 & wait $!; done'
_PASSWD: Final = "root:x:0:0:root:/root:/bin/sh\nclient:x:1000:1000::/tmp:/bin/sh\n"
_GROUP: Final = "root:x:0:\nclient:x:1000:\ndocker:x:2375:\n"
# Of the image's plugins, which are none of its modules: what the docker command asks of a plugin.
_PLUGIN: Final = """#!/bin/sh
case $1 in
docker-cli-plugin-metadata)
    echo '{"SchemaVersion":"0.1.0","Vendor":"dinp","Version":"v1.2.3","ShortDescription":"a stand-in"}'
    ;;
*) echo "plugin: $*" ;;
esac
"""
_PLUGINS: Final = "usr/local/libexec/docker/cli-plugins"
_IPTABLES: Final = ("iptables", "iptables-save", "iptables-restore")


def all_images(programs: Programs) -> list[Image]:
    """Every image that a Pod of the tests may ask for."""
    return [pause(), client(), python_client(), dind_20_10(), dind_29(programs)]


def pause() -> Image:
    """The sandbox's container; it can also be a container that does nothing."""
    image = with_shell(PAUSE)
    image.entrypoint = ("sh", "-c", _PAUSE)
    return image


def client() -> Image:
    """A shell and the docker CLI 20.10."""
    image = with_shell(CLIENT)
    image.command = ("sh",)
    image.add("/usr/bin/docker")
    return image


def python_client() -> Image:
    """Python with docker-py."""
    image = with_shell(PYTHON_CLIENT)
    image.command = ("python3",)
    add_python(image)
    return image


def dind_20_10() -> Image:
    """Docker 20.10 as Debian 12 has it."""
    image = _dind(DIND_20_10)
    for name in ("dockerd", "docker-proxy", "runc"):
        image.add(f"/usr/sbin/{name}")
    for name in ("containerd", "containerd-shim-runc-v2"):
        image.add(f"/usr/bin/{name}")
    return image


def dind_29(programs: Programs) -> Image:
    """Docker 29, built here; its CLI is the older one, which does not build from a module."""
    image = _dind(DIND_29)
    for name in ("dockerd", "docker-proxy"):
        image.add(programs.docker_29 / name, f"/usr/bin/{name}")
    for name in ("containerd", "containerd-shim-runc-v2"):
        image.add(programs.containerd / name, f"/usr/bin/{name}")
    image.add(programs.runc / "runc", "/usr/bin/runc")
    return image


def with_shell(name: str) -> Image:
    """An image of busybox, root and a user."""
    image = Image(name)
    image.add_busybox()
    image.files["etc/passwd"] = _PASSWD
    image.files["etc/group"] = _GROUP
    image.files["etc/nsswitch.conf"] = "passwd: files\ngroup: files\nhosts: files dns\n"
    return image


def _dind(name: str) -> Image:
    image = with_shell(f"{_HUB}{name}")
    image.entrypoint = ("dockerd-entrypoint.sh",)
    image.environment = {"DOCKER_TLS_CERTDIR": "/certs"}
    image.volumes = ("/var/lib/docker",)
    image.files["usr/local/bin/dockerd-entrypoint.sh"] = _ENTRYPOINT.read_text(encoding="utf-8")
    for plugin in ("docker-buildx", "docker-compose"):
        image.files[f"{_PLUGINS}/{plugin}"] = _PLUGIN
    # flock is an applet of Alpine's busybox, and not of Debian's.
    for program in ("docker", "docker-init", "openssl", "flock"):
        image.add(f"/usr/bin/{program}")
    image.files["usr/lib/ssl/openssl.cnf"] = Path("/etc/ssl/openssl.cnf")
    _add_iptables(image)
    return image


def _add_iptables(image: Image) -> None:
    for kind in ("nft", "legacy"):
        program = f"xtables-{kind}-multi"
        image.add(f"/usr/sbin/{program}")
        for name in _IPTABLES:
            for family in (name, name.replace("ip", "ip6", 1)):
                with_kind = family.replace("tables", f"tables-{kind}", 1)
                image.links[f"usr/sbin/{with_kind}"] = program
                if kind == "nft":
                    image.links[f"usr/sbin/{family}"] = program
    for extension in sorted(Path("/usr/lib").glob("*-linux-gnu/xtables/*.so")):
        image.files[str(extension).lstrip("/")] = extension
