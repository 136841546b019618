"""`guardhouse init`: a folder that works as it stands, and that is never made over another by accident."""

import json
import os
import ssl
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc import jwt
from joserfc.jwk import KeySet

from guardhouse.clients.profile import read_profile
from guardhouse.interceptors.call import Principal
from guardhouse.interceptors.policy import Policy
from guardhouse.server import config, files, scaffold

NAMES = {
    "guardhouse.yaml",
    "policy.yaml",
    "client.yaml",
    "token",
    "keys.db",
    "keys.db.pepper",
    *(f"pki/{name}.{kind}" for name in ("ca", "server", "client", "ledger") for kind in ("pem", "key")),
    "pki/token.key",
    "pki/jwks.json",
}
SECRETS = {name for name in NAMES if name.endswith((".key", "token", ".db", ".pepper"))}
INFER = "/inference.GRPCInferenceService/ModelInfer"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def mode(path: Path) -> int:
    """The permissions of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


def test_makes_the_contracts_files(made: Path) -> None:
    """Exactly the files of the contract are there, and nothing half-made beside them."""
    assert set(contents(made)) == NAMES


def test_secrets_are_for_their_owner_only(made: Path) -> None:
    """Keys, the token and the key store have mode 0600, their folder 0700."""
    assert {name for name in NAMES if mode(made / name) == 0o600} == SECRETS
    assert mode(made / "pki") == 0o700


def test_server_reads_the_configuration(made: Path) -> None:
    """The configuration is valid, and every file that it names is there and fits."""
    settings = config.load(made / "guardhouse.yaml")
    config.check_files(settings)
    assert settings.listen == "127.0.0.1:8443"
    assert [model.name for model in settings.models] == ["digits"]


def test_client_reads_the_profile(made: Path) -> None:
    """The profile is read by the client, and names a chain that TLS loads and a token."""
    profile = read_profile(made)
    context = ssl.create_default_context(cafile=str(profile.credentials.ca))
    context.load_cert_chain(str(profile.credentials.certificate), str(profile.credentials.key))
    assert profile.target == "127.0.0.1:8443"
    assert Path(str(profile.credentials.token_file)) == made / "token"


def test_token_verifies_and_names_the_demo_analyst(made: Path) -> None:
    """The token verifies against the key set on disk; it names demo, an analyst, for 30 days."""
    keys = KeySet.import_key_set(json.loads((made / "pki" / "jwks.json").read_text()))
    claims = jwt.decode((made / "token").read_text().strip(), keys, algorithms=["ES256"]).claims
    settings = yaml.safe_load((made / "guardhouse.yaml").read_text())["tokens"]["issuers"][0]
    assert (claims["sub"], claims["roles"]) == ("demo", ["analyst"])
    assert (claims["iss"], claims["aud"]) == (settings["issuer"], settings["audience"])
    assert claims["exp"] - claims["iat"] == 30 * 86_400
    assert claims["iat"] <= time.time()


@pytest.mark.parametrize(
    ("principal", "method", "model", "allowed"),
    [
        (Principal(claims={"roles": ["analyst"]}), INFER, "digits", True),
        (Principal(claims={"roles": ["analyst"]}), INFER, "other", False),
        (Principal(claims={"roles": ["analyst"]}), "/guardhouse.v1.Guardhouse/WhoAmI", "", True),
        (Principal(claims={"roles": ["analyst"]}), REFLECTION, "", False),
        (Principal(claims={"roles": ["operator"]}), REFLECTION, "", True),
        (Principal(claims={"roles": ["operator"]}), INFER, "other", True),
        (Principal(api_key="app-web"), INFER, "digits", True),
        (Principal(api_key="app-web"), REFLECTION, "", False),
        (Principal(api_key="ops-anna"), REFLECTION, "", True),
        (Principal(certificate="spiffe://guardhouse.local/client"), INFER, "digits", False),
        (Principal(claims={"roles": []}), INFER, "digits", False),
    ],
)
def test_policy_lets_analysts_ask_and_operators_run(
    made: Path, principal: Principal, method: str, model: str, allowed: bool
) -> None:
    """Analysts ask the model, operators do everything, a certificate alone does nothing."""
    policy = Policy.load(made / "policy.yaml")
    assert policy.explain(principal, method, model).decision.allowed is allowed
    assert not policy.warnings


@pytest.mark.parametrize("name", ["guardhouse.yaml", "policy.yaml", "client.yaml"])
def test_every_key_is_explained(made: Path, name: str) -> None:
    """Each line that holds a key or an entry stands under a comment."""
    lines = (made / name).read_text().splitlines()
    unexplained = [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if line.strip() and not line.lstrip().startswith("#") and not above.lstrip().startswith("#")
    ]
    assert unexplained == []


@pytest.mark.parametrize("name", sorted(NAMES - {"keys.db.pepper"}))
def test_refuses_where_any_of_its_files_exists(run: Any, tmp_path: Path, name: str) -> None:
    """One file in the way refuses the whole, in one line that names it and --force; nothing is touched."""
    taken = tmp_path / name
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(b"mine")
    said = run("init", tmp_path)
    assert (said.status, said.out) == (1, "")
    assert len(said.err.splitlines()) == 1
    assert str(taken) in said.err
    assert "--force" in said.err
    assert contents(tmp_path) == {name: b"mine"}


def test_second_init_leaves_every_byte(run: Any, made: Path) -> None:
    """Run again without --force, init changes nothing."""
    before = contents(made)
    assert run("init", made).status == 1
    assert contents(made) == before


def test_dangling_link_counts_as_existing(run: Any, tmp_path: Path) -> None:
    """A link to nowhere under one of its names is not written through."""
    (tmp_path / "token").symlink_to(tmp_path / "elsewhere")
    assert run("init", tmp_path).status == 1
    assert not (tmp_path / "elsewhere").exists()


def test_force_replaces_its_own_files_alone(run: Any, made: Path) -> None:
    """With --force every secret is new, API keys are gone, and other files stay as they were."""
    (made / "notes.txt").write_text("mine")
    (made / "pki" / "other.pem").write_text("mine")
    run("key", "create", "app-old", "--dir", made)
    before = contents(made)
    assert run("init", made, "--force").status == 0
    after = contents(made)
    assert {name for name in after if after[name] == before[name]} == {
        "notes.txt",
        "pki/other.pem",
        "guardhouse.yaml",
        "policy.yaml",
        "client.yaml",
    }
    assert set(after) == set(before)
    assert json.loads(run("key", "list", "--dir", made, "--json").out) == {"keys": []}
    assert mode(made / "pki" / "ca.key") == 0o600


def test_force_replaces_a_link_not_its_target(run: Any, made: Path) -> None:
    """With --force a link is replaced by the file; what it pointed at stays."""
    target = made / "precious"
    target.write_text("mine")
    (made / "token").unlink()
    (made / "token").symlink_to(target)
    assert run("init", made, "--force").status == 0
    assert target.read_text() == "mine"
    assert not (made / "token").is_symlink()


@pytest.mark.parametrize("name", ["policy.yaml", "keys.db"])
def test_force_does_not_replace_a_folder(run: Any, made: Path, name: str) -> None:
    """A folder under the name of a file refuses even with --force, before anything is written."""
    (made / name).unlink()
    (made / name).mkdir()
    before = contents(made)
    said = run("init", made, "--force")
    assert said.status == 1
    assert name in said.err
    assert contents(made) == before


@pytest.mark.parametrize("taken", ["", "pki"])
def test_refuses_a_file_in_place_of_a_folder(run: Any, tmp_path: Path, taken: str) -> None:
    """DIR, or its pki, that is a file is refused in one line and left alone."""
    folder = tmp_path / "folder"
    wrong = folder / taken
    wrong.parent.mkdir(exist_ok=True)
    wrong.write_text("mine")
    said = run("init", folder, "--force")
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert wrong.read_text() == "mine"


def test_works_beside_other_files(run: Any, tmp_path: Path) -> None:
    """A folder that holds other things is filled up, and those are left alone."""
    (tmp_path / "data.csv").write_text("mine")
    assert run("init", tmp_path).status == 0
    assert set(contents(tmp_path)) == NAMES | {"data.csv"}


def test_interruption_leaves_no_half_written_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stopped while it writes, write_files leaves nothing: no file, no draft, and an old file as it was."""
    (tmp_path / "c").write_bytes(b"old")
    real = os.fsync
    calls = iter([None, None, KeyboardInterrupt()])

    def interrupted(descriptor: int) -> None:
        real(descriptor)
        if stop := next(calls):
            raise stop

    monkeypatch.setattr(os, "fsync", interrupted)
    plan = {tmp_path / name: files.File(b"new", files.SECRET) for name in "abc"}
    with pytest.raises(KeyboardInterrupt):
        files.write_files(plan, force=True)
    assert contents(tmp_path) == {"c": b"old"}


