"""A client image with this machine's Python and docker-py from PyPI."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Set
from pathlib import Path
from typing import Final

from tests.cluster.builds import pip_install
from tests.node.images import Image

PYTHON_CLIENT: Final = "localhost/python:1"
_LOCK: Final = Path(__file__).with_name("requirements.lock")
_INSTALLED: Final = Path(__file__).parents[2] / "build" / "assets"
_LIBRARY: Final = "opt/docker-py"
_CACHES: Final = frozenset({"__pycache__"})
_NOT_NEEDED: Final = _CACHES | {
    *("site-packages", "dist-packages", "test", "idlelib", "tkinter", "ensurepip")
}


def add_python(image: Image) -> None:
    """Add the interpreter that runs this, its standard library, and docker-py.

    Raises:
        AssetsError: pip cannot install docker-py.
    """
    # A virtual environment's interpreter is a link to this one.
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # undocumented, and what venv itself uses
    image.add(python, "/usr/bin/python3")
    standard = Path(sysconfig.get_path("stdlib"))
    add_tree(image, standard, str(standard).lstrip("/"), _NOT_NEEDED)
    add_tree(image, docker_py(), _LIBRARY)
    image.environment = {"PYTHONHOME": sys.base_prefix, "PYTHONPATH": f"/{_LIBRARY}"}


def add_tree(image: Image, folder: Path, target: str, but: Set[str] = _CACHES) -> None:
    """Add a folder with all below it `but` what has one of these names."""
    for path in sorted(folder.iterdir()):
        if path.name in but or path.name.startswith("config-"):
            continue
        if path.is_dir():
            add_tree(image, path, f"{target}/{path.name}", but)
        elif path.suffix == ".so":
            image.add(path, f"{target}/{path.name}")  # with what it is linked to
        elif path.is_file():
            image.files[f"{target}/{path.name}"] = path


def docker_py() -> Path:
    """The folder that docker-py is installed in: by pip, the first time."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    key = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    folder = _INSTALLED / f"docker-py-{version}-{key}"
    pip_install(_LOCK, folder)
    return folder
