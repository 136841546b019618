"""Ledgers for the tests of the commands that read one, and a way to call these commands."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from guardhouse.interceptors.ledger import Ledger
from guardhouse.server.commands.audit import command

QUERY: dict[str, object] = {
    "kind": "query",
    "time": "2026-11-23T18:09:50.123456Z",
    "method": "inference.GRPCInferenceService/ModelInfer",
    "model": "digits",
    "version": "1",
    "principal": "spiffe://acme/ns/ml/sa/notebook",
    "status": "OK",
    "reason": "",
    "total_us": 1234,
}


def write(folder: Path, *entries: dict[str, object]) -> Path:
    """A ledger in *folder* with these *entries*; its file."""
    ledger = Ledger(folder)
    for entry in entries:
        ledger.append(entry)
    ledger.close()
    return folder / "ledger.jsonl"


def audit(*arguments: object) -> Result:
    """`guardhouse audit` with these *arguments*."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])