def test_unwritable_place_is_one_line(run: Any, tmp_path: Path) -> None:
    """A place where no folder can be made is named in one line."""
    said = run("init", "/proc/guardhouse/demo")
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert "/proc/guardhouse" in said.err


def test_models_and_trust_domain_are_taken(run: Any, tmp_path: Path) -> None:
    """--model and --trust-domain reach the files; a path becomes relative to DIR."""
    (tmp_path / "no.onnx").write_bytes(b"")
    folder = tmp_path / "deep" / "made"
    models = ["--model", "true=fraud.model:score", "--model", f"resnet={tmp_path}/no.onnx"]
    assert run("init", folder, "--trust-domain", "ml.example", *models).status == 0
    settings = yaml.safe_load((folder / "guardhouse.yaml").read_text())
    assert settings["models"] == [
        {"name": "true", "version": "1", "python": "fraud.model:score"},
        {"name": "resnet", "version": "1", "onnx": "../../no.onnx"},
    ]
    policy = yaml.safe_load((folder / "policy.yaml").read_text())
    assert policy["roles"]["analyst"]["allow"][0]["models"] == ["true", "resnet"]
    shown = json.loads(run("cert", "show", folder / "pki" / "client.pem", "--json").out)
    assert shown["uris"] == ["spiffe://ml.example/client"]


