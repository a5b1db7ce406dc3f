"""What `make sbom` lists is what is in the image: no package more, none less.

The image is a tar of its files, as docker export writes one: the packages of requirements.lock as
this environment has them (requirements-dev.lock has the same), and a dpkg that has installed two.
`installation/test_image.py` does it with the image that a real dockerd has built.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sysconfig
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.release.programs import ROOT, Programs

pytestmark = pytest.mark.node

_LOCK: Final = (ROOT / "requirements.lock").read_text(encoding="utf-8")
_INSTALLED: Final = Path(sysconfig.get_path("purelib"))
_PLACE: Final = "opt/dinp/lib/python3.14/site-packages"
_VALIDATE: Final = (
    "import sys; from cyclonedx.schema import SchemaVersion as S;"
    "from cyclonedx.validation.json import JsonStrictValidator as V;"
    "print(V(S.V1_7).validate_str(open(sys.argv[1]).read()))"
)
_STATUS: Final = """Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib
Version: 1:1.3.1-1
Maintainer: Mark Brown <broonie@debian.org>
Description: a library

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
Maintainer: Nobody <nobody@debian.org>
Description: was here

Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.41-12
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Description: another
"""
_COPYRIGHT: Final = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 1995 somebody
License: Zlib
"""
_SYSTEM: Final = {
    "var/lib/dpkg/status": _STATUS,
    "var/lib/dpkg/arch-native": "amd64\n",
    "usr/share/doc/zlib1g/copyright": _COPYRIGHT,
    "usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\nVERSION_CODENAME=trixie\n',
}
_PYTHON: Final = {"opt/dinp/pyvenv.cfg": "home = /usr/local/bin\nversion = 3.14.8\n"}

Write = Callable[..., subprocess.CompletedProcess[str]]


def files_of_image(file: Path, texts: Mapping[str, str], packages: bool = True) -> Path:
    """Write the tar."""
    with tarfile.open(file, "w") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        for folder in sorted(_INSTALLED.glob("*.dist-info")) if packages else ():
            if normal(folder.name.partition("-")[0]) in {*locked(), "dinp"}:
                archive.add(folder, f"{_PLACE}/{folder.name}")
    return file


def normal(name: str) -> str:
    """A package's name as PEP 503 has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """What requirements.lock has: name -> version. All of it is for this platform."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", _LOCK, re.MULTILINE))


