"""Whatever is wrong before the first call: one line that says what and where, and nothing that listens."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from gate import COMMAND, INFER, Gate, bearer, environment, query

from guardhouse.interceptors.ledger import Ledger


@pytest.fixture(scope="module")
def template(tmp_path_factory, sink):
    """A folder that serves as it stands."""
    return Gate(tmp_path_factory.mktemp("template") / "demo", sink.port).folder


@pytest.fixture
def folder(template, tmp_path):
    """A copy of it, to spoil."""
    return Path(shutil.copytree(template, tmp_path / "demo"))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def complaint(folder: Path, *arguments: str) -> str:
    """Start the server, which must not start; returns the one line that it says."""
    env = environment(folder / "witness")
    env["PYTHONPATH"] += f":{folder}"
    done = subprocess.run(
        [COMMAND, "serve", str(folder / "guardhouse.yaml"), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=env,
    )
    assert done.returncode in (1, 2), done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("guardhouse: ")
    return lines[0]


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if text in line)


class Edit(NamedTuple):
    """A change of one file, and what must be said of it: its line, this key, and some words."""

    file: str
    old: str
    new: str
    key: str
    words: str


CONFIG, POLICY = "guardhouse.yaml", "policy.yaml"
EDITS = {
    "a typo": Edit(CONFIG, "client_auth:", "client_auht:", "tls.client_auht", "did you mean 'client_auth'?"),
    "a wrong unit": Edit(CONFIG, "\naudit:", "\nserver: {drain: 10 parsecs}\naudit:", "server.drain", "10s"),
    "no unit": Edit(CONFIG, "\naudit:", "\nserver: {drain: 10}\naudit:", "server.drain", "10"),
    "a key twice": Edit(CONFIG, "\naudit:", "\nlisten: 127.0.0.1:1\naudit:", "listen", "first in line 5"),
    "no such CA file": Edit(CONFIG, "pki/ca.pem", "pki/cb.pem", "tls.client_ca", "no such file"),
    "a CA file that is no CA's": Edit(CONFIG, "pki/ca.pem", "pki/client.pem", "tls.client_ca", "authority"),
    "no such key set": Edit(CONFIG, "pki/jwks.json", "jwks.json", "tokens.issuers.0.jwks", "no such file"),
    "an unset variable": Edit(
        CONFIG,
        "audience: guardhouse",
        "audience: ${NOBODY_SETS_THIS}",
        "tokens.issuers.0.audience",
        "NOBODY_SETS_THIS",
    ),
    "a store that is none": Edit(CONFIG, "store: memory", "store: memcached", "limits.store", "sqlite:PATH"),
    "a role nobody knows": Edit(POLICY, "role: trickle,", "role: trickel,", "bindings.1.role", "trickle"),
    "no such claim": Edit(
        POLICY,
        "claim: {roles: trickle}",
        "clam: {roles: trickle}",
        "bindings.1",
        "exactly one of subject, claim or api_key",
    ),
    "a wrong rate": Edit(POLICY, "rate: 1/h", "rate: 1/year", "roles.trickle.limits.rate", "1/year"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_mistake_in_a_file(folder, name):
    """Each mistake stops the start, and one line names the file, the line, the key and what was meant."""
    edit = EDITS[name]
    path = folder / edit.file
    change(path, edit.old, edit.new)

    said = complaint(folder)

    number = line_of(path, edit.new.strip().splitlines()[0])
    assert said.startswith(f"guardhouse: {path}:{number}: {edit.key}")
    assert edit.words in said


def test_neither_certificate_nor_token(folder):
    """A server that anybody could call does not start."""
    change(folder / CONFIG, "client_auth: require", "client_auth: none")
    change(folder / CONFIG, "  required: true", "  required: false")

    said = complaint(folder)

    assert f"{CONFIG}:{line_of(folder / CONFIG, 'required: false')}: tokens.required: " in said
    assert "anybody could call" in said


def test_of_several_mistakes_the_first_is_told(folder):
    """One line tells the first mistake, how many more there are, and which command shows them all."""
    change(folder / CONFIG, "client_auth:", "client_auht:")
    change(folder / CONFIG, "store: memory", "stroe: memory")

    said = complaint(folder)

    assert f"{CONFIG}:{line_of(folder / CONFIG, 'client_auht')}: " in said
    assert said.endswith("(and 1 more: guardhouse check)")


# What is in the file that pki/NAME should be -> what is said.
FILES = {
    "an empty CA file": ("ca.pem", lambda pki: b"", "is empty"),
    "a CA file of blanks": ("ca.pem", lambda pki: b"\n\n", "is empty"),
    "garbage for a CA": ("ca.pem", lambda pki: b"garbage", "no certificate in PEM"),
    "another's key": ("server.key", lambda pki: (pki / "client.key").read_bytes(), "does not belong to"),
    "a certificate for a key": ("server.key", lambda pki: (pki / "ca.pem").read_bytes(), "no private key"),
    "garbage for a key set": ("jwks.json", lambda pki: b"{", "no JSON Web Key Set"),
    "a key set without keys": ("jwks.json", lambda pki: b'{"keys": []}', "no JSON Web Key Set"),
    "a key set of secrets": (
        "jwks.json",
        lambda pki: b'{"keys": [{"kty": "oct", "k": "AAAA", "alg": "HS256", "kid": "1"}]}',
        "no key in it is fit for use",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_what_it_should_be(folder, name):
    """Each file that the server must trust is looked at before it listens, and none of it is shown."""
    file, content, words = FILES[name]
    (folder / "pki" / file).write_bytes(content(folder / "pki"))

    said = complaint(folder)

    assert f"{CONFIG}:{line_of(folder / CONFIG, file)}: " in said
    assert words in said


def test_a_key_that_everybody_may_read(folder):
    """A private key that is open to everybody is no key; the line says how to close it."""
    (folder / "pki" / "server.key").chmod(0o644)

    assert f"run chmod 600 {folder / 'pki' / 'server.key'}" in complaint(folder)


FAULTY = """
from guardhouse.server import model

