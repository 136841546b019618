"""A ledger with keys: what each of them makes impossible, and what is refused where one is missing."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from guardhouse.interceptors.ledger import Ledger, LedgerError, keeper
from guardhouse.interceptors.ledger.chain import START, Scheme, bind, digest_by, encode, genesis, key_name
from guardhouse.interceptors.ledger.keys import Signer, public_key_in, secret, secret_in
from guardhouse.interceptors.ledger.verify import Demands, verify

from .ledgers import KEY, OTHER, QUERY, SIGNER, entries_of, first_fault, verdict_of, write

NAME = "ledger.jsonl"


def pem(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey, how: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def test_a_keyed_chain_can_only_be_checked_with_its_key(tmp_path: Path) -> None:
    """With the key it is intact; without, or with another, that is said, and no line is blamed."""
    write(tmp_path, key=KEY)
    write(tmp_path, key=KEY)
    assert verdict_of(tmp_path, key=KEY).intact
    assert first_fault(verdict_of(tmp_path)) == (NAME, 1, 1, "key needed")
    assert first_fault(verdict_of(tmp_path, key=b"another key" * 3)) == (NAME, 1, 1, "another key")
    assert verdict_of(tmp_path).fault_count == 1
    assert KEY.decode() not in (tmp_path / NAME).read_text()


def rewritten(bodies: list[bytes], key: bytes, scheme: Scheme) -> list[bytes]:
    """The whole ledger computed anew, as somebody with write access could, who has *key*."""
    lines, _ = bind([encode(genesis(scheme, "a" * 32, "T")), *bodies], START, digest_by(key))
    return [line + b"\n" for line in lines]


@pytest.mark.parametrize(
    ("demands", "scheme", "what"),
    [
        (Demands(key=KEY), Scheme(), "weaker scheme"),
        (Demands(key=KEY), Scheme("hmac-sha256", key_name(KEY)), "changed"),
        (Demands(signer=SIGNER.public), Scheme(), "weaker scheme"),
        (Demands(signer=SIGNER.public), Scheme(signer=SIGNER.public), "unsigned"),
        (Demands(signer=SIGNER.public), Scheme(signer=OTHER.public), "another signer"),
        (Demands(key=KEY), Scheme("md5"), "weaker scheme"),
    ],
    ids=["no key", "claims our key", "no signer", "claims our signer", "another signer", "a broken hash"],
)
def test_a_ledger_computed_anew_without_the_keys_is_refused(
    demands: Demands, scheme: Scheme, what: str
) -> None:
    """Whatever a forger's first line says, it is not what the caller demands."""
    lines = rewritten([encode(QUERY)] * 3, b"", scheme)
    bad = verify(lines, demands=demands).bad
    assert bad
    assert bad.what == what


def test_checkpoints_are_signed_and_say_how_far(tmp_path: Path) -> None:
    """At the start and at the close; whoever has the public key sees how far the ledger is vouched for."""
    write(tmp_path, signer=SIGNER)
    assert [entry["kind"] for entry in entries_of(tmp_path)] == [
        *("genesis", "start", "checkpoint", "query", "query", "query", "checkpoint", "stop")
    ]
    verdict = verdict_of(tmp_path, signer=SIGNER.public)
    assert verdict.intact
    assert verdict.signed == 6
    assert first_fault(verdict_of(tmp_path, signer=OTHER.public)) == (NAME, 1, 1, "another signer")


@pytest.mark.parametrize("lines", [True, False], ids=["by lines", "by time"])
def test_a_checkpoint_comes_after_so_many_lines_or_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: bool
) -> None:
    """A run under way is signed again and again, not only when it ends."""
    now = 1000.0
    if lines:
        monkeypatch.setattr(keeper, "CHECKPOINT_LINES", 10)
    ledger = Ledger(tmp_path, signer=SIGNER, flush_seconds=0.001, clock=lambda: now)
    for _ in range(20):
        number = ledger.append(QUERY)
    now += 0 if lines else keeper.CHECKPOINT_SECONDS
    assert ledger.wait(number + 1, timeout=30)
    assert entries_of(tmp_path)[number]["kind"] == "checkpoint"
    ledger.close()
    assert verdict_of(tmp_path, signer=SIGNER.public).intact


@pytest.mark.parametrize("name", ["signature", "time", "last"])
def test_a_forged_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    """A checkpoint that the signer did not sign as it stands is the first bad record."""
    write(tmp_path, signer=SIGNER)
    path = tmp_path / NAME
    lines = path.read_bytes().splitlines(keepends=True)
    body = lines[2].partition(b',"seq"')[0] + b"}"
    changed = {
        "signature": body.replace(body[-20:-2], b"0" * 18),
        "time": body.replace(b'"time":"2', b'"time":"3'),
        "last": body.replace(b'"last":2', b'"last":1'),
    }[name]
    bodies = [line.partition(b',"seq"')[0] + b"}" for line in lines]
    bodies[2] = changed
    path.write_bytes(b"".join(line + b"\n" for line in bind(bodies, START, digest_by(b""))[0]))
    assert first_fault(verdict_of(tmp_path)) == (NAME, 3, 3, "forged checkpoint")


