"""Digests are written where images are named, and nowhere else: with a real registry."""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.processes import free_ports, output, running, wait_until
from tests.release.programs import ROOT, Programs
from webhook.asking import config

pytestmark = pytest.mark.node

_IMAGES: Final = ("docker:29.7.2-dind-rootless", "docker:29.7.2-dind", "python:3.14.8-slim-trixie")
# File -> what stands before its images.
_PLACES: Final = {
    "Dockerfile": ["ARG BASE="],
    "manifests/base/config.yaml": ["  image: ", "  rootlessImage: "],
    "manifests/daemonset/daemonset.yaml": ["        image: "],
    "manifests/service/statefulset.yaml": ["        image: "],
}
_ACCEPT: Final = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"


@dataclass(frozen=True)
class Registry:
    """Distribution's registry, on loopback, in plain HTTP."""

    crane: Path
    host: str
    scratch: Path

    def push(self, image: str, content: str, platforms: tuple[str, ...]) -> None:
        """Push an image of these platforms: an index, but where there is one platform only."""
        layer, name = self.scratch / "layer.tar", f"{self.host}/{image}"
        (self.scratch / "content").write_text(content, encoding="utf-8")
        with tarfile.open(layer, "w") as archive:
            archive.add(self.scratch / "content", "content")
        repository = name.rpartition(":")[0]
        self._crane("append", "--oci-empty-base", f"--new_layer={layer}", f"--new_tag={name}")
        parts = []
        for platform in platforms:
            part = f"{repository}:{platform.replace('/', '-')}"
            self._crane("mutate", name, f"--set-platform={platform}", f"--tag={part}")
            parts.append(f"--manifest={part}")
        if len(platforms) > 1:
            self._crane("index", "append", *parts, f"--tag={name}")

    def digest(self, image: str) -> str:
        """What the registry itself says is the digest of an index."""
        repository, _, tag = image.rpartition(":")
        request = urllib.request.Request(
            f"http://{self.host}/v2/{repository}/manifests/{tag}",
            headers={"Accept": _ACCEPT},
            method="HEAD",
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return str(answer.headers["Docker-Content-Digest"])

    def _crane(self, *words: str) -> None:
        output([str(self.crane), *words])


@pytest.fixture
def registry(tools: Programs, tmp_path: Path) -> Iterator[Registry]:
    """A registry that has the images, for two platforms."""
    with _serving(tools, tmp_path) as served:
        for image in _IMAGES:
            served.push(image, image, ("linux/amd64", "linux/arm64"))
        yield served


@contextmanager
def _serving(tools: Programs, directory: Path) -> Iterator[Registry]:
    (port,) = free_ports(1)
    host, settings = f"127.0.0.1:{port}", directory / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/registry}}}}\n"
        f"http: {{addr: '{host}'}}\n",
        encoding="ascii",
    )
    with running([str(tools.registry), "serve", str(settings)], directory / "registry.log"):
        wait_until(lambda: _answers(host), "the registry answers")
        yield Registry(tools.crane, host, directory)


