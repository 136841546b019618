"""`guardhouse.yaml` as typed values. `load` reads it, `config_files.check_files` looks at what it names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from guardhouse.interceptors import documents
from guardhouse.interceptors.capture import Capturing
from guardhouse.interceptors.documents import ConfigError, Problem
from guardhouse.interceptors.documents.overrides import override
from guardhouse.interceptors.record.collector import Collector

__all__ = [
    "Audit",
    "Collector",
    "Config",
    "ConfigError",
    "Issuer",
    "Limits",
    "Metrics",
    "Model",
    "Problem",
    "Server",
    "Tls",
    "Tokens",
    "check_files",
    "load",
]


@dataclass(frozen=True, slots=True)
class Tls:
    """How server and clients prove who they are. *client_auth* is "require" or "none"."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_auth: str = "require"


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer of tokens. *jwks* is an https URL, a loopback http URL, or the path of a file."""

    issuer: str
    audience: str
    jwks: str
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a call must bring beside its certificate."""

    required: bool = True
    issuers: tuple[Issuer, ...] = ()
    api_keys: Path | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """One model: *python* is `module:object`, *onnx* a file; exactly one of them is set."""

    name: str
    version: str = "1"
    python: str = ""
    onnx: Path | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Where it is kept what was spent, and how much the server takes at once.

    Attributes:
        waiting: Calls that may wait for a model that is busy.
        wait: Seconds that one may wait.
        calls: Calls under way at once.
        store: "memory", "sqlite:PATH", or the URL of a Redis, which may hold a password.
        ca, certificate, key: Files for TLS with a Redis.
    """

    store: str = field(default="memory", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    waiting: int = 512
    wait: float = 10.0
    calls: int = 1024


Durability = Literal["buffered", "strict"]


@dataclass(frozen=True, slots=True)
class Audit:
    """The folder of the ledger, and how it is kept.

    Attributes:
        key: The secret of its hashes, or the file that holds it.
        signing_key: The Ed25519 key that signs its checkpoints.
        anchor: The file outside that is given its head.
        rotate_size: Bytes after which a file is set aside.
        rotate_age: Seconds after which it is.
    """

    path: Path
    durability: Durability = "buffered"
    key: bytes | Path | None = field(default=None, repr=False)
    signing_key: Path | None = None
    anchor: Path | None = None
    rotate_size: int = 256 * 2**20
    rotate_age: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where metrics are read, host:port, and where they are pushed, http(s)://host:port; one is set."""

    listen: str = ""
    otlp: str = ""
    interval: float = 15.0


@dataclass(frozen=True, slots=True)
class Server:
    """Limits of the server itself. Sizes in bytes, times in seconds."""

    max_message: int = 4 * 2**20
    max_metadata: int = 16 * 2**10
    max_streams: int = 1024
    handshake_timeout: float = 10.0
    connection_age: float = 3600.0
    connection_grace: float = 60.0
    deadline: float = 60.0
    drain: float = 30.0
    threads: int = 4
    max_tokens: int = 4096


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. Paths are absolute or relative to where the program runs, ready to open.

    Attributes:
        path: The file it was read from.
        places: File and line of every key that was written, for messages about what it names.
    """

    path: Path
    listen: str
    tls: Tls
    tokens: Tokens
    policy: Path
    models: tuple[Model, ...]
    limits: Limits
    audit: Audit
    tracing: Collector | None
    metrics: Metrics | None
    capture: Capturing | None
    server: Server
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict, repr=False, compare=False)

    def problem(self, key: str, message: str) -> Problem:
        """A problem at the line where *key*, or the section around it, is written."""
        at = key
        while at not in self.places and "." in at:
            at = at.rpartition(".")[0]
        file, line = self.places.get(at, (str(self.path), 0))
        return Problem(file, line, key, message)


def load(
    path: str | Path, overrides: Iterable[str] = (), environment: Mapping[str, str] = os.environ
) -> Config:
    """Read and check the configuration at *path*; what it names in the file system is not touched.

    Args:
        path: A YAML file. Relative paths in it are relative to its folder.
        overrides: `dotted.key=value`, each put over what the file says.
        environment: Where `${NAME}` is looked up.

    Raises:
        ConfigError: with every problem, by line.
    """
    from .config_reader import config

    top = documents.read(Path(path), environment)
    override(top, overrides, environment)
    return config(top, Path(path))


def check_files(config: Config) -> None:
    """Look at every file that *config* names. Raises ConfigError with everything wrong."""
    from .config_files import problems

    found = problems(config)
    if found:
        raise ConfigError(found)
