"""The profile: the part of YAML it is written in, and errors that name file and line."""

from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from guardhouse.clients import Client, ConfigurationError
from guardhouse.clients.profile import parse, read_profile

GOOD = """\
# A comment
target: 127.0.0.1:8443   # and another

ca:   pki/ca.pem
certificate : "pki/client \\u0041.pem"
key: 'it''s.key'  # quoted
token_file: a#b
server_name: models.example
"""


def test_entries_are_read_as_yaml_reads_them() -> None:
    """Comments, blanks and both kinds of quotes mean what they mean in YAML."""
    entries = parse(GOOD, "client.yaml")
    assert entries == yaml.load(GOOD, yaml.BaseLoader)
    assert entries["key"] == "it's.key"


LINES = st.text(st.sampled_from("ab:# \"'\\-{}[],&*!|>%@?\t~="), max_size=14)


@given(st.lists(st.builds(lambda key, rest: f"{key}:{rest}", st.sampled_from("xyz"), LINES), max_size=3))
@example(["x: a\\tb"])
@example(['x: "\\ud800"'])
@example(["x: - a"])
def test_whatever_is_accepted_means_the_same_in_yaml(lines: list[str]) -> None:
    """No text is read in one way here and in another by a YAML library: it is refused instead."""
    text = "\n".join(lines)
    try:
        entries = parse(text, "f")
    except ConfigurationError:
        return
    assert entries == (yaml.load(text, yaml.BaseLoader) or {})


BAD = {
    "target": "line 1: expected  key: value",
    "a: 1\n  b: 2": "line 2: expected  key: value  from the first column on",
    "a: 1\nb: 2\na: 3": "line 3: a is given twice",
    "a:": "line 1: the value is missing",
    "a: # nothing": "line 1: the value is missing",
    "a: [1, 2]": "line 1: put the value in quotes",
    "a: b: c": "line 1: put the value in quotes",
    'a: "b': "line 1: put the value in quotes",
    'a: "\\q"': "line 1: cannot read the quoted text",
    "- a": "line 1: expected",
    "a:\tb": "line 1: there is a tab or another control character",
    "a: 'b\x1b'": "line 1: there is a tab or another control character",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_lines_are_named(text: str) -> None:
    """Anything else is refused with the file, the line and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "client.yaml")
    assert str(caught.value).startswith(f"client.yaml, {BAD[text]}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("token: x", "there is no key 'token'; the keys are target, ca"), ("ca: x", "the target is missing")],
)
def test_a_profile_has_known_keys_and_a_target(tmp_path: Path, text: str, problem: str) -> None:
    """A typo in a key is an error that lists the keys, and so is a missing target."""
    (tmp_path / "client.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=problem):
        read_profile(tmp_path)


def test_files_are_found_beside_the_profile(tmp_path: Path) -> None:
    """Relative paths start at the profile's folder, absolute ones stay."""
    (tmp_path / "client.yaml").write_text("target: a:1\nca: pki/ca.pem\ntoken_file: /run/token\n")
    target, credentials = read_profile(tmp_path)
    assert (target, credentials.ca, credentials.certificate) == ("a:1", tmp_path / "pki/ca.pem", None)
    assert credentials.token_file == Path("/run/token")


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    """The error of a folder without a profile is one line with the path."""
    with pytest.raises(ConfigurationError, match=r"cannot read the profile .*client\.yaml: No such file"):
        Client.from_profile(tmp_path)


def test_a_profile_that_is_no_text_is_named(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are an error of the profile."""
    (tmp_path / "client.yaml").write_bytes(b"target: \xff")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        read_profile(tmp_path)
