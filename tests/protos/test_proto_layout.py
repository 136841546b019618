"""Five import roots share the name `guardhouse`; what keeps that working."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ["protos", "interceptors", "server", "clients"]


def test_no_import_root_claims_the_namespace() -> None:
    """No root holds guardhouse/__init__.py: one would hide the sub-packages of all the others."""
    assert not list(REPOSITORY.glob("*/guardhouse/__init__.py"))


@pytest.mark.parametrize("part", PARTS)
def test_each_sub_package_is_marked_as_typed(part: str) -> None:
    """Each root X holds exactly the sub-package X, a regular package with a py.typed of its own."""
    folder = REPOSITORY / part / "guardhouse" / part
    assert (folder / "py.typed").is_file()
    assert (folder / "__init__.py").is_file()
    beside = [entry.name for entry in folder.parent.iterdir() if not entry.name.startswith(("_", "."))]
    assert beside == [part]
