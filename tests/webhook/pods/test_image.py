"""image: the grammar of references, and the allow-list."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.asking.config import Config
from webhook.pods import bounds, image
from webhook.pods.image import Reference

SHA256 = "sha256:" + "8f" * 32
SHA512 = "sha512:" + "0a" * 64
HUB = "docker.io"


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ((HUB, "library/docker", "latest", None), "docker"),
        ((HUB, "library/docker", "29-dind", None), "docker:29-dind"),
        ((HUB, "library/docker", "29-dind", None), "docker.io/docker:29-dind"),
        ((HUB, "library/docker", "29-dind", None), "docker.io/library/docker:29-dind"),
        ((HUB, "library/docker", "29-dind", None), "index.docker.io/library/docker:29-dind"),
        ((HUB, "library/docker", "29-dind", None), "index.docker.io/docker:29-dind"),
        ((HUB, "team/docker", "latest", None), "team/docker"),
        ((HUB, "library/docker", None, SHA256), f"docker@{SHA256}"),
        ((HUB, "library/docker", "29-dind", SHA256), f"docker:29-dind@{SHA256}"),
        ((HUB, "library/docker", None, SHA512), f"docker@{SHA512}"),
        (("r.example.com", "docker", "1", None), "r.example.com/docker:1"),
        (("r.example.com:5000", "a/b/c", "1", None), "r.example.com:5000/a/b/c:1"),
        (("localhost", "docker", "latest", None), "localhost/docker"),
        (("localhost:5000", "docker", "latest", None), "localhost:5000/docker"),
        ((HUB, "library/localhost", "5000", None), "localhost:5000"),
        (("10.0.0.1:5000", "docker", "latest", None), "10.0.0.1:5000/docker"),
        (("[fd00::1]:5000", "docker", "latest", None), "[fd00::1]:5000/docker"),
        (("R.example.com", "a.b_c__d--e/f", "V1.0_x-y", None), "R.example.com/a.b_c__d--e/f:V1.0_x-y"),
    ],
)  # fmt: skip
def test_references(expected: tuple[str | None, ...], text: str) -> None:
    """Host, path, tag and digest, with what Docker Hub's short names leave out."""
    assert Reference(*expected) == image.parse(text)  # type: ignore[arg-type]


NO_IMAGES = [
    *("", " ", "docker 29", " docker", "docker\n", "docker:29-dind\n", "Docker:29-dind"),
    *("docker:", "docker@", "docker:@" + SHA256, "docker:29-dind@", "docker:29:30", ":29", "/docker"),
    *("docker/", "a//b", "docker:29-dind/../../x", "docker:29-dind/x", "../docker", "a/./b"),
    *("docker:29@foo", "docker@sha256:8f", f"docker@{SHA256}f", f"docker@{SHA256.upper()}"),
    *("docker@sha256:" + "g" * 64, f"docker@{SHA256}@{SHA256}", f"docker@{SHA256}:29", "docker@md5:" + "8" * 32),
    *("-docker", "docker-", "_docker", "a___b", "a._b", "docker:-x", "docker:.x", "docker:" + "x" * 129),
    *("r.example.com:/docker", "r.example.com:x/docker", "r..example.com/docker", "-r.example.com/docker"),
    *("https://r.example.com/docker", "user:secret@r.example.com/docker"),
    *("8f" * 32, "a" * 256, "r.example.com/" + "a/" * 121 + "b", "docker:é", "dockér", "$(IMAGE)"),
    *("docker:29-dind --privileged", "docker:*", "docker:29-dind;id"),
]  # fmt: skip


@pytest.mark.parametrize("text", NO_IMAGES)
def test_no_references(text: str) -> None:
    """What no registry serves is none, and on no allow-list, not even on one of all images."""
    assert image.parse(text) is None
    everything = ["*", "*/*", "*/*/*", "*/*/*/*", "*:*", "*@*", "*:*@*", text]
    assert not image.allowed(text, everything)


def test_a_name_without_slash_is_no_host() -> None:
    """A point does not make a host of what has no path."""
    assert image.parse("r.example.com") == Reference(HUB, "library/r.example.com", "latest", None)


