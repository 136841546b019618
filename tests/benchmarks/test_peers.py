"""What is not installed is left out, and said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import peers


def test_a_package_is_missing_until_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment counts once its installation has ended well, not from its first file on."""
    monkeypatch.setattr(peers, "ENVIRONMENTS", tmp_path)
    (tmp_path / "kserve" / "bin").mkdir(parents=True)
    assert "kserve" in peers.missing("kserve")
    (tmp_path / "kserve" / peers.INSTALLED).touch()
    assert peers.missing("kserve") == ""
    assert peers.missing("") == "", "a row of ours needs no package"
