"""docs/metrics.md says of every series what a real server serves."""

from __future__ import annotations

import re
from pathlib import Path

from metering import Samples, families

from guardhouse.interceptors import Stage
from guardhouse.interceptors.metrics import CATALOGUE

DOCUMENT = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The rows of the table under *heading* whose first cell is code."""
    part = DOCUMENT.partition(f"## {heading}")[2].partition("\n## ")[0]
    return [row.strip("| ").split(" | ") for row in part.splitlines() if row.startswith("| `")]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_series_is_documented_as_it_is() -> None:
    """Name, kind, labels and OTLP name of each metric, in the order of the page."""
    rows = [
        (code(name)[0], kind, code(labels), code(otlp)[0])
        for name, kind, labels, otlp, _ in table("The series")
    ]

    assert rows == [
        (metric.name, metric.kind, [label.replace(".", "_") for label in metric.labels], metric.otlp)
        for metric in CATALOGUE
    ]


def test_every_series_is_served_as_documented(served: Samples) -> None:
    """What a real server serves is the table, labels included: no more and no less."""
    assert families(served) == {code(row[0])[0]: set(code(row[2])) for row in table("The series")}


def test_every_label_is_documented() -> None:
    """Each label has its values."""
    documented = {label for row in table("Labels") for label in code(row[0])}

    assert documented == {label.replace(".", "_") for metric in CATALOGUE for label in metric.labels}


def test_the_values_of_labels_are_those_documented(served: Samples) -> None:
    """The guards named are the stages of the chain; those on the page are among them."""
    (guards,) = [row[1] for row in table("Labels") if row[0] == "`guard`"]
    seen = {dict(labels).get("guard") for name, labels in served if name == "guardhouse_refusals_total"}

    assert code(guards) == [stage.name.lower() for stage in Stage]
    assert seen - {None} <= set(code(guards))