@pytest.fixture(scope="module")
def write(tools: Programs) -> Write:
    """Run `make sbom` on these files."""

    def sbom(files: Path, output: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [str(tools.python), "-m", "tools.sbom", "no-image"]
        command += [f"--filesystem={files}", f"--output={output}"]
        own = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
        return subprocess.run(  # noqa: S603 - our own command
            command, cwd=ROOT, env={**own, **variables}, capture_output=True, text=True, check=False
        )

    return sbom


@pytest.fixture(scope="module")
def document(write: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a whole image."""
    scratch = tmp_path_factory.mktemp("document")
    files = files_of_image(scratch / "files.tar", {**_SYSTEM, **_PYTHON})
    done = write(files, scratch / "dinp.cdx.json")
    assert (0, "") == (done.returncode, done.stderr)
    return scratch / "dinp.cdx.json"


@pytest.fixture(scope="module")
def found(document: Path) -> dict[str, Any]:
    """The same as a value."""
    whole: dict[str, Any] = json.loads(document.read_text(encoding="utf-8"))
    return whole


def of_kind(found: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The components of one kind of package: purl -> component."""
    purls = {component.get("purl", ""): component for component in found["components"]}
    return {purl: component for purl, component in purls.items() if purl.startswith(f"pkg:{kind}/")}


def test_it_is_valid(tools: Programs, document: Path, found: dict[str, Any]) -> None:
    """By the library's validator, against the strict schema of the version that it names."""
    assert ("CycloneDX", "1.7") == (found["bomFormat"], found["specVersion"])
    done = subprocess.run(  # noqa: S603 - our own command
        [str(tools.python), "-c", _VALIDATE, str(document)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "None" == done.stdout.strip()


def test_the_python_packages_are_the_lock(found: dict[str, Any]) -> None:
    """Exactly those of requirements.lock, at their versions, and dinp."""
    expected = {f"pkg:pypi/{name}@{version}" for name, version in locked().items()}
    assert expected == set(of_kind(found, "pypi"))
    named = {component["name"] for component in found["components"] if "purl" not in component}
    assert {"dinp", "debian"} == named


def test_their_hashes_are_the_locks(found: dict[str, Any]) -> None:
    """For each package those that it may have been installed from, and its licence."""
    for block in re.split(r"\n(?=[a-z0-9])", _LOCK):
        name, version = re.findall(r"^([a-z0-9-]+)==([^\s;]+)", block)[0]
        component = of_kind(found, "pypi")[f"pkg:pypi/{name}@{version}"]
        hashes = {
            (it["alg"], it["content"])
            for reference in component["externalReferences"]
            for it in reference.get("hashes", ())
        }
        assert {("SHA-256", it) for it in re.findall("sha256:([0-9a-f]{64})", block)} == hashes
        assert component["licenses"], name


def test_the_interpreter_is_there(found: dict[str, Any]) -> None:
    """No package manager knows it in the base image, and it is what most advisories are about."""
    (python,) = of_kind(found, "generic").values()
    assert "pkg:generic/python@3.14.8" == python["purl"]
    assert "cpe:2.3:a:python:python:3.14.8:*:*:*:*:*:*:*" == python["cpe"]


def test_the_debian_packages_are_dpkgs(found: dict[str, Any]) -> None:
    """Those that are installed, with their sources, to which Debian's advisories belong."""
    named = {
        purl.partition("?")[0].removeprefix("pkg:deb/debian/") for purl in of_kind(found, "deb")
    }
    versions = {"zlib1g@1:1.3.1-1", "zlib@1:1.3.1-1", "libc6@2.41-12", "glibc@2.41-12"}
    assert versions == named
    licensed = {
        component["name"]: component["licenses"]
        for component in of_kind(found, "deb").values()
        if "licenses" in component
    }
    assert {"expression": "Zlib", "acknowledgement": "declared"} in licensed["zlib"]
    (system,) = [it for it in found["components"] if it["type"] == "operating-system"]
    assert ("debian", "13") == (system["name"], system["version"])


def test_what_depends_on_what(found: dict[str, Any]) -> None:
    """The image is dinp, Python and Debian; dinp needs what pyproject.toml asks for."""
    needs = {it["ref"]: set(it.get("dependsOn", ())) for it in found["dependencies"]}
    names = {it["bom-ref"]: it["name"] for it in found["components"]}
    assert "container" == found["metadata"]["component"]["type"]
    image = needs[found["metadata"]["component"]["bom-ref"]]
    assert {"dinp", "python", "debian"} == {names[it] for it in image}
    (dinp,) = [reference for reference, name in names.items() if name == "dinp"]
    assert {"aiohttp", "kubernetes", "msgspec"} <= {names[it] for it in needs[dinp]}


def test_twice_is_the_same(write: Write, document: Path, tmp_path: Path) -> None:
    """The same bytes for the same image, and no time; with SOURCE_DATE_EPOCH that time."""
    files, twice = document.with_name("files.tar"), tmp_path / "twice.json"
    assert 0 == write(files, twice).returncode
    assert document.read_bytes() == twice.read_bytes()
    assert "timestamp" not in json.loads(twice.read_text(encoding="utf-8"))["metadata"]
    assert 0 == write(files, twice, SOURCE_DATE_EPOCH="1767225600").returncode
    timed = json.loads(twice.read_text(encoding="utf-8"))
    assert "2026-01-01T00:00:00+00:00" == timed["metadata"]["timestamp"]


def test_without_dpkg_it_is_incomplete(write: Write, tmp_path: Path) -> None:
    """What is there is written, what is missing is named, and the exit code is another."""
    files = files_of_image(tmp_path / "files.tar", _PYTHON)
    done = write(files, tmp_path / "out.json")
    assert 3 == done.returncode
    assert "incomplete: the image has no /var/lib/dpkg/status" in done.stderr
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert set(locked()) == {normal(it["name"]) for it in of_kind(found, "pypi").values()}


def test_another_image(write: Write, tmp_path: Path) -> None:
    """What is no image of dinp's is refused by a sentence, and nothing is written."""
    files = files_of_image(tmp_path / "files.tar", _SYSTEM, packages=False)
    done = write(files, tmp_path / "out.json")
    assert 2 == done.returncode
    assert "there is no /opt/dinp/pyvenv.cfg: this is no image of dinp's\n" == done.stderr
    assert not (tmp_path / "out.json").exists()
