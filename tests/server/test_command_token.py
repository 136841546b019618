"""`guardhouse token issue`: a token on stdout that the server's key set verifies, and nothing beside it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.util import urlsafe_b64decode

from guardhouse.interceptors.tokens import certificate_thumbprint


def verified(made: Path, token: str) -> dict[str, Any]:
    """The claims of a token, verified by the key set that init wrote."""
    keys = KeySet.import_key_set(json.loads((made / "pki" / "jwks.json").read_text()))
    return jwt.decode(token, keys, algorithms=["ES256"]).claims


def test_prints_one_token_that_verifies(run: Any, made: Path) -> None:
    """Stdout is one line, a token; its claims are what was asked for, its life an hour by default."""
    said = run("token", "issue", "--subject", "ann", "--role", "analyst", "--role", "operator", "--dir", made)
    assert (said.status, said.err, len(said.out.splitlines())) == (0, "", 1)
    claims = verified(made, said.out.strip())
    assert (claims["sub"], claims["roles"], claims["aud"]) == ("ann", ["analyst", "operator"], "guardhouse")
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["nbf"] <= claims["iat"] <= time.time()


def test_options_reach_the_claims(run: Any, made: Path) -> None:
    """--ttl, --audience and --claim are written; a value is JSON where it reads as JSON, else text."""
    claims = ["--claim", "team=data science", "--claim", "level=3", "--claim", 'groups=["a","b"]']
    claims += ["--claim", "zip=007", "--claim", "odd=NaN", "--claim", "equation=a=b"]
    options = ["--ttl", "15m", "--audience", "models", *claims]
    token = verified(made, run("token", "issue", "--subject", "ann", "--dir", made, *options).out.strip())
    assert (token["exp"] - token["iat"], token["aud"]) == (900, "models")
    given = {name: token[name] for name in ("team", "level", "groups", "zip", "odd", "equation")}
    assert given == {
        "team": "data science",
        "level": 3,
        "groups": ["a", "b"],
        "zip": "007",
        "odd": "NaN",
        "equation": "a=b",
    }


def test_bind_names_the_certificate_as_the_guard_does(run: Any, made: Path) -> None:
    """--bind writes the thumbprint that the token guard computes of the same certificate."""
    certificate = made / "pki" / "client.pem"
    said = run("token", "issue", "--subject", "ann", "--bind", certificate, "--dir", made)
    bound = verified(made, said.out.strip())["cnf"]["x5t#S256"]
    assert urlsafe_b64decode(bound.encode()) == certificate_thumbprint(certificate.read_bytes())


def test_json_tells_token_key_and_claims(run: Any, made: Path) -> None:
    """--json gives the token, the id of its key and its claims."""
    data = json.loads(run("token", "issue", "--subject", "ann", "--dir", made, "--json").out)
    keys = json.loads((made / "pki" / "jwks.json").read_text())["keys"]
    assert data["claims"] == verified(made, data["token"])
    assert data["kid"] == keys[0]["kid"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--subject"),
        (["--subject", ""], "subject"),
        (["--subject", "ann", "--ttl", "1 hour"], "duration"),
        (["--subject", "ann", "--ttl", "-1h"], "duration"),
        (["--subject", "ann", "--ttl", "10ms"], "between"),
        (["--subject", "ann", "--claim", "groups"], "NAME=VALUE"),
        (["--subject", "ann", "--claim", "=x"], "NAME=VALUE"),
        (["--subject", "ann", "--claim", "a=1", "--claim", "a=2"], "twice"),
        (["--subject", "ann", "--claim", "sub=root"], "'sub'"),
        (["--subject", "ann", "--bind", "missing.pem"], "missing.pem"),
        (["--subject", "ann", "--rol", "x"], "--role"),
    ],
)
def test_wrong_usage_is_one_line_and_no_token(run: Any, made: Path, options: list[str], words: str) -> None:
    """What cannot be claimed is wrong usage: nothing on stdout, one line that says what."""
    said = run("token", "issue", "--dir", made, *options)
    assert (said.status, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert words in said.err


@pytest.mark.parametrize("content", [None, b"", b"SECRETCANARY"])
def test_missing_or_broken_key_is_one_line(run: Any, made: Path, content: bytes | None) -> None:
    """Without a usable signing key there is no token, and the line names the file and nothing in it."""
    key = made / "pki" / "token.key"
    key.unlink()
    if content is not None:
        key.write_bytes(content)
    said = run("token", "issue", "--subject", "ann", "--dir", made)
    assert (said.status, said.out, len(said.err.splitlines())) == (1, "", 1)
    assert "token.key" in said.err
    assert "CANARY" not in said.err


def test_bind_wants_a_certificate(run: Any, made: Path) -> None:
    """A key in place of the certificate is refused in one line that holds nothing of it."""
    key = made / "pki" / "client.key"
    said = run("token", "issue", "--subject", "ann", "--bind", key, "--dir", made)
    assert (said.status, said.out, len(said.err.splitlines())) == (1, "", 1)


def test_shell_captures_the_bare_token(made: Path) -> None:
    """In a shell, $(guardhouse token issue ...) is the token: three parts, no blank, nothing more."""
    code = "import sys; from guardhouse.server.commands import main; sys.exit(main())"
    line = '"$1" -c "$2" token issue --subject ann --dir "$3"'
    captured = subprocess.run(
        ["sh", "-c", f'token="$({line})"; printf "%s" "$token"', "sh", sys.executable, code, made],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert verified(made, captured)["sub"] == "ann"
