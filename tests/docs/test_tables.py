"""The tables of docs/refusals.md, docs/grpcio.md and docs/atlas.md agree with the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import grpc
import pytest

from guardhouse.clients.explain import BY_REASON
from guardhouse.interceptors import REASONS
from guardhouse.server.config import Config, load
from guardhouse.server.transport import SAFE_GRPCIO, options, unsafe_grpcio

from .running import GUARDHOUSE, ROOT, rows, shell

REFUSALS = (ROOT / "docs/refusals.md").read_text()
GRPCIO = (ROOT / "docs/grpcio.md").read_text()
ATLAS = (ROOT / "docs/atlas.md").read_text()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The configuration that `init` writes."""
    folder = tmp_path_factory.mktemp("config")
    assert shell(f"{GUARDHOUSE} init gate", folder).status == 0
    return load(folder / "gate/guardhouse.yaml")


def test_every_reason_is_documented_once_in_its_own_words() -> None:
    """The table has each reason of the code once, in the code's order, with its status and its words."""
    table = REFUSALS.partition("\n## ")[0]
    told = [(reason, status, words) for reason, status, words, *_ in rows(table)]
    assert told == [(reason, answer.code.name, answer.words) for reason, answer in REASONS.items()]


def test_every_reason_says_when_and_what_to_do() -> None:
    """No row is left half empty."""
    assert all(len(row) == 5 and all(row) for row in rows(REFUSALS.partition("\n## ")[0]))


def test_every_reason_is_given_somewhere() -> None:
    """No reason is in the table alone: the code of the chain or the server names each where it refuses."""
    sources = [*(ROOT / "interceptors").rglob("*.py"), *(ROOT / "server").rglob("*.py")]
    code = "".join(path.read_text() for path in sources if path.name != "refusal.py")
    assert [reason for reason in REASONS if f'"{reason}"' not in code] == []


def test_advice_is_about_reasons_that_exist() -> None:
    """What the client advises by reason is advised for reasons that a server can give."""
    assert BY_REASON.keys() <= REASONS.keys()


def test_every_limit_is_documented(config: Config) -> None:
    """The options that the server gives grpc are those of the table, no more and no fewer."""
    table = GRPCIO.partition("## The limits we set")[2].partition("##")[0]
    assert [row[0] for row in rows(table)] == [name for name, _ in options(config.server)]


def test_the_limits_are_as_documented(config: Config) -> None:
    """Numbers in the table are those that grpc is given."""
    table = {row[0]: row[1] for row in rows(GRPCIO.partition("## The limits we set")[2].partition("##")[0])}
    units = {"MiB": 2**20, "KiB": 2**10, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "": 1}
    for name, value in options(config.server):
        found = re.search(r"(\d+) ?(MiB|KiB|min|ms|s|h|)$", table[name])
        if found is not None:
            assert int(found[1]) * units[found[2]] == value, name
    assert sum(not re.search(r"\d", ours) for ours in table.values()) == 2  # "the same", and a key alone


def test_the_versions_are_as_documented() -> None:
    """The document, the package and the warning at the start are about one range, and it is installed."""
    low, high = (".".join(map(str, version)).removesuffix(".0") for version in SAFE_GRPCIO)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"grpcio>={low},<{high}" in project["optional-dependencies"]["server"]
    assert f"`grpcio >={low},<{high}`" in GRPCIO
    assert unsafe_grpcio(grpc.__version__) == ""


def test_the_holes_have_tests() -> None:
    """The tests that the document tells to run are there, by name."""
    path = ROOT / "tests/interceptors/test_grpcio_pins.py"
    assert path.relative_to(ROOT).as_posix() in GRPCIO
    for name in re.findall(r"`(test_\w+)`", GRPCIO):
        assert f"def {name}(" in path.read_text()


def test_the_eleven_techniques() -> None:
    """Each technique that ATLAS maps to AML.M0019 has one row, with a link to it and what is done."""
    found = re.findall(
        r"^\| \[(AML\.T[0-9.]+)\]\(\S+/(AML\.T[0-9.]+)\) [^|]+ \| ([^|]+) \|", ATLAS, re.MULTILINE
    )
    numbers = ["40", "24", "34", "43", "43.001", "05", "29", "51", "46", "42", "63"]
    assert [shown for shown, *_ in found] == [f"AML.T00{number}" for number in numbers]
    assert all(shown == linked and done.strip() for shown, linked, done in found)


def test_the_command_init_is_what_the_profile_in_the_document_shows(tmp_path: Path) -> None:
    """The `client.yaml` in docs/clients.md is the one that `init` writes, without its comments."""
    assert shell(f"{GUARDHOUSE} init gate", tmp_path).status == 0
    written = (tmp_path / "gate/client.yaml").read_text().splitlines()
    bare = [line for line in written if line and not line.startswith("#")]
    assert "\n".join(bare) in (ROOT / "docs/clients.md").read_text()
