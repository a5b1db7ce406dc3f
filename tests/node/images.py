"""OCI image layouts from files of this machine: no registry, no Dockerfile."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tests.cluster.processes import output
from tests.node.programs import command

_MEDIA_TYPE: Final = "application/vnd.oci.image"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# As in every distribution now. Without these links xtables finds none of its own libraries.
_MERGED_USR: Final = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
}
# What users that are not root write to; no file here has another owner.
_WORLD_WRITABLE: Final = ("tmp", "run/user", "home/rootless")
_DIRECTORIES: Final = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "usr", "var", "var/lib")


@dataclass(slots=True)
class Image:
    """One image: `files` by their paths in it, each a file of this machine or text."""

    name: str  # whole, with the host: nobody completes it here
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[str] = ()  # as VOLUME in a Dockerfile: not on the container's overlay
    files: dict[str, Path | str] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def add(self, source: str | Path, target: str | None = None) -> None:
        """Add a program with the libraries that it is linked to."""
        self.files[(target or str(source)).lstrip("/")] = Path(source)
        for library in _libraries(Path(source)):
            self._add_at_its_place(library)

    def add_folder(self, folder: str) -> None:
        """Add all files of a folder, and their libraries."""
        for path in sorted(Path(folder).iterdir()):
            if path.is_file():
                self.add(path)

    def add_busybox(self) -> None:
        """Add busybox and its applets, behind programs of the same names."""
        busybox = "/usr/bin/busybox"
        self.files["usr/bin/busybox"] = Path(busybox)
        applets = output([busybox, "--list"]).split()
        # It lists itself: such a link would lead nowhere.
        for applet in set(applets) - {"busybox"}:
            self.links[f"usr/bin/{applet}"] = "busybox"

    def _add_at_its_place(self, library: Path) -> None:
        """Add the file with the name that the loader looks for, in its real directory."""
        target = library.parent.resolve() / library.name
        self.files[str(target).lstrip("/")] = library.resolve()

    def write(self, file: Path) -> None:
        """Write it as an OCI layout in a tar, for `ctr images import`."""
        layer = self.layer()
        config = _json(self._config(layer))
        manifest = _json(_manifest(config, layer))
        index = {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA_TYPE}.index.v1+json",
            "manifests": [
                {
                    **_descriptor("manifest.v1+json", manifest),
                    "annotations": {"io.containerd.image.name": self.name},
                }
            ],
        }
        with tarfile.open(file, "w") as layout:
            _add(layout, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add(layout, "index.json", _json(index))
            for blob in (manifest, config, layer):
                _add(layout, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)

    def layer(self) -> bytes:
        """Its files as a tar."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as layer:
            for directory in self._directories():
                _add(layer, directory, None, 0o1777 if directory in _WORLD_WRITABLE else 0o755)
            for name, target in {**_MERGED_USR, **self.links}.items():
                if name not in self.files:
                    _add_link(layer, name, target)
            for name, source in self.files.items():
                content = source.encode() if isinstance(source, str) else source.read_bytes()
                _add(layer, name, content, _mode(source))
        return buffer.getvalue()

    def _directories(self) -> list[str]:
        parents = {
            str(parent)
            for name in (*self.files, *self.links)
            for parent in PurePosixPath(name).parents
        }
        wanted = parents | set(_DIRECTORIES) | set(_MERGED_USR.values())
        return sorted(wanted - {"."} - set(_MERGED_USR))

    def _config(self, layer: bytes) -> dict[str, Any]:
        environment = {"PATH": PATH, **self.environment}
        return {
            "architecture": _architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": list(self.entrypoint),
                "Cmd": list(self.command),
                "Env": [f"{name}={value}" for name, value in environment.items()],
                "WorkingDir": "/",
                "Volumes": {path: {} for path in self.volumes},
            },
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }


def write_images(images: Iterable[Image], directory: Path) -> list[Path]:
    """Write each image into `directory`; return the files."""
    files = []
    for image in images:
        file = directory / f"{image.name.rpartition('/')[2].replace(':', '-')}.tar"
        image.write(file)
        files.append(file)
    return files


def _manifest(config: bytes, layer: bytes) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": f"{_MEDIA_TYPE}.manifest.v1+json",
        "config": _descriptor("config.v1+json", config),
        "layers": [_descriptor("layer.v1.tar", layer)],
    }


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": f"{_MEDIA_TYPE}.{kind}", "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _mode(source: Path | str) -> int:
    """Scripts of ours are programs unless they are configuration."""
    if isinstance(source, str):
        return 0o755 if source.startswith("#!") else 0o644
    return source.stat().st_mode & 0o7777  # newuidmap is setuid


def _add(archive: tarfile.TarFile, name: str, content: bytes | None, mode: int = 0o644) -> None:
    """Add a file, or a directory where there is no content."""
    member = tarfile.TarInfo(name)
    member.mode = mode
    if content is None:
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
        return
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    archive.addfile(member)


def _architecture() -> str:
    """As Go calls it."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = output(["uname", "-m"]).strip()
    return names.get(machine, machine)


def _libraries(program: Path) -> list[Path]:
    """What the loader will load for it, itself included; nothing for a static program."""
    ldd = [command("ldd"), str(program)]
    done = subprocess.run(ldd, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    words = [line.split() for line in done.stdout.splitlines() if "/" in line]
    # `name => /path (address)`, and `/path (address)` for the loader.
    return [Path(line[2] if "=>" in line else line[0]) for line in words]
