"""Write what the image is made of, as CycloneDX: its Debian packages, its Python, its Python packages.

    make sbom [ARGS="--filesystem TAR --output FILE"]

The packages are those that are found in the image, not those that were asked for: debsbom reads
dpkg's status and the copyright files, cyclonedx-py the metadata of the Python packages. Nothing of
the image is run. The hashes are those of requirements.lock, all that a package may have been installed
from. Twice the same image gives twice the same bytes: the serial number is a hash of the content,
and the time is SOURCE_DATE_EPOCH, where it is set.

Exit code 2: there is no such image. 3: written, but a part is missing, which is named.

This runs in the environment of the release's tools (requirements-release.lock).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from cyclonedx.model import ExternalReferenceType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT: Final = Path(__file__).parent.parent
LOCK: Final = ROOT / "requirements.lock"
SCHEMA: Final = SchemaVersion.V1_7
_BIN: Final = Path(sys.executable).parent
_VENV: Final = "opt/dinp"  # where the Dockerfile installs
_READ: Final = (
    f"{_VENV}/pyvenv.cfg",
    f"{_VENV}/lib/python*/site-packages/*.dist-info/*",
    "usr/lib/os-release",
)
_STATUS: Final = "var/lib/dpkg/status"
# debsbom has no way to leave these out; the whole document gets its own.
_NO_SERIAL: Final = "00000000-0000-4000-8000-000000000000"
_NO_TIME: Final = "1970-01-01T00:00:00+00:00"


class SbomError(Exception):
    """It cannot be described: the message says why."""


def main() -> int:
    """Write the file, and say what is in it."""
    parser = argparse.ArgumentParser(prog="make sbom", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("image", help="an image that docker has")
    parser.add_argument(
        "--filesystem", type=Path, help="in its place a tar of its files, as docker export writes"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "dinp.cdx.json")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as name:
            files = given.filesystem or _exported(given.image, Path(name) / "files.tar")
            document, missing = described(files, Path(name))
    except SbomError as error:
        print(error, file=sys.stderr)
        return 2
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(document, encoding="utf-8")
    found = [component.get("purl", "") for component in json.loads(document)["components"]]
    kinds = {kind: sum(it.startswith(f"pkg:{kind}/") for it in found) for kind in ("pypi", "deb")}
    print(f"{given.output}: {kinds['pypi']} Python packages, {kinds['deb']} Debian packages")
    for sentence in missing:
        print(f"incomplete: {sentence}", file=sys.stderr)
    return 3 if missing else 0


def described(files: Path, scratch: Path) -> tuple[str, list[str]]:
    """The document for the file system in a tar, and what could not be described.

    Raises:
        SbomError: it is no file system of dinp's image.
    """
    root = scratch / "root"
    has_dpkg = _unpack(files, root)
    python = _python(root)
    parts = [_python_packages(root, python)]
    missing = []
    if has_dpkg:
        parts.append(_debian_packages(files, root, scratch))
    else:
        missing.append(f"the image has no /{_STATUS}, so its system packages are not listed")
    return _written(_merged(parts, python)), missing


def _exported(image: str, file: Path) -> Path:
    """The files of an image that docker has; its programs are not run.

    Raises:
        SbomError: docker is not there, or has no such image.
    """
    try:
        container = _output("docker", "create", "--pull=never", image).decode().strip()
    except FileNotFoundError:
        raise SbomError("make sbom needs the docker command, or --filesystem") from None
    try:
        with file.open("wb") as out:
            subprocess.run(["docker", "export", container], stdout=out, check=True)  # noqa: S603, S607 - the user's docker
    finally:
        _output("docker", "rm", container)
    return file


def _unpack(files: Path, root: Path) -> bool:
    """Write what is read here below `root`, and say whether dpkg was at work in the image."""
    has_dpkg = False
    with tarfile.open(files, "r|*") as archive:
        for member in archive:
            name = member.name.removeprefix("./").lstrip("/")
            has_dpkg |= name == _STATUS
            if member.isfile() and any(fnmatch(name, pattern) for pattern in _READ):
                archive.extract(member, root, filter="data")
    return has_dpkg


def _python(root: Path) -> Component:
    """The interpreter: no package manager knows it in the images that the Dockerfile builds on."""
    file = root / _VENV / "pyvenv.cfg"
    if not file.exists():
        raise SbomError(f"there is no /{_VENV}/pyvenv.cfg: this is no image of dinp's")
    version = _settings(file)["version"]
    return Component(
        name="python",
        version=version,
        type=ComponentType.PLATFORM,
        bom_ref=f"python=={version}",
        purl=PackageURL(type="generic", name="python", version=version),
        cpe=f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*",
    )


def _python_packages(root: Path, python: Component) -> Bom:
    """What is in the image's environment, with the hashes of the lock, below the interpreter."""
    (packages,) = (root / _VENV / "lib").glob("python*/site-packages")
    common = ("--output-reproducible", "--no-validate", f"--sv={SCHEMA.to_version()}")
    # -S and PYTHONPATH: these packages, and none of the interpreter that looks.
    command = (_BIN / "cyclonedx-py", "environment", "-S", *common, sys.executable)
    found = _bom(_output(*command, variables={"PYTHONPATH": str(packages)}))
    locked = _bom(_output(_BIN / "cyclonedx-py", "requirements", *common, LOCK))
    sources = {component.purl: component.external_references for component in locked.components}
    for component in found.components:
        component.external_references.update(
            reference
            for reference in sources.get(component.purl, ())
            if reference.type is ExternalReferenceType.DISTRIBUTION
        )
    found.components.add(python)
    found.register_dependency(python)
    return found


