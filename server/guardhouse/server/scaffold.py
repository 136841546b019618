"""The folder that `guardhouse init` makes: configuration, policy, certificates, token, profile, key store."""

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from guardhouse.interceptors.tokens.keys import KeyStore
from guardhouse.interceptors.validation.names import is_model_name
from guardhouse.server import issuer, pki, scaffold_texts
from guardhouse.server.files import SECRET, File, check_places, key_pair, write_files

TRUST_DOMAIN: Final = "guardhouse.local"
MODELS: Final = {"digits": ("python", "guardhouse_examples.digits:model")}
# The development token: whom it names, and for how long.
SUBJECT: Final = "demo"
ROLES: Final = ("analyst",)
TOKEN_LIFETIME: Final = timedelta(days=30)
KEYS: Final = "keys.db"
# What is kept beside the key store and belongs to it: its pepper, and what SQLite may leave.
STORE_PARTS: Final = (".pepper", "-wal", "-shm", "-journal")

CALLABLE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def parse_model(text: str, base: Path) -> tuple[str, tuple[str, str]]:
    """Read NAME=module:object or NAME=FILE.onnx into (name, (kind, target)).

    A file's path becomes relative to `base`, the folder of the configuration. Raises ValueError otherwise.
    """
    name, mark, target = text.partition("=")
    if not mark or not is_model_name(name):
        raise ValueError(
            f"{text!r}: write NAME=module:object or NAME=FILE.onnx; a name is letters, digits and ._-"
        )
    if target.endswith(".onnx"):
        if not Path(target).is_file():
            raise ValueError(f"{target!r}: there is no such file")
        return name, ("onnx", os.path.relpath(Path(target).resolve(), base.resolve()))
    if CALLABLE.fullmatch(target):
        return name, ("python", target)
    raise ValueError(f"{target!r} is neither a module:object nor a .onnx file")


def plan(
    *,
    trust_domain: str = TRUST_DOMAIN,
    models: Mapping[str, tuple[str, str]] = MODELS,
    now: datetime,
) -> dict[Path, File]:
    """Return every file of a new folder but the key store, by its path in the folder, with fresh keys."""
    token_key = issuer.create_key()
    token = issuer.issue_token(
        issuer.load_key(token_key),
        SUBJECT,
        roles=ROLES,
        now=now.timestamp(),
        ttl=TOKEN_LIFETIME.total_seconds(),
    )
    names = {"issuer": issuer.ISSUER, "audience": issuer.AUDIENCE, "algorithm": issuer.ALGORITHM}
    return {
        **_certificates(trust_domain, now),
        Path("pki/token.key"): File(token_key, SECRET),
        **_ledger_keys(),
        Path("pki/jwks.json"): File((json.dumps(issuer.key_set(token_key), indent=2) + "\n").encode()),
        Path("guardhouse.yaml"): File(scaffold_texts.config(models, **names).encode()),
        Path("policy.yaml"): File(scaffold_texts.policy(models).encode()),
        Path("client.yaml"): File(scaffold_texts.PROFILE.encode()),
        Path("token"): File(f"{token.text}\n".encode(), SECRET),
    }


def make(directory: Path, files: Mapping[Path, File], *, force: bool = False) -> list[Path]:
    """Write the planned files and an empty key store below `directory`; return their paths.

    Raises FileExistsError where any of them exists (unless `force`) or a folder's name is taken by a file:
    then nothing has been written. Other things in the folder are left alone.
    """
    store = directory / KEYS
    targets = {directory / path: file for path, file in files.items()}
    for folder in (directory, directory / "pki"):
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"{folder} is a file: choose another folder for init, or move it away")
    check_places([*targets, *(directory / f"{KEYS}{part}" for part in ("", *STORE_PARTS))], force=force)
    (directory / "pki").mkdir(parents=True, exist_ok=True)
    (directory / "pki").chmod(0o700)
    write_files(targets, force=force)
    _new_store(store)
    return [*targets, store, directory / f"{KEYS}.pepper"]


def _certificates(trust_domain: str, now: datetime) -> dict[Path, File]:
    name = f"spiffe://{trust_domain}"
    authority = pki.create_authority(trust_domain, now=now)
    server = pki.issue(authority, usage="server", spiffe_id=f"{name}/server", hosts=pki.LOOPBACK, now=now)
    client = pki.issue(authority, usage="client", spiffe_id=f"{name}/client", now=now)
    files: dict[Path, File] = {}
    for stem, pair in {"ca": authority, "server": server, "client": client}.items():
        files |= key_pair(Path("pki") / stem, pair.certificate_pem, pair.key_pem)
    return files


def _ledger_keys() -> dict[Path, File]:
    """The pair that signs the ledger's checkpoints; the public half is for whoever verifies it."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return key_pair(Path("pki/ledger"), public, private)


def _new_store(path: Path) -> None:
    """Make an empty key store, in place of one that is there."""
    for suffix in ("", *STORE_PARTS):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    KeyStore(path)
