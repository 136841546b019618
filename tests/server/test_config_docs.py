"""The documents on configuration and policy agree with the code: every key, every default, every example."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors.capture import Capturing
from guardhouse.interceptors.documents import units
from guardhouse.interceptors.methods import MODEL_NAMES
from guardhouse.interceptors.policy import Policy
from guardhouse.interceptors.policy.patterns import pattern
from guardhouse.interceptors.refusal import REASONS
from guardhouse.server import config

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text()
POLICY = (DOCS / "policy.md").read_text()

# Where the fields of each class stand in the file.
PLACES: dict[str, type[Any]] = {
    "": config.Config,
    "tls.": config.Tls,
    "tokens.": config.Tokens,
    "tokens.issuers.N.": config.Issuer,
    "models.N.": config.Model,
    "limits.": config.Limits,
    "audit.": config.Audit,
    "capture.": Capturing,
    "tracing.": config.Collector,
    "metrics.": config.Metrics,
    "server.": config.Server,
}
SECTIONS = {"tls", "tokens", "models", "limits", "audit", "capture", "tracing", "metrics", "server"}
NOT_WRITTEN = {"path", "places"}  # what Config knows about its file
FIELDS = [
    (f"{place}{field.name}", field)
    for place, holder in PLACES.items()
    for field in dataclasses.fields(holder)
    if place or field.name not in SECTIONS | NOT_WRITTEN
]


def rows(text: str) -> dict[str, list[str]]:
    """The rows of the tables in *text* that begin with a key, by that key."""
    found = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    return {key: rest.split(" | ") for key, rest in found}


def written(kind: str, value: Any) -> str:
    """*value* as it would stand in the file."""
    if kind in {"duration", "size"}:
        return units.format_duration(value) if kind == "duration" else units.format_size(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if kind == "text" else str(value)


def block(text: str) -> str:
    """The YAML example in *text*."""
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize(("key", "field"), FIELDS, ids=[key for key, _ in FIELDS])
def test_every_key_is_documented_with_its_default(key: str, field: Any) -> None:
    """Each key of the configuration has a row, and the default there is the default in the code."""
    kind, default, _ = rows(CONFIGURATION)[key]
    if field.default_factory is dict:
        assert default == "none"
        return
    if field.default is dataclasses.MISSING:
        assert default in {"required", "`ledger`", "`captures`"}
        return
    if field.default in (None, "", ()):
        assert default.startswith(("none", "required with"))
    else:
        assert default == f"`{written(kind, field.default)}`"


def test_no_row_is_about_a_key_that_is_not_there() -> None:
    """Every row of the configuration's tables is about a key that the code knows."""
    assert set(rows(CONFIGURATION)) == {key for key, _ in FIELDS} | {"tokens.issuers"}


def test_the_examples_are_right(tmp_path: Path) -> None:
    """The examples of both documents are read without a problem and without a warning."""
    (tmp_path / "guardhouse.yaml").write_text(block(CONFIGURATION))
    loaded = config.load(tmp_path / "guardhouse.yaml")
    assert [model.name for model in loaded.models] == ["digits", "resnet"]
    assert Policy.parse(block(POLICY)).warnings == ()


def test_the_table_of_patterns_is_right() -> None:
    """Each name in the table of patterns matches, or does not, as the table says."""
    table = POLICY.partition("## Patterns")[2].partition("##")[0]
    for wanted, (matching, others) in rows(table).items():
        names = re.findall(r"`([^`]+)`", matching)
        assert all(pattern(wanted).matches(name) for name in names)
        assert not any(pattern(wanted).matches(name) for name in re.findall(r"`([^`]+)`", others))


def test_the_methods_that_name_a_model_are_listed() -> None:
    """The list of methods that name a model is that of the code."""
    listed = POLICY.partition("Methods that name a model:")[2].partition("For these")[0]
    assert {f"/inference.GRPCInferenceService/{name}" for name in re.findall(r"`(\w+)`", listed)} == set(
        MODEL_NAMES
    )


def test_the_table_of_refusals_is_right() -> None:
    """Each reason in the table has the status that the code gives it."""
    table = POLICY.partition("## What a refused caller learns")[2]
    found = re.findall(r"\| `(\w+)` \| `(\w+)` \|$", table, re.MULTILINE)
    assert len(found) == 10
    for status, reason in found:
        assert REASONS[reason].code.name == status
