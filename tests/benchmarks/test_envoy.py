"""Envoy is told to do what the chain does, for the callers that the chain lets in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from benchmarks.echo import INFER
from benchmarks.peers.envoy import configuration
from guardhouse.server.commands import guardhouse
from guardhouse.server.config import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init` makes."""
    made = tmp_path_factory.mktemp("gate")
    assert CliRunner().invoke(guardhouse, ["init", str(made), "--force"]).exit_code == 0
    return made


def test_what_envoy_is_told(folder: Path) -> None:
    """Certificates are required; token, rights and rate are checked in this order; line and span are made."""
    told = yaml.safe_load(configuration(folder, 1111, 2222, "127.0.0.1:3333"))["static_resources"]
    (listener,) = told["listeners"]
    assert listener["address"]["socket_address"]["port_value"] == 1111
    (chain,) = listener["filter_chains"]
    assert chain["transport_socket"]["typed_config"]["require_client_certificate"] is True
    manager = chain["filters"][0]["typed_config"]
    filters = [each["name"].rpartition(".")[2] for each in manager["http_filters"]]
    assert filters == ["jwt_authn", "rbac", "local_ratelimit", "router"]
    assert manager["tracing"]["random_sampling"] == {"value": 100}
    assert manager["access_log"][0]["typed_config"]["path"].startswith(str(folder))
    assert [_port(each) for each in told["clusters"]] == [2222, 3333]


def test_envoy_accepts_the_tokens_of_the_configuration(folder: Path) -> None:
    """Issuer, audience and keys are those of guardhouse.yaml; the one method is the one that is measured."""
    issuer = load(folder / "guardhouse.yaml").tokens.issuers[0]
    told = configuration(folder, 1, 2, "127.0.0.1:3")
    assert f"issuer: {issuer.issuer}\n" in told
    assert f"audiences: [{issuer.audience}]" in told
    assert f"filename: {issuer.jwks}" in told
    assert f"exact: {INFER}}}" in told


def _port(cluster: dict[str, Any]) -> Any:
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    return endpoint["address"]["socket_address"]["port_value"]