class Model:
    def load(self):
        raise RuntimeError("out of\\nluck")

declared = model(inputs={"x": ("FP32", [-1])}, outputs={"y": ("FP32", [-1])})
raising = declared(Model)
misnamed = declared(lambda y: y)
"""
# Reference of the model "double" -> what is said.
MODELS = {
    "no_such_module:double": "no_such_module",
    "witness_model:triple": "module witness_model has no triple",
    "os:getcwd": "has no signature; put @model",
    "faulty_model:raising": "load() failed: RuntimeError: out of luck",
    "faulty_model:misnamed": "cannot be called with the inputs it declares",
    "exiting_model:model": "SystemExit",
    "unreadable_model:model": "SyntaxError",
}


@pytest.mark.parametrize("reference", MODELS)
def test_a_model_that_fails_to_load(folder, reference):
    """However a model fails to load, one line names it, where it was to come from, and what happened."""
    (folder / "faulty_model.py").write_text(FAULTY)
    (folder / "exiting_model.py").write_text("raise SystemExit(0)")
    (folder / "unreadable_model.py").write_text("def model(:")
    change(folder / CONFIG, "witness_model:double", reference)

    said = complaint(folder)

    assert f"model double (python: {reference}): " in said
    assert MODELS[reference] in said


def test_a_port_in_use(folder):
    """Somebody else's port is an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = complaint(folder, "--set", f"listen={address}")

    assert said.startswith(f"guardhouse: cannot listen on {address}: address already in use; ")


def test_an_address_of_another_machine(folder):
    """So is an address that this machine has not."""
    said = complaint(folder, "--set", "listen=192.0.2.1:8443")

    assert said.startswith("guardhouse: cannot listen on 192.0.2.1:8443: cannot assign requested address; ")


def test_a_ledger_with_another_writer(folder):
    """Two servers never write one ledger: the second does not start."""
    ledger = Ledger(folder / "ledger")
    try:
        said = complaint(folder)
    finally:
        ledger.close()

    assert "another writer" in said
    assert str(folder / "ledger") in said


def test_a_ledger_that_is_none(folder):
    """What is no ledger is not written over."""
    (folder / "ledger").mkdir()
    precious = folder / "ledger" / "ledger.jsonl"
    precious.write_text("precious\n")

    assert "something else than a ledger" in complaint(folder)
    assert precious.read_text() == "precious\n"


SETTINGS = {
    "server.drain=10": "server.drain: `10` is not a duration",
    "server.dreim=10s": "server.dreim",
    "models.0.nmae=x": "models.0.nmae",
    "models.9.name=x": "models.9",
    "listen": "is not key=value",
    "listen=nowhere": "listen",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_setting(folder, setting):
    """A mistake on the command line is told like one in the file."""
    said = complaint(folder, "--set", setting)

    assert "--set" in said
    assert SETTINGS[setting] in said


def test_a_setting_goes_over_the_file(template, tmp_path, sink):
    """`--set` wins over the file, for a value inside a list too."""
    gate = Gate(tmp_path / "demo", sink.port)
    gate.start("--set", "models.0.name=twice", "--set", "server.max_message=8KiB")
    try:
        assert "twice 1 (python)" in gate.report["models"]
    finally:
        assert gate.stop() == 0


def test_init_over_an_existing_folder(folder):
    """`init` where something is refuses, names it, and changes nothing."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = subprocess.run([COMMAND, "init", str(folder)], capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "--force" in done.stderr
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_model_that_answers_in_another_shape(tmp_path, sink):
    """The caller hears fixed words; the operator reads which output, what it was and what was declared."""
    gate = Gate(tmp_path / "demo", sink.port).start()
    request = query("misshapen").SerializeToString()
    with gate.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(INFER)(request, metadata=bearer(gate.token()), timeout=10)
    assert gate.stop() == 0

    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert "output y is float32 of shape [2, 2], its signature says FP32 of shape [-1]" in gate.log()
    assert "shape" not in refused.value.details()
