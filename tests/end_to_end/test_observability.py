"""deploy/observability speaks of what a real server serves, and its files of each other; promtool agrees."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from gate import Gate, until
from metering import PART, Samples, families

from guardhouse.interceptors.metrics import CATALOGUE

ROOT = Path(__file__).parents[2]
STACK = ROOT / "deploy/observability"
DASHBOARD = json.loads((STACK / "grafana/dashboards/guardhouse.json").read_text())
RULES = yaml.safe_load((STACK / "rules.yml").read_text())["groups"][0]["rules"]
COMPOSE = yaml.safe_load((STACK / "compose.yaml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [*(query for query, _ in QUERIES), *(rule["expr"] for rule in RULES)]
NAME = re.compile(r"\b(?:guardhouse|process|rpc_server)_[a-z_]+\b")
prometheus = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")),
    reason="Debian's package prometheus is not here",
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_queries_are_about_what_is_served(served: Samples, expression: str) -> None:
    """Each metric in the dashboard and the rules is served, with every label that is asked for."""
    known = families(served)
    names = {PART.sub("", name) if PART.sub("", name) in known else name for name in NAME.findall(expression)}
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    selected = set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!=|=~|!~)", expression))

    assert names
    assert names <= known.keys()
    assert grouped | selected <= {"le", "instance"}.union(*(known[name] for name in names))


def test_every_metric_is_on_the_dashboard() -> None:
    """But the pushes, which matter to nobody who reads this."""
    asked = {PART.sub("", name) for expression, _ in QUERIES for name in NAME.findall(expression)}

    assert {metric.name for metric in CATALOGUE} - asked == {"guardhouse_metrics_pushes_total"}


def test_legends_name_labels_that_are_there() -> None:
    """A legend shows labels by which its query is grouped."""
    for expression, legend in QUERIES:
        grouped = {
            label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")
        }
        assert set(re.findall(r"{{(\w+)}}", legend)) <= grouped


def test_panels_have_ids_places_and_a_source() -> None:
    """No two panels share an id or a place, and all ask the data source that is provisioned."""
    sources = yaml.safe_load((STACK / "grafana/datasources.yaml").read_text())["datasources"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in PANELS} <= {source["uid"] for source in sources}


def test_what_files_name_in_others_is_there() -> None:
    """Mounted files exist; services, pipelines and ports that one file names are in the other."""
    services = COMPOSE["services"]
    for service in services.values():
        mounts = [mount.split(":") for mount in service.get("volumes", [])]
        assert all((STACK / source).exists() for source, _, mode in mounts if mode == "ro")
        assert set(service.get("depends_on", [])) <= services.keys()
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert re.fullmatch(r"\S+:v?\d+\.\d+\.\d+", service["image"]), "a version, and a whole one"
    collector = yaml.safe_load((STACK / "collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= collector["receivers"].keys()
        assert set(pipeline["exporters"]) <= collector["exporters"].keys()
    scraping = yaml.safe_load((STACK / "prometheus.yml").read_text())["scrape_configs"][0]
    (target,) = scraping["static_configs"][0]["targets"]
    assert target == f"collector:{collector['exporters']['prometheus']['endpoint'].rpartition(':')[2]}"
    assert collector["exporters"]["otlp_grpc/jaeger"]["endpoint"].partition(":")[0] in services
    sources = yaml.safe_load((STACK / "grafana/datasources.yaml").read_text())["datasources"]
    assert all(urllib.parse.urlsplit(source["url"]).hostname in services for source in sources)


def test_the_readme_names_each_file_and_no_other() -> None:
    """Its table is about the files that are there, and its addresses are the ports of compose."""
    readme = (STACK / "README.md").read_text()
    table = readme.partition("## What is here")[2].partition("##")[0]
    there = {f"{path.name}/" if path.is_dir() else path.name for path in STACK.iterdir()} - {"README.md"}

    assert {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    } == there
    ports = {port.split(":")[1] for service in COMPOSE["services"].values() for port in service["ports"]}
    assert set(re.findall(r"http://127\.0\.0\.1:(\d+)", readme)) == ports


@prometheus
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
        ("check", "config", "prometheus.yml"),
    ],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    """Rules and configuration are right, and the rules raise what they should, when they should."""
    done = subprocess.run(["promtool", *arguments], cwd=STACK, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A real one that scrapes *page* five times a second and has the rules."""

    def __init__(self, folder: Path, page: str) -> None:
        target = urllib.parse.urlsplit(page).netloc
        shutil.copy(STACK / "rules.yml", folder / "rules.yml")
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"
            "rule_files: [rules.yml]\n"
            f"scrape_configs: [{{job_name: guardhouse, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process = subprocess.Popen(
            ["prometheus", f"--web.listen-address={self.address}", "--config.file=prometheus.yml"],
            cwd=folder,
            stderr=(folder / "log").open("w"),
        )

    def ask(self, path: str, **parameters: str) -> Any:
        """What it answers, or None while it does not."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # while it starts
                return None
            raise AssertionError(error.read().decode()) from error
        except OSError:
            return None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@prometheus
def test_a_real_prometheus_scrapes_and_answers(told: Gate, served: Samples, tmp_path: Path) -> None:
    """It finds the target up, has every series of the page, and an answer to each query of the dashboard."""
    made = Prometheus(tmp_path, told.report["metrics"][0])
    try:
        until(lambda: bool((made.ask("query", query="sum_over_time(up[1m]) > 10") or {}).get("result")))
        found = made.ask("series", **{"match[]": '{job="guardhouse"}'})
        names = {series["__name__"] for series in found}
        assert {name for name, _ in served} <= names
        end = time.monotonic() + 30
        for expression, _ in QUERIES:
            asked = expression.replace("$__rate_interval", "1m")
            answer = made.ask("query", query=asked)
            while not answer["result"] and time.monotonic() < end:
                time.sleep(0.2)
                answer = made.ask("query", query=asked)
            assert answer["result"], expression
        until(lambda: {rule["health"] for rule in made.ask("rules")["groups"][0]["rules"]} == {"ok"})
    finally:
        made.stop()
