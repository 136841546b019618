"""`guardhouse audit` on real ledgers."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from guardhouse.interceptors.ledger import Ledger
from guardhouse.interceptors.ledger.keys import Signer

from .ledgers import QUERY, audit, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "ledger", *(QUERY | {"model": f"m{number}"} for number in range(30)))


def tamper(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"m7", b"mX"))


def test_verify_says_intact_with_the_head(path: Path) -> None:
    """An intact ledger exits 0 and names count, last seq and head, and what a file alone cannot show."""
    for place in (path, path.parent):
        result = audit("verify", place)
        assert result.exit_code == 0
        assert f"{place}: intact" in result.output
        assert "33 lines, seq 1 to 33" in result.output
        assert "head: seq 33, " in result.output
        assert "cut at the end" in result.output


def test_verify_names_the_first_bad_record(path: Path) -> None:
    """A changed record exits 1 and is named."""
    tamper(path)
    result = audit("verify", path)
    assert result.exit_code == 1
    assert "BROKEN" in result.output
    assert "ledger.jsonl line 10 (seq 10): changed" in result.output


def test_verify_as_json(path: Path) -> None:
    """A program reads the same facts."""
    good: dict[str, Any] = json.loads(audit("verify", path, "--json").output)
    assert (good["intact"], good["lines"], good["last"], good["faults"]) == (True, 33, 33, [])
    tamper(path)
    result = audit("verify", path, "--json")
    bad: dict[str, Any] = json.loads(result.output)
    assert result.exit_code == 1
    assert (bad["intact"], bad["fault_count"], bad["head"]) == (False, 1, good["head"])
    fault = bad["faults"][0]
    assert (fault["file"], fault["line"], fault["seq"], fault["what"]) == ("ledger.jsonl", 10, 10, "changed")


def test_verify_tells_of_a_torn_line_and_of_the_gap_after_it(path: Path) -> None:
    """A torn end has an exit code of its own until the next start; then it is a gap on record."""
    with path.open("ab") as file:
        file.write(b'{"kind":"que')
    torn = audit("verify", path)
    assert torn.exit_code == 3
    assert "intact up to seq 33; its last line is torn" in torn.output
    assert "line 34: torn last line" in torn.output
    facts = json.loads(audit("verify", path, "--json").output)
    assert (facts["intact"], facts["torn"], facts["last"]) == (False, True, 33)
    write(path.parent)
    mended = audit("verify", path)
    assert mended.exit_code == 0
    assert "line 34 (seq 34): gap: torn line cut off (recorded by the ledger itself)" in mended.output


def test_verify_counts_faults_that_it_does_not_list(tmp_path: Path) -> None:
    """A file of nonsense makes a short report."""
    nonsense = tmp_path / "x.jsonl"
    nonsense.write_bytes(b"\x1b[2J\n" * 100)
    result = audit("verify", nonsense)
    assert result.exit_code == 1
    assert "and 80 more" in result.output
    assert "\x1b" not in result.output


def secured(folder: Path, count: int = 5) -> dict[str, str]:
    """A ledger with key, signer and anchor in *folder*; what verify is to be told."""
    signing, key = folder / "signing", folder / "key"
    key.write_bytes(b"k" * 32)
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing.write_bytes(public)
    for path in (key, signing):
        path.chmod(0o600)
    anchor = folder / "anchor"
    ledger = Ledger(folder / "ledger", key=b"k" * 32, signer=Signer(private), anchor=anchor)
    for _ in range(count):
        ledger.append(QUERY)
    ledger.close()
    return {"--key": str(key), "--public-key": str(signing), "--anchor": str(anchor)}


def told(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]


def test_verify_with_all_that_it_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, public key and anchor from files; or the key from the environment, the anchor as text."""
    options = secured(tmp_path)
    result = audit("verify", tmp_path / "ledger", *told(options))
    assert result.exit_code == 0, result.output
    assert "signed up to seq 8" in result.output
    assert "noted elsewhere" not in result.output
    monkeypatch.setenv("LEDGER_KEY", "k" * 32)
    options |= {"--key": "${LEDGER_KEY}", "--anchor": (tmp_path / "anchor").read_text().strip()}
    facts = json.loads(audit("verify", tmp_path / "ledger", *told(options), "--json").output)
    assert (facts["intact"], facts["signed"], facts["scheme"]) == (True, 8, "hmac-sha256")


@pytest.mark.parametrize(
    ("harm", "line", "what"),
    [
        (lambda lines: lines.pop(5), 6, "missing"),
        (lambda lines: lines.insert(5, lines[4]), 6, "duplicate"),
        (lambda lines: lines.__setitem__(5, lines[5].replace(b"OK", b"ok")), 6, "changed"),
        (lambda lines: lines.insert(4, lines.pop(5)), 5, "out of order"),
        (lambda lines: lines.pop(), 9, "cut tail"),
        (lambda lines: lines.__setitem__(-1, lines[-1].replace(b"stop", b"halt")), 10, "rolled back"),
    ],
    ids=["delete", "duplicate", "change", "swap", "cut", "last line"],
)
def test_verify_names_what_was_done(tmp_path: Path, harm: Any, line: int, what: str) -> None:
    """Each tampering exits 1, with file, line and kind of the first bad record."""
    options, path = secured(tmp_path), tmp_path / "ledger/ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    harm(lines)
    path.write_bytes(b"".join(lines))
    result = audit("verify", tmp_path / "ledger", *told(options), "--json")
    first = json.loads(result.output)["faults"][0]
    assert result.exit_code == 1
    assert (first["file"], first["line"], first["what"]) == ("ledger.jsonl", line, what)


def test_verify_refuses_a_weaker_ledger_than_is_demanded(tmp_path: Path) -> None:
    """A plain ledger in the place of one with key and signer does not pass, however whole it is."""
    options = secured(tmp_path)
    write(tmp_path / "plain", QUERY)
    assert audit("verify", tmp_path / "plain").exit_code == 0
    for option in ("--key", "--public-key"):
        result = audit("verify", tmp_path / "plain", option, options[option])
        assert result.exit_code == 1
        assert "line 1 (seq 1): weaker scheme" in result.output


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--anchor", "nowhere", "is neither SEQ:HASH nor a file that is there"),
        ("--anchor", "key", "is not SEQ:HASH"),
        ("--public-key", "key", "holds no public key in PEM"),
        ("--public-key", "nowhere", "cannot be read"),
        ("--key", "anchor", "by everybody"),
        ("--key", "nowhere", "cannot be read"),
        ("--key", "${NO_SUCH_VARIABLE}", "is empty"),
    ],
)
def test_verify_says_what_it_cannot_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: str, words: str
) -> None:
    """What is given and is no good is never passed over: exit code 2."""
    secured(tmp_path)
    (tmp_path / "anchor").chmod(0o644)
    monkeypatch.chdir(tmp_path)
    result = audit("verify", "ledger", option, value)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize("name", ["verify", "tail"])
def test_nothing_to_read_exits_2(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing ledger is one line on stderr that says what to do."""
    monkeypatch.chdir(tmp_path)
    for arguments in ([name], [name, "nowhere"], [name, str(tmp_path)]):
        result = audit(*arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert "name its folder or file" in result.stderr


@pytest.mark.parametrize("place", ["ledger", ".demo/ledger"])
def test_the_path_can_be_left_out(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a server started here, or of the demonstration, is found."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / place, QUERY)
    assert audit("verify").exit_code == 0
    assert "digits:1" in audit("tail").output