@pytest.mark.parametrize(
    "options",
    [
        ["--model", "digits"],
        ["--model", "../x=a:b"],
        ["--model", "x=not a module"],
        ["--model", "x=missing.onnx"],
        ["--model", "x=a:b\nlisten: 0.0.0.0:1"],
        ["--trust-domain", "Not Good"],
        ["--trust-domain", "a/b"],
    ],
)
def test_wrong_options_write_nothing(run: Any, tmp_path: Path, options: list[str]) -> None:
    """A model or trust domain that cannot be is wrong usage, said in one line; no folder is made."""
    said = run("init", tmp_path / "new", *options)
    assert (said.status, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert not (tmp_path / "new").exists()


def test_json_lists_the_files(run: Any, tmp_path: Path) -> None:
    """--json names the folder and every file made, and nothing else is on stdout."""
    said = run("init", tmp_path / "new", "--json")
    data = json.loads(said.out)
    made = {os.path.relpath(path, data["directory"]) for path in data["files"]}
    assert (made, said.err) == (NAMES, "")


def test_says_what_to_do_next(run: Any, tmp_path: Path) -> None:
    """A person is told what was made and which commands come next; no secret is printed."""
    folder = tmp_path / "new"
    said = run("init", folder)
    assert all(name in said.out for name in NAMES)
    assert f"guardhouse serve {folder / 'guardhouse.yaml'}" in said.out
    assert "30 days" in said.out
    assert (folder / "token").read_text().strip() not in said.out


def test_plan_is_fresh_each_time() -> None:
    """Two plans share no key, and nothing of a plan is on disk."""
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    first, second = scaffold.plan(now=now), scaffold.plan(now=now)
    same = {str(path) for path in first if first[path] == second[path]}
    assert same == {"guardhouse.yaml", "policy.yaml", "client.yaml"}