def _answers(host: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{host}/v2/", timeout=5):
            return True
    except OSError:
        return False


def checkout(directory: Path, host: str) -> Path:
    """A copy of what `make pin` could change, with the images at this registry."""
    copy = directory / "checkout"
    shutil.copytree(ROOT / "manifests", copy / "manifests")
    shutil.copy(ROOT / "Dockerfile", copy)
    for file in _PLACES:
        text = (copy / file).read_text(encoding="utf-8")
        for name in ("docker", "python"):
            text = text.replace(f" {name}:", f" {host}/{name}:")
            text = text.replace(f"={name}:", f"={host}/{name}:")
        (copy / file).write_text(text, encoding="utf-8")
    return copy


def pin(root: Path) -> subprocess.CompletedProcess[str]:
    """Run `make pin` there."""
    command = [sys.executable, "-m", "tools.pin", f"--root={root}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command


def texts(root: Path) -> dict[str, str]:
    """Every file below a folder."""
    return {
        str(file.relative_to(root)): file.read_text(encoding="utf-8")
        for file in root.rglob("*")
        if file.is_file()
    }


def lines_changed(before: str, after: str) -> list[tuple[str, str]]:
    """The lines that two texts differ by: before, after."""
    matcher = difflib.SequenceMatcher(None, old := before.splitlines(), new := after.splitlines())
    found: list[tuple[str, str]] = []
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        if kind != "equal":
            found += zip(old[start:end], new[new_start:new_end], strict=True)
    return found


def test_the_right_places_and_no_others(registry: Registry, tmp_path: Path) -> None:
    """Each image gets the digest of its index behind its tag; not a byte else is another."""
    root = checkout(tmp_path, registry.host)
    before = texts(root)
    done = pin(root)
    assert 0 == done.returncode, done.stderr
    after = texts(root)
    assert set(_PLACES) == {file for file, text in after.items() if text != before[file]}
    for file, starts in _PLACES.items():
        changed = lines_changed(before[file], after[file])
        assert len(starts) == len(changed)
        for start, (old, new) in zip(starts, changed, strict=True):
            image = old.removeprefix(f"{start}{registry.host}/")
            assert image in _IMAGES
            assert f"{old}@{registry.digest(image)}" == new


def test_what_is_pinned_is_a_config_file(registry: Registry, tmp_path: Path) -> None:
    """dinp takes it: tag and digest are one image."""
    root = checkout(tmp_path, registry.host)
    assert 0 == pin(root).returncode
    parsed = config.parse((root / "manifests/base/config.yaml").read_bytes())
    digest = registry.digest("docker:29.7.2-dind")
    assert f"{registry.host}/docker:29.7.2-dind@{digest}" == parsed.sidecar.image


def test_twice_is_once(registry: Registry, tmp_path: Path) -> None:
    """Run again, it changes nothing, and says so of each place."""
    root = checkout(tmp_path, registry.host)
    assert 0 == pin(root).returncode
    before = texts(root)
    done = pin(root)
    assert (0, before) == (done.returncode, texts(root))
    assert 5 == done.stdout.count(" is still sha256:")
    assert 5 == len(done.stdout.splitlines())


def test_another_digest_is_shown(registry: Registry, tmp_path: Path) -> None:
    """A tag that has moved gets its new digest, with the old one beside it in the output."""
    root = checkout(tmp_path, registry.host)
    assert 0 == pin(root).returncode
    old = registry.digest(_IMAGES[-1])
    registry.push(_IMAGES[-1], "rebuilt", ("linux/amd64", "linux/arm64"))
    new = registry.digest(_IMAGES[-1])
    assert old != new
    done = pin(root)
    assert f"was {old}, and is {new} now" in done.stdout
    dockerfile = (root / "Dockerfile").read_text(encoding="utf-8")
    assert old not in dockerfile
    assert new in dockerfile


def test_one_platform_is_not_all(registry: Registry, tmp_path: Path) -> None:
    """A registry that has one platform's image: its digest would break all others."""
    registry.push(_IMAGES[-1], "one", ("linux/arm64",))
    refused(checkout(tmp_path, registry.host), f"{_IMAGES[-1]}: no digest: the registry has it for")


def test_a_tag_that_is_not_there(tools: Programs, tmp_path: Path) -> None:
    """One image without a digest, and none gets one: a release is pinned or it is not."""
    with _serving(tools, tmp_path) as registry:
        for image in _IMAGES[:-1]:
            registry.push(image, image, ("linux/amd64", "linux/arm64"))
        refused(checkout(tmp_path, registry.host), f"{_IMAGES[-1]}: no digest: ")


def test_no_registry(tools: Programs, tmp_path: Path) -> None:
    """No digest is invented: it says which images it could not ask about, and why."""
    assert tools.crane.exists()
    (port,) = free_ports(1)
    done = refused(checkout(tmp_path, f"127.0.0.1:{port}"), "connection refused")
    assert 3 == done.stderr.count(": no digest: ")


def refused(root: Path, why: str) -> subprocess.CompletedProcess[str]:
    """It says why, ends with 3, and no file is another."""
    before = texts(root)
    done = pin(root)
    assert (3, before) == (done.returncode, texts(root)), done.stdout
    assert why in done.stderr
    assert "Nothing is pinned, and no file is changed." in done.stderr
    return done
