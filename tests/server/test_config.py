"""`guardhouse.yaml`: what is read, in which units, and from where."""

from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors.documents import ConfigError
from guardhouse.server.config import Audit, Collector, Issuer, Limits, Metrics, Model, Server, load

GOOD = """\
listen: 127.0.0.1:0
tls:
  certificate: server.pem
  key: server.key
  client_ca: ca.pem
tokens:
  issuers:
    - issuer: https://issuer.example
      audience: models
      jwks: https://issuer.example/jwks.json
      algorithms: [ES256]
  api_keys: keys.db
policy: policy.yaml
models:
  - name: digits
    python: package.module:model
  - {name: resnet, version: "2", onnx: resnet.onnx}
"""


TOKENS = GOOD[GOOD.index("tokens:") : GOOD.index("policy:")]


def changed(old: str, new: str) -> str:
    """The good configuration with *old* in it replaced."""
    assert old in GOOD
    return GOOD.replace(old, new)


def added(text: str) -> str:
    """The good configuration with *text* after it, which begins in line 18."""
    return GOOD + text


JWKS = "https://issuer.example/jwks.json"


@pytest.fixture
def config_file(tmp_path: Path) -> Any:
    """A function that writes a configuration and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "guardhouse.yaml"
        path.write_text(text)
        return path

    return write


def test_what_is_not_written_has_its_default(config_file: Any) -> None:
    """The smallest configuration gets the documented defaults, and paths beside the file."""
    path = config_file(GOOD)
    config = load(path)
    folder = path.parent
    assert config.tls.certificate == folder / "server.pem"
    assert (config.tls.client_auth, config.tokens.required) == ("require", True)
    assert config.tokens.issuers == (Issuer("https://issuer.example", "models", JWKS, ("ES256",)),)
    assert config.models == (
        Model("digits", "1", "package.module:model", None),
        Model("resnet", "2", "", folder / "resnet.onnx"),
    )
    assert (config.audit, config.tracing, config.metrics) == (Audit(folder / "ledger"), None, None)
    assert (config.limits, config.server) == (Limits("memory"), Server())


def test_a_file_of_budgets_lies_beside_the_configuration(config_file: Any) -> None:
    """A relative path of SQLite is relative to the configuration, an absolute one is not."""
    beside = load(config_file(added("limits: {store: 'sqlite:budgets.db'}\n")))
    absolute = load(config_file(added("limits: {store: 'sqlite:/var/budgets.db'}\n")))

    assert beside.limits.store == f"sqlite:{config_file(GOOD).parent / 'budgets.db'}"
    assert absolute.limits.store == "sqlite:/var/budgets.db"


def test_everything_that_can_be_written(config_file: Any) -> None:
    """Every optional key is read into its unit: bytes, seconds, paths."""
    path = config_file(
        added(
            "limits: {store: 'rediss://gate:${SECRET}@cache', ca: r.pem, certificate: rc.pem, key: rk.pem}\n"
            "audit: {path: /var/ledger, durability: buffered}\n"
            "tracing: {endpoint: 'https://collector.example:443/otlp/', protocol: http/protobuf,\n"
            "  headers: {authorization: '${TOKEN}'}, ca: ca.pem, certificate: c.pem, key: c.key,\n"
            "  spool: spans, spool_limit: 1GiB}\n"
            "metrics: {listen: '[::1]:9464', otlp: 'http://collector.example:4317', interval: 1m}\n"
            "server: {max_message: 16MiB, max_metadata: 32KiB, max_streams: 8, handshake_timeout: 500ms,\n"
            "  connection_age: 2h, connection_grace: 5m, deadline: 90s, drain: 1m, threads: 2,\n"
            "  max_tokens: 100}\n"
        )
    )
    config = load(path, environment={"TOKEN": "Bearer s3cret", "SECRET": "hunter2"})
    files = [path.parent / name for name in ("r.pem", "rc.pem", "rk.pem")]
    assert config.limits == Limits("rediss://gate:hunter2@cache", *files)
    assert "hunter2" not in repr(config)
    assert config.audit.path.is_absolute()
    assert config.audit.durability == "buffered"
    assert config.tracing == Collector(
        endpoint="https://collector.example:443/otlp",
        protocol="http/protobuf",
        headers={"authorization": "Bearer s3cret"},
        ca=path.parent / "ca.pem",
        certificate=path.parent / "c.pem",
        key=path.parent / "c.key",
        spool=path.parent / "spans",
        spool_limit=2**30,
    )
    assert "s3cret" not in repr(config)
    assert config.metrics == Metrics("[::1]:9464", "http://collector.example:4317", 60.0)
    assert config.server == Server(16 * 2**20, 32 * 2**10, 8, 0.5, 7200.0, 300.0, 90.0, 60.0, 2, 100)


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "[::1]:8443", "0.0.0.0:443", "localhost:1", "a-b.c.example:65535"]
)
def test_listen_takes_hosts_and_addresses(config_file: Any, listen: str) -> None:
    """Names, IPv4 and bracketed IPv6 are addresses to listen on."""
    assert load(config_file(changed("127.0.0.1:0", f"'{listen}'"))).listen == listen


@pytest.mark.parametrize(
    "jwks", ["http://127.0.0.1:8080/j", "http://localhost/j", "http://[::1]:1/j", "https://a.example/j?x=1"]
)
def test_key_sets_may_come_from_https_or_loopback(config_file: Any, jwks: str) -> None:
    """Keys are fetched over https from anywhere, over http only from this machine."""
    assert load(config_file(changed(JWKS, f"'{jwks}'"))).tokens.issuers[0].jwks == jwks


def test_a_key_set_may_be_a_file(config_file: Any) -> None:
    """A key set that is no URL is a file beside the configuration."""
    path = config_file(changed(JWKS, "pki/jwks.json"))
    assert load(path).tokens.issuers[0].jwks == str(path.parent / "pki/jwks.json")


def test_certificates_alone_may_do(config_file: Any) -> None:
    """With client certificates required, tokens may be switched off, and nobody need issue any."""
    config = load(config_file(changed(TOKENS, "tokens: {required: false}\n")))
    assert (config.tokens.required, config.tokens.issuers) == (False, ())


def test_settings_go_over_the_file(config_file: Any) -> None:
    """`--set` wins over the file, at any depth; its errors name it."""
    path = config_file(GOOD)
    config = load(path, ["listen=127.0.0.1:7", "models.1.version=3", "tracing.endpoint=http://a:1"])
    assert (config.listen, config.models[1].version, config.tracing) == (
        "127.0.0.1:7",
        "3",
        Collector("http://a:1"),
    )
    with pytest.raises(ConfigError) as refused:
        load(path, ["server.drain=10", "listn=x"])
    assert [str(problem) for problem in refused.value.problems] == [
        "--set: server.drain: `10` is not a duration; write 10s or 10m or 10h (units: ms, s, m, h, d)",
        "--set: listn: unknown key; did you mean 'listen'?",
    ]


def test_variables_come_from_the_environment(config_file: Any) -> None:
    """`${NAME}` is replaced, and a value it brings is never shown."""
    path = config_file(changed("127.0.0.1:0", "127.0.0.1:${PORT}"))
    assert load(path, environment={"PORT": "99"}).listen == "127.0.0.1:99"
    with pytest.raises(ConfigError) as refused:
        load(path, environment={"PORT": "hunter2"})
    assert "`127.0.0.1:${PORT}` is not host:port" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_key_knows_where_it_is_written(config_file: Any) -> None:
    """A later problem with what a key names has the line of the key, or of what is around it."""
    path = config_file(GOOD)
    config = load(path)
    assert config.problem("models.1.onnx", "gone").line == 17
    assert config.problem("audit.path", "full") == (str(path), 0, "audit.path", "full")
