"""Certificates, keys and tokens: what is refused before anything is sent, and what is never shown."""

from pathlib import Path

import pytest

from guardhouse.clients import Client, ConfigurationError, Credentials
from guardhouse.clients.credentials import parse_token, token_source
from guardhouse.clients.testing import Server, make_pki, serve
from guardhouse.protos import inference_pb2 as pb


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """A folder of certificates and keys."""
    make_pki(tmp_path)
    return tmp_path


def credentials(pki: Path, **changed: object) -> Credentials:
    """The client's credentials in the folder, some of them changed."""
    files: dict[str, object] = {
        "ca": pki / "ca.pem",
        "certificate": pki / "client.pem",
        "key": pki / "client.key",
    }
    return Credentials(**{**files, **changed})  # type: ignore[arg-type] # some are wrong on purpose


def test_paths_bytes_and_text_all_do(server: Server) -> None:
    """Credentials may be paths, as Path or str, or the PEM itself, as bytes or str."""
    ca, certificate, key = (server.profile / name for name in ("ca.pem", "client.pem", "client.key"))
    for found in (
        Credentials(ca=str(ca), certificate=certificate, key=key, token="t"),
        Credentials(ca=ca.read_bytes(), certificate=certificate.read_bytes(), key=key.read_text()),
    ):
        with Client(server.target, credentials=found) as client:
            assert client.live()
    assert [call.metadata.get("authorization") for call in server.calls] == ["Bearer t", None]


def test_another_name_of_the_server_can_be_expected(server: Server) -> None:
    """server_name is checked instead of the target's, for a server behind a tunnel."""
    profile = server.profile / "client.yaml"
    profile.write_text(profile.read_text() + "server_name: localhost\n")
    with Client.from_profile(server.profile) as client:
        assert client.live()


BAD: dict[str, tuple[dict[str, object], str]] = {
    "key without certificate": ({"certificate": None}, "a client certificate and its key go together"),
    "certificate without key": ({"key": None}, "a client certificate and its key go together"),
    "missing file": (
        {"ca": Path("/nonexistent/ca.pem")},
        "cannot read the ca /nonexistent/ca.pem: No such file",
    ),
    "not PEM": ({"ca": b"text"}, "the ca given holds no ca: it must be PEM"),
    "two kinds of token": ({"token": "a", "token_file": "b"}, "give a token or a token file, not both"),
    "missing token file": (
        {"token_file": "/nonexistent/token"},
        "cannot read the token file /nonexistent/token",
    ),
    "token of two words": ({"token": "a b"}, "the token is not one word of printable ASCII"),
    "token with a line break inside": ({"token": "a\nb"}, "the token is not one word"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_credentials_are_refused_at_once(pki: Path, case: str) -> None:
    """Each is one clear line when the client is made, not a failure of its first call."""
    changed, problem = BAD[case]
    with pytest.raises(ConfigurationError, match=problem):
        Client("127.0.0.1:1", credentials=credentials(pki, **changed))


def test_swapped_files_are_noticed(pki: Path) -> None:
    """A key given as certificate, and the reverse, is told by its name."""
    swapped = credentials(pki, certificate=pki / "client.key", key=pki / "client.pem")
    with pytest.raises(ConfigurationError, match=r"holds no (certificate|key): it must be PEM"):
        Client("127.0.0.1:1", credentials=swapped)


def test_an_empty_token_file_is_refused(tmp_path: Path) -> None:
    """A client cannot begin without its token."""
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(ConfigurationError, match=r"token is empty: put the token there"):
        token_source(Credentials(token_file=tmp_path / "token"))


def test_secrets_are_not_shown(pki: Path) -> None:
    """Neither the repr of credentials nor the error of a bad token holds token or key."""
    found = credentials(pki, key=(pki / "client.key").read_text(), token="s3cret")
    assert "s3cret" not in repr(found)
    assert "PRIVATE" not in repr(found)
    with pytest.raises(ConfigurationError) as caught:
        parse_token(b"s3cret s3cret", "the token")
    assert "s3cret" not in str(caught.value)


def test_a_token_replaced_within_one_second_is_seen(tmp_path: Path) -> None:
    """A rename over the file, as rotation does it, is seen by the next call even if the size is the same."""
    path = tmp_path / "token"
    path.write_text("aaaa")
    current = token_source(Credentials(token_file=path))
    for text in ("bbbb", "cccc"):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(path)
        assert current() == text


def test_plain_text_works_on_this_machine(tmp_path: Path) -> None:
    """With insecure=True a loopback server is called without TLS, token included."""
    with serve(tmp_path, lambda *_: pb.ServerLiveResponse(live=True), plain=True) as server:
        with Client(server.target, insecure=True, credentials=Credentials(token="t")) as client:
            assert client.live()
        assert server.calls[0].metadata["authorization"] == "Bearer t"
