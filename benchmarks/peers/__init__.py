"""Servers and a proxy that others made, each in an environment of its own: they do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT

ENVIRONMENTS: Final = ROOT / ".venv-peers"


def missing(package: str) -> str:
    """Why *package* cannot be run, in a few words; "" if it can, or none is needed."""
    if not package or (ENVIRONMENTS / package / "installed").exists():
        return ""
    why = ENVIRONMENTS / package / "failed"
    return why.read_text(encoding="utf-8").strip() if why.exists() else "not installed"


def executable(package: str, name: str) -> Path:
    """A program of *package*'s environment."""
    return ENVIRONMENTS / package / "bin" / name
