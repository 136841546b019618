"""Runs the commands that documents print, on free ports, and ends what was started."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
GUARDHOUSE = str(BIN / "guardhouse")
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}
DOCUMENTS = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("examples/*/*.md")]
)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A running server: its profile is *folder*/gate."""

    folder: Path
    address: str

    def token(self, role: str = "analyst") -> str:
        """A token of the development issuer."""
        return shell(f"guardhouse token issue --subject me --role {role} --dir gate", self.folder).out.strip()

    def channel(self) -> grpc.Channel:
        """A connection with the client's certificate."""
        pki = self.folder / "gate/pki"
        files = (pki / "ca.pem", pki / "client.key", pki / "client.pem")
        return grpc.secure_channel(
            self.address, grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        )

    def ledger(self) -> list[dict[str, Any]]:
        """Every line there is now."""
        return [json.loads(line) for line in (self.folder / "gate/ledger/ledger.jsonl").open()]

    def lines_about(self, method: str, least: int, reason: str = "") -> list[dict[str, Any]]:
        """The lines about *method*, and with *reason* if given, once there are *least* of them."""
        end = time.monotonic() + 10
        while True:
            found = [
                line
                for line in self.ledger()
                if str(line.get("method", "")).endswith(method) and reason in ("", line["reason"])
            ]
            if len(found) >= least or time.monotonic() > end:
                return found
            time.sleep(0.02)


def shell(line: str, folder: Path) -> Done:
    """Type *line* in *folder*, as a reader would."""
    done = subprocess.run(
        line, shell=True, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def started(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Start a server; lends the address that it says it serves on. It is stopped, and has to end well."""
    log = (folder / "log").open("a")
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env={**ENVIRONMENT, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = next(filter(None, (re.search(r" on (127\.0\.0\.1:\d+)", line) for line in process.stdout)))
        yield found[1]
    finally:
        process.terminate()
        status = process.wait(30)
        process.stdout.close()
        log.close()
    assert status == 0, (folder / "log").read_text()


@contextmanager
def receiver(folder: Path, store: str) -> Iterator[str]:
    """Receive traces into the file *store*; lends the address."""
    command = [GUARDHOUSE, "traces", "--follow", "--quiet", "--store", store, "--listen", "127.0.0.1:0"]
    with started(command, folder) as address:
        yield address


@contextmanager
def served(folder: Path, gate: str, collector: str, *settings: str) -> Iterator[str]:
    """`guardhouse serve` on a free port, and the profile in *gate* pointed at it; lends the address."""
    overrides = ["listen=127.0.0.1:0", f"tracing.endpoint=http://{collector}", *settings]
    command = [GUARDHOUSE, "serve", f"{gate}/guardhouse.yaml"]
    with started([*command, *(part for each in overrides for part in ("--set", each))], folder) as address:
        profile = folder / gate / "client.yaml"
        profile.write_text(re.sub(r"(?m)^target: .*$", f"target: {address}", profile.read_text()))
        yield address


def prose_and_code(text: str) -> Iterator[tuple[str, str]]:
    """The code blocks of *text*: the language of each ("" for an indented one), and its lines."""
    indented: list[str] = []
    fence, inside = "", list[str]()
    for line in [*text.splitlines(), ""]:
        if fence:
            if line.strip() == "```":
                yield fence, "\n".join(inside) + "\n"
                fence, inside = "", []
            else:
                inside.append(line)
        elif line.startswith("```"):
            fence = line.removeprefix("```").strip() or "text"
        elif line.startswith("    "):
            indented.append(line.removeprefix("    "))
        elif indented:
            yield "", "\n".join(indented) + "\n"
            indented = []


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks in *path* of *language*."""
    return [code for named, code in prose_and_code(path.read_text()) if named == language]


PROGRAMS = ("guardhouse ", "python", "make ", "pip ", "npm ", "node ", "/tmp/other/")


def commands(path: Path) -> list[str]:
    """The commands in the indented blocks of *path*, without what is said beside them."""
    lines = "".join(blocks(path, "")).splitlines()
    return [re.split(r"\s{2,}# |\s+#(?= )", line)[0].rstrip() for line in lines if line.startswith(PROGRAMS)]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of the tables in *text* whose first cell is code, without its marks."""
    found = re.findall(r"^\| `([^`]+)` \| (.*) \|$", text, re.MULTILINE)
    return [[first, *rest.split(" | ")] for first, rest in found]
