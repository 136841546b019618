"""`guardhouse cert`: certificates that TLS and the guard accept, written once and shown plainly."""

import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors import identity

NOTEBOOK = "spiffe://guardhouse.local/ns/ml/notebook"


def issue(run: Any, made: Path, *options: str) -> Any:
    """What `guardhouse cert issue` says, for the notebook."""
    return run("cert", "issue", "--spiffe-id", NOTEBOOK, "--dir", made, *options)


def test_issues_a_client_certificate(run: Any, made: Path) -> None:
    """The guard reads the holder's name; the key is 0600; the file is named by the id's last part."""
    said = issue(run, made)
    certificate, key = made / "pki" / "notebook.pem", made / "pki" / "notebook.key"
    assert said.status == 0, said.err
    assert str(certificate) in said.out
    assert identity.read(certificate.read_bytes()).principal.name == NOTEBOOK
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")
def test_issues_a_server_certificate(run: Any, made: Path) -> None:
    """A server's certificate holds the DNS names and addresses asked for, and OpenSSL accepts it for them."""
    names = ["--dns", "models.example", "--dns", "10.0.0.7"]
    said = run("cert", "issue", "--server", *names, "--out", "gate", "--dir", made)
    assert said.status == 0, said.err
    folder = made / "pki"
    verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", f"{folder}/ca.pem"]
    for name in (["-verify_hostname", "models.example"], ["-verify_ip", "10.0.0.7"]):
        subprocess.run([*verify, *name, f"{folder}/gate.pem"], check=True, capture_output=True)


def test_json_tells_paths_and_facts(run: Any, made: Path) -> None:
    """--json gives the two paths, and the facts that `cert show` gives of the same file."""
    issued = json.loads(issue(run, made, "--ttl", "2d", "--json").out)
    shown = json.loads(run("cert", "show", issued["certificate"], "--json").out)
    assert issued["key"] == str(made / "pki" / "notebook.key")
    assert shown["uris"] == [NOTEBOOK]
    assert {name: issued[name] for name in shown} == shown


def test_never_overwrites_without_force(run: Any, made: Path) -> None:
    """A certificate of the same name stays byte for byte, unless --force replaces it."""
    issue(run, made)
    before = (made / "pki" / "notebook.key").read_bytes()
    said = issue(run, made)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "--force" in said.err
    assert (made / "pki" / "notebook.key").read_bytes() == before
    assert issue(run, made, "--force").status == 0
    assert (made / "pki" / "notebook.key").read_bytes() != before


@pytest.mark.parametrize("name", ["ca", "token", "../x", "a/b", ".hidden", "a\nb"])
def test_out_is_a_plain_name_that_nobody_needs(run: Any, made: Path, name: str) -> None:
    """Not even --force writes over the authority or the token key, or outside pki."""
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    said = issue(run, made, "--out", name, "--force")
    assert (said.status, len(said.err.splitlines())) == (2, 1)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--spiffe-id", "https://guardhouse.local/x"], "spiffe://"),
        ([], "needs a SPIFFE ID"),
        (["--server"], "needs a name"),
        (["--server", "--dns", "two words"], "neither a DNS name"),
        (["--spiffe-id", NOTEBOOK, "--ttl", "400d"], "shorter"),
        (["--spiffe-id", NOTEBOOK, "--ttl", "30"], "duration"),
        (["--spiffe-id", NOTEBOOK, "--ttl", "0s"], "between"),
    ],
)
def test_wrong_names_and_times_are_one_line(run: Any, made: Path, options: list[str], words: str) -> None:
    """What cannot be signed is refused in one line that says why."""
    said = run("cert", "issue", "--dir", made, *options)
    assert said.status in (1, 2)
    assert len(said.err.splitlines()) == 1
    assert words in said.err


def test_foreign_trust_domain_is_noted(run: Any, made: Path) -> None:
    """An identity outside the authority's trust domain is signed, and a note says so."""
    said = run("cert", "issue", "--spiffe-id", "spiffe://acme/x", "--dir", made)
    assert said.status == 0
    assert "outside spiffe://guardhouse.local" in said.err


def test_folder_is_found_or_asked_for(run: Any, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --dir the current folder is taken, then .demo in it; else one line names `guardhouse init`."""
    monkeypatch.chdir(made)
    assert run("cert", "issue", "--spiffe-id", NOTEBOOK).status == 0
    made.rename(made.with_name(".demo"))
    monkeypatch.chdir(made.parent)
    assert run("cert", "issue", "--spiffe-id", NOTEBOOK, "--force").status == 0
    (made.parent / "empty").mkdir()
    monkeypatch.chdir(made.parent / "empty")
    said = run("cert", "issue", "--spiffe-id", NOTEBOOK)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "guardhouse init" in said.err


def test_missing_authority_is_one_line(run: Any, made: Path) -> None:
    """Without the authority's key nothing is signed, and the line says what makes one."""
    (made / "pki" / "ca.key").unlink()
    said = issue(run, made)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "ca.key" in said.err
    assert "guardhouse init" in said.err


def test_broken_authority_tells_nothing_of_its_content(run: Any, made: Path) -> None:
    """A key file that holds something else is refused without a word of what it holds."""
    (made / "pki" / "ca.key").write_text(
        "-----BEGIN PRIVATE KEY-----\nSECRETCANARY\n-----END PRIVATE KEY-----\n"
    )
    said = issue(run, made)
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "CANARY" not in said.err


def test_shows_names_usage_and_warnings(run: Any, made: Path) -> None:
    """A person sees who a certificate names, for what and how long; an authority's is warned about."""
    client = run("cert", "show", made / "pki" / "client.pem").out
    assert "spiffe://guardhouse.local/client" in client
    assert "client" in client
    assert "not after" in client
    assert "fingerprint" in client
    assert "warning" not in client
    assert "identifies nobody" in run("cert", "show", made / "pki" / "ca.pem").out


@pytest.mark.parametrize("name", ["pki/client.key", "guardhouse.yaml", "missing.pem", "pki"])
def test_shows_certificates_only(run: Any, made: Path, name: str) -> None:
    """A key, another file, a folder and no file at all are refused in one line, without their content."""
    said = run("cert", "show", made / name)
    assert said.status in (1, 2)
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert "PRIVATE KEY" not in said.err