def test_a_checkpoint_is_not_called_forged_where_its_signer_is_not_known(tmp_path: Path) -> None:
    """The line that named the signer is gone: that alone is said, unless it is told who must have signed."""
    write(tmp_path, signer=SIGNER)
    lines = (tmp_path / NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / NAME).write_bytes(b"".join(lines[1:]))
    assert entries_of(tmp_path)[1]["kind"] == "checkpoint"

    for demands in ({}, {"signer": SIGNER.public}):
        verdict = verdict_of(tmp_path, **demands)
        assert [fault.what for fault in verdict.faults] == ["missing"]
        assert bool(verdict.signed) is bool(demands)
    others = verdict_of(tmp_path, signer=OTHER.public)
    assert "forged checkpoint" in {fault.what for fault in others.faults}


def test_what_a_checkpoint_vouches_for_cannot_be_computed_anew(tmp_path: Path) -> None:
    """With all hashes made right again behind a changed line, the checkpoint still does not fit."""
    write(tmp_path, signer=SIGNER)
    path = tmp_path / NAME
    bodies = [line.partition(b',"seq"')[0] + b"}" for line in path.read_bytes().splitlines()]
    bodies[4] = bodies[4].replace(b"m1", b"mX")
    path.write_bytes(b"".join(line + b"\n" for line in bind(bodies, START, digest_by(b""))[0]))
    assert first_fault(verdict_of(tmp_path)) == (NAME, 7, 7, "forged checkpoint")


@pytest.mark.parametrize(
    ("begun", "gone_on", "what"),
    [
        ({}, {"key": KEY}, "another scheme"),
        ({"key": KEY}, {}, "another scheme"),
        ({"key": KEY}, {"key": KEY[::-1]}, "another key"),
        ({"signer": SIGNER}, {"signer": OTHER}, "another signing key"),
        ({"signer": SIGNER}, {}, "another signing key"),
    ],
)
def test_a_chain_keeps_its_scheme(tmp_path: Path, begun: dict, gone_on: dict, what: str) -> None:
    """A writer that comes with other keys is refused, told what to do, and leaves the file as it was."""
    write(tmp_path, **begun)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(LedgerError, match=f"was begun with {what}: .* move the folder away"):
        Ledger(tmp_path, **gone_on)
    assert (tmp_path / NAME).read_bytes() == before
    write(tmp_path, **begun)  # and the lock is free again


def test_a_scheme_change_in_the_middle_is_found(tmp_path: Path) -> None:
    """A later file that says it is secured otherwise than the chain's first line is refused."""
    bodies = [
        encode(genesis(Scheme(signer=SIGNER.public), "a" * 32, "T")),
        encode({"kind": "rotation", "version": 1, "scheme": "sha256", "key": "", "signer": "", "time": "T"}),
    ]
    lines = [line + b"\n" for line in bind(bodies, START, digest_by(b""))[0]]
    bad = verify(lines).bad
    assert bad
    assert (bad.line, bad.what) == (2, "scheme change")


@pytest.mark.parametrize("content", [b"", b" \n\t ", b"x" * 31, b"  short  \n" + b" " * 60])
def test_a_weak_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, blank and short secrets are none: as a value, from a file, and by the ledger itself."""
    with pytest.raises(ValueError, match=r"is empty|needs at least 32"):
        secret(content)
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(ValueError, match=r"is empty|needs at least 32"):
        secret_in(tmp_path / "key")
    if content:
        with pytest.raises(LedgerError, match="the ledger's key"):
            Ledger(tmp_path / "ledger", key=content)


def test_keys_that_all_may_read_are_refused(tmp_path: Path) -> None:
    """A key is read from a file only if not everybody can read or change it."""
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    path.chmod(0o600)
    assert secret_in(path) == KEY
    for read in (secret_in, Signer.load):
        path.chmod(0o604)
        with pytest.raises(ValueError, match="by everybody; run chmod 600"):
            read(path)


def test_signing_keys_are_ed25519(tmp_path: Path) -> None:
    """The pair is read from PEM; anything else is refused in words that say what to make."""
    key, path = Ed25519PrivateKey.generate(), tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(pem(key, NoEncryption()))
    signer = Signer.load(path)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public").write_bytes(public)
    assert public_key_in(tmp_path / "public") == signer.public
    bad = {
        "is encrypted": pem(key, BestAvailableEncryption(b"secret")),
        "is not an Ed25519 key": pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()),
        "holds no private key": public,
    }
    for words, content in bad.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            Signer.load(path)
    path.write_bytes(b"garbage")
    with pytest.raises(ValueError, match="holds no public key"):
        public_key_in(path)
