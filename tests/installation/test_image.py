"""The image: what the lock file says, for nobody in particular, and nothing to install with."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.installation import image
from tests.installation.image import Docker
from tests.release import programs as release
from tests.terminal import teller

pytestmark = pytest.mark.node

_LOCK: Final = Path(__file__).parents[2] / "requirements.lock"
_LIST: Final = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.name: d.version for d in m.distributions()}))"
)


@pytest.fixture(scope="module")
def described(docker: Docker) -> dict[str, Any]:
    """Its configuration."""
    (found,) = json.loads(docker.run("image", "inspect", image.NAME))
    return dict(found["Config"])


def run(docker: Docker, *arguments: str, entrypoint: str = "") -> str:
    """Run a container as the manifests say: no root, nothing to write to."""
    flags = ["--rm", "--network=none", "--read-only", "--cap-drop=ALL"]
    flags += [f"--entrypoint={entrypoint}"] if entrypoint else []
    return docker.run("run", *flags, image.NAME, *arguments)


def test_nobody_runs_it(docker: Docker, described: dict[str, Any]) -> None:
    """The user is a number, without which runAsNonRoot refuses the Pod, and is not root."""
    assert described["User"] == "65532:65532"
    assert run(docker, "-u", entrypoint="id").strip() == "65532"


def test_what_it_is_made_of(docker: Docker) -> None:
    """Exactly what the lock file has, and dinp: no pip, no build tools."""
    wanted = dict(
        re.findall(r"^([a-z0-9-]+)==([^\s;]+)", _LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    )
    found = json.loads(run(docker, "-c", _LIST, entrypoint="python3"))
    assert found.pop("dinp")
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found.items()}
    assert normal.items() <= wanted.items()
    assert {"aiohttp", "kubernetes", "msgspec"} <= normal.keys()


def test_its_labels(described: dict[str, Any]) -> None:
    """Whoever finds it in a registry can tell what it is."""
    labels = described["Labels"]
    assert labels["org.opencontainers.image.title"] == "dinp"
    assert labels["org.opencontainers.image.version"] == "0.0.test"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_it_starts(docker: Docker) -> None:
    """Both commands of the manifests are there, on a read-only root without a network."""
    assert "--tls-cert-file" in run(docker, "serve", "--help")
    assert "--ca-secret" in run(docker, "certs", "run", "--help")


def test_nothing_is_compiled_at_run_time(docker: Docker) -> None:
    """The root file system is read-only, so each module comes with its compiled file."""
    script = (
        "import glob, os, importlib.util as u;"
        "files = glob.glob('/opt/dinp/lib/python*/site-packages/webhook/**/*.py', recursive=True);"
        "print(len(files), [f for f in files if not os.path.exists(u.cache_from_source(f))])"
    )
    count, missing = run(docker, "-c", script, entrypoint="python3").split(" ", 1)
    assert int(count) > 20
    assert missing.strip() == "[]"


def test_the_list_of_it(docker: Docker, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """`make sbom` finds in it the packages that it has, by docker alone; the stand-in has no dpkg."""
    tools = release.find_or_install(teller(request))
    output = tmp_path / "dinp.cdx.json"
    done = subprocess.run(  # noqa: S603 - our own command
        [str(tools.python), "-m", "tools.sbom", image.NAME, f"--output={output}"],
        cwd=_LOCK.parent,
        env={**os.environ, "DOCKER_HOST": f"unix://{docker.socket}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 3 == done.returncode, done.stderr
    assert "incomplete: the image has no /var/lib/dpkg/status" in done.stderr
    components = json.loads(output.read_text(encoding="utf-8"))["components"]
    listed = {it["name"]: it["version"] for it in components if it["type"] == "library"}
    assert json.loads(run(docker, "-c", _LIST, entrypoint="python3")) == listed
    assert {"python"} == {it["name"] for it in components if it["type"] == "platform"}
