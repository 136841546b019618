"""The issuers whose tokens we accept, each with its audience, its algorithms and its keys."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from .jwk import KeySet, supported


class Keys(Protocol):
    """Where an issuer's keys come from; `jwks.Source` is one."""

    @property
    def keys(self) -> KeySet | None:
        """The set to verify with now; None if there is none to be trusted."""

    def ask(self) -> None:
        """Say that a key was not found. Must not wait."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A key set that never changes."""

    keys: KeySet | None

    def ask(self) -> None:
        """There is nothing to look up."""


@dataclass(frozen=True)
class IssuerKeys:
    """An issuer we accept tokens of.

    Attributes:
        issuer: The exact `iss`.
        audience: What `aud` must be or contain, exactly.
        algorithms: What it may sign with, out of `jwk.ALGORITHMS`; HMAC and `none` are refused (ValueError).
        source: Its keys.
    """

    issuer: str
    audience: str
    algorithms: Collection[str]
    source: Keys

    def __post_init__(self) -> None:
        object.__setattr__(self, "algorithms", supported(self.algorithms))
        if not self.issuer or not self.audience:
            raise ValueError("an issuer needs its exact name and an audience")