def _debian_packages(files: Path, root: Path, scratch: Path) -> Bom:
    """What dpkg has installed, and the distribution that has it."""
    release = root / "usr/lib/os-release"
    system = _settings(release) if release.exists() else {}
    out = scratch / "debian.cdx.json"
    _output(
        *(_BIN / "debsbom", "generate", "--sbom-type=cdx", "--with-licenses", f"--root={files}"),
        *(f"--cdx-schema-version={SCHEMA.to_version()}", f"--cdx-serialnumber={_NO_SERIAL}"),
        *(f"--timestamp={_NO_TIME}", f"--distro-name={system.get('ID', 'debian')}"),
        *(f"--distro-version={system.get('VERSION_ID', 'unknown')}", f"--out={out}"),
    )
    return _bom(out.read_bytes())


def _merged(parts: Iterable[Bom], python: Component) -> Bom:
    """One document of several, with the image as what they are about."""
    whole = Bom(metadata=BomMetaData())
    tops = [python]
    for part in parts:
        whole.components.update(part.components)
        whole.dependencies.update(part.dependencies)
        whole.metadata.tools.components.update(part.metadata.tools.components)
        if part.metadata.component is not None:
            whole.components.add(part.metadata.component)
            tops.append(part.metadata.component)
    (dinp,) = (component for component in whole.components if component.name == "dinp")
    image = Component(
        name="dinp", version=dinp.version, type=ComponentType.CONTAINER, bom_ref="image"
    )
    whole.metadata.component = image
    whole.register_dependency(image, [dinp, *tops])
    return whole


def _written(bom: Bom) -> str:
    """The document as JSON; the same for the same content."""
    bom.serial_number = uuid.UUID(_NO_SERIAL)
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    # The library has no way to leave the time out but this, which cyclonedx-py takes, too.
    bom.metadata.timestamp = datetime.fromtimestamp(int(epoch), UTC) if epoch else None
    outputter = make_outputter(bom, OutputFormat.JSON, SCHEMA)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, outputter.output_as_string())
    document: str = make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string(indent=2)
    invalid = JsonStrictValidator(SCHEMA).validate_str(document)
    if invalid is not None:
        raise SbomError(f"what was made of it is no valid CycloneDX: {invalid}")
    return document + "\n"


def _bom(document: bytes) -> Bom:
    found: Bom = Bom.from_json(json.loads(document))
    return found


def _settings(file: Path) -> dict[str, str]:
    """KEY=value lines, as of os-release(5) and pyvenv.cfg."""
    lines = file.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _output(*command: Any, variables: dict[str, str] | None = None) -> bytes:
    """What a command prints.

    Raises:
        SbomError: it failed; has what it said.
    """
    done = subprocess.run(  # noqa: S603 - our own commands, and the user's docker
        [str(word) for word in command],
        env={**os.environ, **(variables or {})},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SbomError(f"{Path(command[0]).name}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
