"""Print the requirements of a dependency group of pyproject.toml: pip learned groups only in 25.1.

`python tools/dev_requirements.py dev|bench`
"""

import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

if __name__ == "__main__":
    print("\n".join(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["dependency-groups"][sys.argv[1]]))
