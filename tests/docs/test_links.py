"""What the documents point at is there: files, headings, options, targets of make."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from guardhouse.server.commands import COMMANDS, guardhouse

from .running import DOCUMENTS, ROOT, commands

GROUPS = {"audit", "cert", "key", "policy", "token"}  # commands with commands of their own
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)")


def anchors(path: Path) -> set[str]:
    """The headings of *path* as a link names them."""
    found = re.findall(r"(?m)^#+ (.*)$", path.read_text())
    return {"#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_link_leads_somewhere(path: Path) -> None:
    """Each relative link is to a file that is there, and to a heading in it."""
    for target, anchor in LINK.findall(path.read_text()):
        found = (path.parent / target) if target else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}{anchor}"


def said(path: Path) -> set[str]:
    """Every `guardhouse …` command in *path*, in blocks and in running text."""
    quoted = re.findall(r"`(guardhouse [^`\n]+)`", path.read_text())
    return {line for line in [*commands(path), *quoted] if line.startswith("guardhouse ")}


def words(line: str) -> list[str]:
    """The words of a command, as a shell would see them."""
    return shlex.split(line.replace("$(", "(").replace("…", "X"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_command_and_option_is_known(path: Path) -> None:
    """Each command in a document exists, and its --help speaks of every option the document uses."""
    for line in said(path):
        _, *rest = words(line)
        named = [word for word in rest[: 2 if rest[0] in GROUPS else 1] if not word.startswith("-")]
        names = [] if named and named[0] not in COMMANDS else named
        assert names or rest[0] == "--help", line
        told = CliRunner().invoke(guardhouse, [*names, "--help"])
        assert told.exit_code == 0, line
        options = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        assert all(re.search(rf"(?<![\w-]){option}\b", told.output) for option in options), (line, options)


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_target_of_make_is_there(path: Path) -> None:
    """`make WORD` in a document is a target of the Makefile."""
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"(?:`|^    )make ([a-z]+)", path.read_text(), re.MULTILINE)) <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_extra_is_there(path: Path) -> None:
    """`guardhouse[WORD]` and `.[WORD]` in a document are extras of the package."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(re.findall(r"(?:guardhouse|\.)\[([a-z]+)\]", path.read_text())) <= set(
        project["optional-dependencies"]
    )
