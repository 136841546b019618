"""Print the requirements of the `dev` group of pyproject.toml: pip learned groups only in 25.1."""

import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

if __name__ == "__main__":
    print("\n".join(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["dependency-groups"]["dev"]))
