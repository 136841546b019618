"""Makes the environments of `peers`, those that are not there yet: `python -m benchmarks.peers.install`."""

from __future__ import annotations

import subprocess
import sys
import venv

from . import ENVIRONMENTS, INSTALLED, PACKAGES


def install(package: str, version: str) -> None:
    """Make *package*'s environment. What cannot be installed is said, and tried again the next time."""
    folder = ENVIRONMENTS / package
    if (folder / INSTALLED).exists():
        return
    print(f"installing {package} {version} into {folder.relative_to(ENVIRONMENTS.parent)}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "--quiet", f"{package}=={version}"], check=False)
    if done.returncode:
        print(f"{package} {version} cannot be installed here; its row is left out", file=sys.stderr)
        return
    frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    (folder / INSTALLED).write_text(frozen, encoding="utf-8")


if __name__ == "__main__":
    for _package, _version in PACKAGES.items():
        install(_package, _version)
