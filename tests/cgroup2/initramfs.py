"""What the kernel unpacks as its first root file system: an archive of format cpio newc."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from tests.node.images import Image

_ALIGNMENT: Final = 4


class Initramfs:
    """Entries are written as they come, and a file that is there already becomes a hard link."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written: set[str] = set()
        self._inodes: dict[tuple[int, bytes], int] = {}

    def add_image(self, image: Image, folder: str) -> None:
        """The content of an image, below `folder`."""
        with tarfile.open(fileobj=io.BytesIO(image.layer())) as layer:
            for member in layer:
                name = f"{folder}/{member.name}"
                content = layer.extractfile(member) if member.isfile() else None
                if content is not None:
                    self.add(name, content.read(), member.mode)
                elif member.issym():
                    self._parents(name)
                    self._entry(name, stat.S_IFLNK | 0o777, member.linkname.encode())
                else:
                    self._directory(name, member.mode)

    def add(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a file, and the directories that lead to it."""
        self._parents(name)
        self._entry(name, stat.S_IFREG | mode, content)

    def close(self) -> None:
        """Write its end; the file stays open."""
        self._entry("TRAILER!!!", 0, b"")

    def _parents(self, name: str) -> None:
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            self._directory(str(parent), 0o755)

    def _directory(self, name: str, mode: int) -> None:
        if name not in self._written:
            self._parents(name)
            self._entry(name, stat.S_IFDIR | mode, b"")

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        if name in self._written:
            return
        self._written.add(name)
        inode, links = len(self._written), 1
        if content and stat.S_ISREG(mode):
            inode = self._inodes.setdefault((mode, hashlib.sha256(content).digest()), inode)
            links = 2  # that is what makes the kernel look for one of the same number
            if inode != len(self._written):
                content = b""
        path = name.encode() + b"\0"
        # ino, mode, uid, gid, nlink, mtime, size, device, device of a node, length of the name, sum
        fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(path), 0)
        self._write(b"070701" + "".join(f"{number:08x}" for number in fields).encode() + path)
        self._write(content)

    def _write(self, data: bytes) -> None:
        self._file.write(data + bytes(-len(data) % _ALIGNMENT))
