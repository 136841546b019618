"""What a configuration names, opened: by the server, and by commands that work beside it."""

from __future__ import annotations

from pathlib import Path

from guardhouse.interceptors.ledger.keys import Signer, secret_in
from guardhouse.interceptors.limits.stores import Store
from guardhouse.interceptors.limits.stores.at import open_store
from guardhouse.interceptors.limits.stores.redis_client import Tls

from .config import Audit, Limits


def ledger_keys(audit: Audit) -> tuple[bytes, Signer | None]:
    """The secret of a ledger's hashes, b"" for none, and who signs its checkpoints."""
    key = secret_in(audit.key) if isinstance(audit.key, Path) else audit.key
    return key or b"", Signer.load(audit.signing_key) if audit.signing_key else None


def budget_store(limits: Limits, timeout: float = 0.1) -> Store:
    """Where it is kept what was spent. Raises StoreError where it cannot be opened; see `open_store`."""
    return open_store(limits.store, timeout=timeout, tls=Tls(limits.ca, limits.certificate, limits.key))
