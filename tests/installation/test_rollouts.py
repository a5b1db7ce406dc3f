"""Whatever administrators do to dinp, Pods are created meanwhile, and none is refused."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.installation import BASE
from tests.cluster.processes import wait_until
from tests.installation.deployed import CERTS, WEBHOOK, Deployed, is_ready
from tests.installation.load import load
from tests.terminal import teller

pytestmark = pytest.mark.node

WEBHOOK_RESTARTS: Final = 10
CERTS_RESTARTS: Final = 5
ROTATIONS: Final = 3
# The kubelets of this cluster take up to 3 s to bring a Secret, dinp serve looks every 5 s.
SHORT: Final = (
    *("certs", "run", "--ca-lifetime=90s", "--leaf-lifetime=85s"),
    *("--propagation=3s", "--delivery=12s"),
)
DRAIN: Final = ("--ignore-daemonsets", "--delete-emptydir-data", "--force")
OTHER_CONFIG: Final = "sidecar: {}\ndaemonset: {}\n"
_ROOT: Final = Path(__file__).parents[2]


class Authorities:
    """The CAs that have signed, one after the other."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed
        self.signed: list[bytes] = []
        self.look()

    def look(self) -> int:
        """Look again; return how many rotations there were."""
        signing = self._secret()["ca.crt"]
        if signing not in self.signed:
            self.signed.append(signing)
        return len(self.signed) - 1

    def is_settled(self) -> bool:
        """Whether enough rotations are over, the last one to its end."""
        return self.look() >= ROTATIONS and "old.crt" not in self._secret()

    def _secret(self) -> dict[str, bytes]:
        return self._deployed.certs.secret("dinp-ca")


@pytest.fixture
def short_lived(installed: Deployed) -> Iterator[Deployed]:
    """CAs of a minute and a half, as long as the test takes."""
    installed.kubectl("apply", "-k", str(installed.kustomization(arguments=SHORT)))
    installed.wait_for_rollout(CERTS)
    yield installed
    # Others would have to take over what ends that soon: begin again.
    installed.empty()
    installed.install()


@pytest.mark.tail
def test_whatever_happens(short_lived: Deployed, request: pytest.FixtureRequest) -> None:
    """Webhook and certs restarted, a node drained, and all the while one CA after the other."""
    authorities = Authorities(short_lived)
    with load(short_lived) as found:
        for _ in restarts(short_lived, webhook=WEBHOOK_RESTARTS, certs=CERTS_RESTARTS):
            authorities.look()
        drained = drain(short_lived)
        wait_until(authorities.is_settled, "the CAs are rotated", seconds=400, interval=0.5)
    teller(request)(
        f"{WEBHOOK_RESTARTS} restarts of the webhook, {CERTS_RESTARTS} of certs, "
        f"{authorities.look()} CA rotations, node drained in {drained:.0f} s: {found}"
    )
    found.judge()


def test_restarts_and_a_drain(installed: Deployed, request: pytest.FixtureRequest) -> None:
    """Webhook and certs are restarted, a node is drained, and nobody is refused meanwhile."""
    with load(installed) as found:
        restarted = len(list(restarts(installed, webhook=2, certs=1)))
        drained = drain(installed)
    teller(request)(f"{restarted} restarts, node drained in {drained:.0f} s: {found}")
    found.judge()


def restarts(deployed: Deployed, *, webhook: int, certs: int) -> Iterator[str]:
    """Restart the webhook so many times, and certs in between; yield each when it is done."""
    for number in range(webhook):
        if number * certs // webhook != (number - 1) * certs // webhook:
            deployed.restart(CERTS)
            yield CERTS
        deployed.restart(WEBHOOK)
        yield WEBHOOK


def drain(deployed: Deployed) -> float:
    """Move the Pods of one node to the other, and let it have Pods again; return the seconds."""
    began = time.monotonic()
    name = deployed.pods("webhook")[0]["spec"]["nodeName"]
    deployed.kubectl("drain", name, *DRAIN)
    deployed.wait_for_rollouts()
    assert name not in {
        pod["spec"]["nodeName"] for pod in deployed.pods("webhook") if is_ready(pod)
    }
    deployed.kubectl("uncordon", name)
    return time.monotonic() - began


def test_an_upgrade(installed: Deployed, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The manifests before these are replaced by these: nobody is refused meanwhile."""
    older = older_base(installed, tmp_path)
    before = installed.kustomization(base=older or BASE, tag="next", config=OTHER_CONFIG)
    installed.kubectl("apply", "-k", str(before))
    installed.wait_for_rollouts()
    old = {pod["metadata"]["name"] for pod in installed.pods("webhook")}
    with load(installed) as found:
        installed.kubectl("apply", "-k", str(installed.kustomization()))
        installed.wait_for_rollouts()
    what = "these manifests with another image and config file" if older is None else older.name
    teller(request)(f"upgraded from {what}: {found}")
    assert not old & {pod["metadata"]["name"] for pod in installed.pods("webhook") if is_ready(pod)}
    found.judge()


def older_base(deployed: Deployed, directory: Path) -> Path | None:
    """manifests/base as it was before its last change, if it could be installed then."""
    commits = git("log", "--format=%H", "--max-count=2", "--", str(BASE)).split()
    is_changed = git("status", "--porcelain", "--", str(BASE))
    before = commits[:1] if is_changed else commits[1:]
    for commit in before:
        folder = directory / f"manifests-of-{commit[:9]}"
        for name in git("ls-tree", "--name-only", f"{commit}:manifests/base").split():
            folder.mkdir(exist_ok=True)
            (folder / name).write_text(git("show", f"{commit}:manifests/base/{name}"), "utf-8")
        if "kind: Deployment" in deployed.kubectl("kustomize", str(folder)).out:
            return folder
    return None


def git(*arguments: str) -> str:
    """What git says; nothing where this is not a clone of the project."""
    command = ["git", "-C", str(_ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return done.stdout