DEFAULT = Config().sidecar.allowed_images


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (DEFAULT, "docker:29-dind"),
        (DEFAULT, "docker:29.7.2-dind"),
        (DEFAULT, "docker:29-dind-rootless"),
        (DEFAULT, f"docker:29-dind@{SHA256}"),
        (DEFAULT, "docker.io/library/docker:29-dind"),
        (DEFAULT, f"index.docker.io/library/docker:29-dind@{SHA512}"),
        (["docker:29-dind"], f"docker:29-dind@{SHA256}"),
        (["docker.io/library/docker:29-dind"], "docker:29-dind"),
        (["index.docker.io/docker:29-dind"], "docker.io/docker:29-dind"),
        (["docker"], "docker"),
        (["docker"], "docker:latest"),
        (["docker:latest"], "docker"),
        (["docker:*"], "docker:x"),
        (["docker:*"], "docker"),
        (["docker:*"], f"docker@{SHA256}"),
        (["docker:2[89]-dind"], "docker:28-dind"),
        (["docker:29?dind"], "docker:29-dind"),
        (["r.example.com/*"], "r.example.com/docker:29-dind"),
        (["r.example.com/*"], f"r.example.com/docker@{SHA256}"),
        (["r.example.com/mirror/docker:*-dind"], "r.example.com/mirror/docker:29-dind"),
        (["r.example.com:5000/docker:*"], "r.example.com:5000/docker:29-dind"),
        (["*.example.com/docker:*"], "r.example.com/docker:29-dind"),
        (["*/docker:*-dind"], "r.example.com:5000/docker:29-dind"),
        (["*/docker:*-dind"], "team/docker:29-dind"),
        (["team-*/docker:*"], "team-a/docker:1"),
        ([f"docker@{SHA256}"], f"docker@{SHA256}"),
        (["docker@sha256:8f8f*"], f"docker:29-dind@{SHA256}"),
        ([f"docker:29-dind@{SHA256}"], f"docker:29-dind@{SHA256}"),
        (["a", "docker:*"], "docker:29-dind"),
    ],
)
def test_allowed(patterns: list[str], text: str) -> None:
    """By host, name, tag and digest, whatever is written short; any digest of an allowed tag."""
    assert image.allowed(text, patterns)


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ([], "docker:29-dind"),
        (DEFAULT, "docker:29"),
        (DEFAULT, "docker"),
        (DEFAULT, f"docker@{SHA256}"),
        (DEFAULT, "docker-dind"),
        (DEFAULT, "team/docker:29-dind"),
        (DEFAULT, "docker:5000/evil-dind"),
        (DEFAULT, "r.example.com/docker:29-dind"),
        (DEFAULT, "r.example.com/library/docker:29-dind"),
        (DEFAULT, "docker.io.example.com/library/docker:29-dind"),
        (DEFAULT, "docker.io/team/docker:29-dind"),
        (["docker:*"], "docker:29-dind/evil:1"),
        (["docker:*"], "docker:1@foo"),
        (["docker:*"], "docker:5000/evil"),
        (["docker"], "docker:29-dind"),
        (["docker"], f"docker@{SHA512}:latest"),
        (["r.example.com/docker"], "r.example.com/docker:29"),
        (["r.example.com/*"], "r.example.com/a/b:29"),
        (["r.example.com/*"], "r.example.com:5000/a"),
        (["team-*/docker:*"], "team-a.example.com/docker:1"),
        (["team/*"], "team.example.com/x"),
        (["*/docker:*-dind"], "r.example.com/team/docker:29-dind"),
        (["docker:*-dind@*"], "docker:29-dind"),
        ([f"docker:29-dind@{SHA256}"], "docker:29-dind"),
        ([f"docker:29-dind@{SHA256}"], f"docker:29-dind@{SHA512}"),
        ([f"docker:29-dind@{SHA256}"], f"docker:28-dind@{SHA256}"),
        (["docker:29-dind@sha256:0*"], f"docker:29-dind@{SHA256}"),
        (["DOCKER:29-dind"], "docker:29-dind"),
    ],
)
def test_not_allowed(patterns: list[str], text: str) -> None:
    """No star reaches over a slash, colon or at-sign, nor from a user of Docker Hub to a registry."""
    assert not image.allowed(text, patterns)


def test_bound() -> None:
    """No text above the bound is looked at, however it goes on."""
    assert image.parse("a" * bounds.IMAGE) is None
    assert image.parse("docker" + " " * bounds.IMAGE) is None
    assert not image.allowed("docker:29-dind" + "x" * bounds.IMAGE, ["docker:*"])


# The expressions of distribution/reference (regexp.go), as they are written there.
_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_GRAMMAR = re.compile(
    rf"(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*(?::[\w][\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
_PIECES = ("a", "B", "1", ".", "/", ":", "@", "-", "_", "[", "]", "localhost", f"@{SHA256}")


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join))
def test_the_grammar(text: str) -> None:
    """A reference here is one of distribution/reference, and written in full it is itself.

    The other way, too, but for a host without a point or colon that no path part can be: it
    would be in capitals or brackets, and Docker takes such a one for a host all the same.
    """
    found = image.parse(text)
    if found is None:
        first, slash, _ = text.partition("/")
        odd = slash and not set(first) & set(".:") and not re.fullmatch(_PART, first)
        assert odd or not _GRAMMAR.fullmatch(text)
        return
    assert _GRAMMAR.fullmatch(text)
    tag = "" if found.tag is None else f":{found.tag}"
    digest = "" if found.digest is None else f"@{found.digest}"
    assert image.parse(f"{found.host}/{found.path}{tag}{digest}") == found
