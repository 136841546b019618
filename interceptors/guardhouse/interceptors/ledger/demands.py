"""What the caller of `verify` knows from elsewhere, and what a ledger's own account of itself lacks."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from .chain import KEYED, PLAIN, VERSION, Link, Scheme, key_name

KEY_NEEDED: Final = "key needed"
ANOTHER_KEY: Final = "another key"
UNKNOWN_VERSION: Final = "unknown version"
BLINDING: Final = frozenset({KEY_NEEDED, ANOTHER_KEY, UNKNOWN_VERSION})
"""Complaints after which no hash can be checked."""


class Demands(NamedTuple):
    """The secret of the chain, the public key of its signer (hex), and a head noted earlier; or less.

    What is given is demanded: a chain that has less is refused.
    """

    key: bytes = b""
    signer: str = ""
    anchor: Link | None = None


def complaint(entry: Mapping[str, object], scheme: Scheme, demands: Demands) -> tuple[str, str] | None:
    """What is wrong with a chain whose first *entry* names *scheme*, and why; None for nothing."""
    if entry.get("version") != VERSION:
        return UNKNOWN_VERSION, f"this program knows version {VERSION}"
    if scheme.name not in (PLAIN, KEYED):
        return "weaker scheme", f"only {PLAIN} and {KEYED} are accepted here"
    if demands.key and scheme.name != KEYED:
        return "weaker scheme", f"a key was given, and this chain says that it has none: {scheme.name}"
    if demands.signer and not scheme.signer:
        return "weaker scheme", "a public key was given, and this chain says that it is not signed"
    if scheme.name == KEYED and not demands.key:
        return KEY_NEEDED, "the hashes of this chain have a key: give it, or nothing can be checked"
    if scheme.key != key_name(demands.key):
        return ANOTHER_KEY, "the key that was given is not that of this chain"
    if demands.signer and scheme.signer != demands.signer:
        return "another signer", "this chain names another public key than the one that was given"
    return None
