"""Build the wheel, install it into an empty environment, and import every module it brings.

Twice: the base install must carry the client alone; the server's extra must carry everything.
"""

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENT = ("guardhouse/protos/", "guardhouse/clients/")


def main() -> None:
    """Exit 0 if every module imports where it should; otherwise show what did not."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        run(
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            folder,
            str(ROOT),
            quiet=True,
        )
        wheel = next(scratch.glob("*.whl"))
        modules = modules_of(wheel)
        venv.create(scratch / "empty", with_pip=True)
        python = str(scratch / "empty" / "bin" / "python")
        client = [name for name in modules if name.replace(".", "/").startswith(CLIENT)]
        check(python, str(wheel), client)
        check(python, f"{wheel}[demo,audit]", modules)
    print(f"the wheel is whole: {len(client)} modules of the client, {len(modules)} in all, import")


def modules_of(wheel: Path) -> list[str]:
    """The dotted names of all modules in *wheel*; it must hold no `guardhouse/__init__.py`."""
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")]
    if "guardhouse/__init__.py" in names:
        sys.exit("guardhouse is a namespace: no root may hold guardhouse/__init__.py")
    dotted = (name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names)
    return sorted(name for name in dotted if not name.endswith("__main__"))


def check(python: str, requirement: str, modules: list[str]) -> None:
    """Install *requirement* and import *modules*, each in the same fresh process."""
    constraints = str(ROOT / "constraints.txt")
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        constraints,
        requirement,
    )
    # From the root folder: nothing of the checkout may stand in for what the wheel lacks.
    run(
        python,
        "-P",
        "-c",
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)",
        cwd="/",
    )


def run(*command: str, quiet: bool = False, cwd: str | None = None) -> None:
    """Run *command*; its failure is ours."""
    done = subprocess.run(command, capture_output=quiet, text=True, check=False, cwd=cwd)
    if done.returncode:
        sys.exit(f"{done.stdout or ''}{done.stderr or ''}check_wheel: failed: {' '.join(command)[:200]}")


if __name__ == "__main__":
    main()
