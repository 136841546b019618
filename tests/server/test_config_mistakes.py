"""`guardhouse.yaml`: every mistake is refused by its line and key, and told what to write."""

from pathlib import Path
from typing import Any

import pytest

from guardhouse.interceptors.documents import ConfigError
from guardhouse.server.config import load

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
ISSUER = "    - {issuer: 'https://issuer.example', audience: a, jwks: j.json, algorithms: [ES256]}\n"
KEY = "tokens.issuers.0"
# What is wrong: the file, the line, the key, words.
BAD = {
    "capture without models": (added("capture: {keep: 1d}\n"), 18, "capture.models", "missing; write models"),
    "capture of no model": (added("capture: {models: []}\n"), 18, "capture.models", "is empty; write models"),
    "capture of half a word": (
        added("capture: {models: [dig*]}\n"),
        18,
        "capture.models.0",
        "`dig*` `*` must stand for a whole segment",
    ),
    "capture for ever": (
        added("capture: {models: ['*'], keep: 9999d}\n"),
        18,
        "capture.keep",
        "`9999d` is out of range; write 1h to 3650d",
    ),
    "captures without bound": (
        added("capture: {models: ['*'], limit: 2000GiB}\n"),
        18,
        "capture.limit",
        "write 1MiB to 1024GiB",
    ),
    "captures of whole messages": (
        added("capture: {models: ['*'], max_bytes: 1GB}\n"),
        18,
        "capture.max_bytes",
        "write 1KiB to 8MiB",
    ),
    "captures on the ledger": (
        added("capture: {models: ['*'], path: ledger}\n"),
        18,
        "capture",
        "is the folder of the ledger; captures want one of their own",
    ),
    "no listen": (changed("listen: 127.0.0.1:0\n", ""), 1, "listen", "missing; write listen: 127.0.0.1:8443"),
    "no port": (changed("127.0.0.1:0", "127.0.0.1"), 1, "listen", "is not host:port"),
    "port too high": (changed("127.0.0.1:0", "127.0.0.1:65536"), 1, "listen", "is not host:port"),
    "no host": (changed("127.0.0.1:0", "':8443'"), 1, "listen", "write 127.0.0.1:8443 or [::1]:8443"),
    "bare IPv6": (changed("127.0.0.1:0", "'::1:8443'"), 1, "listen", "[::1]:8443"),
    "bad IPv4": (changed("127.0.0.1:0", "127.0.0.256:1"), 1, "listen", "is not host:port"),
    "URL as listen": (changed("127.0.0.1:0", "http://a:1"), 1, "listen", "is not host:port"),
    "port alone": (changed("127.0.0.1:0", "8443"), 1, "listen", "is a number, not text"),
    "unknown key": (changed("listen:", "lisen:"), 1, "lisen", "unknown key; did you mean 'listen'?"),
    "unknown key in tls": (changed("client_ca", "clientca"), 5, "tls.clientca", "did you mean 'client_ca'?"),
    "twice": (added("listen: 127.0.0.1:1\n"), 18, "listen", "stands here twice, first in line 1; keep one"),
    "no tls": ("\n".join(GOOD.split("\n")[:1] + GOOD.split("\n")[5:]), 1, "tls", "missing; write tls:"),
    "tls as text": (
        changed(GOOD[GOOD.index("tls:") : GOOD.index("tokens:")], "tls: yes please\n"),
        2,
        "tls",
        "is text; write a mapping",
    ),
    "no certificate": (changed("  certificate: server.pem\n", ""), 2, "tls.certificate", "missing; write"),
    "no client_ca": (
        changed("  client_ca: ca.pem\n", ""),
        2,
        "tls.client_ca",
        "the authority of your clients",
    ),
    "client_auth of another kind": (
        changed("  client_ca:", "  client_auth: optional\n  client_ca:"),
        5,
        "tls.client_auth",
        "is `optional`; write require or none",
    ),
    "nothing proves anything": (
        changed("  client_ca:", "  client_auth: none\n  client_ca:").replace(
            "tokens:", "tokens:\n  required: false"
        ),
        8,
        "tokens.required",
        "anybody could call",
    ),
    "tokens from nobody": (changed(TOKENS, "tokens: {}\n"), 6, "tokens", "nothing gives any"),
    "no tokens": (
        changed(TOKENS, ""),
        1,
        "tokens",
        "write issuers or api_keys, or tokens: {required: false}",
    ),
    "required as yes": (
        changed("tokens:\n", "tokens:\n  required: yes\n"),
        7,
        "tokens.required",
        "true or false",
    ),
    "no algorithms": (changed("      algorithms: [ES256]\n", ""), 8, f"{KEY}.algorithms", "missing; write"),
    "empty algorithms": (changed("[ES256]", "[]"), 11, f"{KEY}.algorithms", "is empty; write algorithms"),
    "HS256": (changed("[ES256]", "[ES256, HS256]"), 11, f"{KEY}.algorithms.1", "signed with a shared secret"),
    "hs512": (changed("[ES256]", "[hs512]"), 11, f"{KEY}.algorithms.0", "signed with a shared secret"),
    "none": (changed("[ES256]", "[none]"), 11, f"{KEY}.algorithms.0", "is no signature at all"),
    "nOnE": (changed("[ES256]", "[nOnE]"), 11, f"{KEY}.algorithms.0", "is no signature at all"),
    "ES384": (
        changed("[ES256]", "[ES384]"),
        11,
        f"{KEY}.algorithms.0",
        "write one of ES256, RS256, PS256, EdDSA",
    ),
    "jwks over http": (changed(JWKS, "http://issuer.example/j"), 10, f"{KEY}.jwks", "write https://"),
    "jwks over file": (changed(JWKS, "file:///etc/passwd"), 10, f"{KEY}.jwks", "cannot be fetched"),
    "jwks over data": (changed(JWKS, "ftp://a/b"), 10, f"{KEY}.jwks", "cannot be fetched"),
    "jwks of nobody": (changed(JWKS, "https:///j"), 10, f"{KEY}.jwks", "cannot be fetched"),
    "jwks with a password": (changed(JWKS, "https://u:p@a/j"), 10, f"{KEY}.jwks", "cannot be fetched"),
    "jwks of a false loopback": (
        changed(JWKS, "http://127.0.0.1.a.b/j"),
        10,
        f"{KEY}.jwks",
        "write https://",
    ),
    "empty issuer": (changed("https://issuer.example\n", "''\n"), 8, f"{KEY}.issuer", "is empty; write text"),
    "empty audience": (
        changed("audience: models", "audience:"),
        9,
        f"{KEY}.audience",
        "is empty; write text",
    ),
    "audience as a list": (changed("audience: models", "audience: [a]"), 9, f"{KEY}.audience", "is a list"),
    "issuer twice": (
        changed("  api_keys", f"{ISSUER}  api_keys"),
        12,
        "tokens.issuers.1.issuer",
        "`https://issuer.example` is there twice; keep one",
    ),
    "no policy": (changed("policy: policy.yaml\n", ""), 1, "policy", "missing; write policy: policy.yaml"),
    "no models": (GOOD[: GOOD.index("models:\n")], 1, "models", "missing; write models:"),
    "empty models": (
        GOOD[: GOOD.index("models:\n")] + "models: []\n",
        14,
        "models",
        "is empty; write models:",
    ),
    "model without origin": (
        changed("    python: package.module:model\n", ""),
        15,
        "models.0",
        "has no origin; write exactly one of python or onnx",
    ),
    "model of two origins": (
        changed("    python", "    onnx: x.onnx\n    python"),
        15,
        "models.0",
        "has python and onnx; write exactly one of",
    ),
    "model upstream": (
        changed("python: package.module:model", "upstream: grpc://triton:8001"),
        16,
        "models.0.upstream",
        "`upstream` is not supported by this version of guardhouse; serve the model by python or onnx",
    ),
    "model of no name": (
        changed("- name: digits\n    ", "- "),
        15,
        "models.0.name",
        "missing; write name: digits",
    ),
    "model with a path": (
        changed("digits", "../digits"),
        15,
        "models.0.name",
        "is not a model name; write 1 to 128",
    ),
    "model with a long name": (changed("digits", "x" * 129), 15, "models.0.name", "is not a model name"),
    "version of a number": (changed('"2"', "2"), 17, "models.1.version", 'put it in quotes: "2"'),
    "version with a slash": (changed('"2"', "a/b"), 17, "models.1.version", "is not a version"),
    "model twice": (
        changed("resnet, version", "digits, version").replace('"2"', '"1"'),
        17,
        "models.1.name",
        "model digits version 1 is there twice",
    ),
    "python without object": (
        changed("package.module:model", "package.module"),
        16,
        "models.0.python",
        "is not module:object; write package.module:model",
    ),
    "python as a file": (
        changed("package.module:model", "model.py:m/n"),
        16,
        "models.0.python",
        "is not module",
    ),
    "metrics that go nowhere": (
        added("metrics: {}\n"),
        18,
        "metrics.listen",
        "missing; write listen: 127.0.0.1:9464, or otlp: http://127.0.0.1:4317",
    ),
    "metrics as text": (added("metrics: 127.0.0.1:9464\n"), 18, "metrics", "is text; write a mapping"),
    "metrics misspelt": (
        added("metrics: {listn: 127.0.0.1:1}\n"),
        18,
        "metrics.listn",
        "unknown key; did you mean 'listen'?",
    ),
    "metrics without a host": (
        added("metrics: {listen: ':9464'}\n"),
        18,
        "metrics.listen",
        "is not host:port",
    ),
    "metrics pushed to no address": (
        added("metrics: {otlp: 'collector:4317'}\n"),
        18,
        "metrics.otlp",
        "is not http(s)://host:port",
    ),
    "metrics pushed now and then": (
        added("metrics: {otlp: 'http://a:1', interval: often}\n"),
        18,
        "metrics.interval",
        "is not a duration",
    ),
    "an interval of nothing": (
        added("metrics: {listen: 127.0.0.1:9464, interval: 15s}\n"),
        18,
        "metrics.interval",
        "is how often to push, but not where; write otlp:",
    ),
    "redis without a host": (added("limits: {store: 'redis://'}\n"), 18, "limits.store", "is not a store: "),
    "password in the file": (
        added("limits: {store: 'redis://me:hunter2@a'}\n"),
        18,
        "limits.store",
        "holds a password; put it into the environment, and write ${NAME} in its place",
    ),
    "sqlite without a path": (added("limits: {store: 'sqlite:'}\n"), 18, "limits.store", "is not a store: "),
    "unknown store": (added("limits: {store: disk}\n"), 18, "limits.store", "`disk` is not a store: write "),
    "half a pair of a store": (
        added("limits: {store: 'rediss://a', key: k.pem}\n"),
        18,
        "limits.key",
        "is one half of a pair; write certificate and key",
    ),
    "TLS of a store without it": (
        added("limits: {store: 'redis://a', ca: k.pem}\n"),
        18,
        "limits.ca",
        "is for TLS, which this store does not speak; write rediss://",
    ),
    "nobody may wait": (
        added("limits: {waiting: 0}\n"),
        18,
        "limits.waiting",
        "is `0`; write a whole number from 1 to 1000000",
    ),
    "no time to wait": (added("limits: {wait: soon}\n"), 18, "limits.wait", "is not a duration"),
    "waiting for ever": (
        added("limits: {wait: 9999d}\n"),
        18,
        "limits.wait",
        "`9999d` is out of range; write 1ms to",
    ),
    "no call under way": (
        added("limits: {calls: none}\n"),
        18,
        "limits.calls",
        "is `none`; write a whole number from 1 to 1000000",
    ),
    "durability": (
        added("audit: {durability: maybe}\n"),
        18,
        "audit.durability",
        "is `maybe`; write buffered or strict",
    ),
    "no ledger key": (added("audit: {key: ''}\n"), 18, "audit.key", "is empty; write text"),
    "ledger key of an unset variable": (
        added("audit: {key: '${LEDGER_KEY}'}\n"),
        18,
        "audit.key",
        "variable LEDGER_KEY is not set",
    ),
    "short ledger key": (
        added("audit: {key: '${SHORT}'}\n"),
        18,
        "audit.key",
        "`${SHORT}` has 9 bytes; it needs at least 32",
    ),
    "blank ledger key": (added("audit: {key: '${BLANK}'}\n"), 18, "audit.key", "`${BLANK}` is empty; put"),
    "anchor inside": (
        added("audit: {anchor: ledger/anchor}\n"),
        18,
        "audit.anchor",
        "stands inside the ledger: whoever cuts one cuts both",
    ),
    "ledger files too small": (
        added("audit: {rotate_size: 1KiB}\n"),
        18,
        "audit.rotate_size",
        "write 64KiB to 2047MiB",
    ),
    "ledger files of no age": (added("audit: {rotate_age: 0s}\n"), 18, "audit.rotate_age", "out of range"),
    "rotation as a number": (added("audit: {rotate_size: 5}\n"), 18, "audit.rotate_size", "is a number"),
    "tracing without endpoint": (added("tracing: {}\n"), 18, "tracing.endpoint", "missing; write endpoint"),
    "endpoint without port": (
        added("tracing: {endpoint: 'http://a'}\n"),
        18,
        "tracing.endpoint",
        "host:port",
    ),
    "endpoint of no port": (
        added("tracing: {endpoint: 'http://a:99999'}\n"),
        18,
        "tracing.endpoint",
        "is not http",
    ),
    "endpoint of half a host": (
        added("tracing: {endpoint: 'http://[::1:1'}\n"),
        18,
        "tracing.endpoint",
        "is not",
    ),
    "listen of half a host": (changed("127.0.0.1:0", "'[::g]:1'"), 1, "listen", "is not host:port"),
    "endpoint without scheme": (
        added("tracing: {endpoint: 'a:4317'}\n"),
        18,
        "tracing.endpoint",
        "http(s)://",
    ),
    "endpoint with a path": (
        added("tracing: {endpoint: 'http://a:1/v1'}\n"),
        18,
        "tracing.endpoint",
        "take its path out, or write protocol: http/protobuf",
    ),
    "endpoint with the whole path": (
        added("tracing: {protocol: http/protobuf, endpoint: 'http://a:1/v1/traces'}\n"),
        18,
        "tracing.endpoint",
        "has the path /v1/traces, which is added anyway; take it out",
    ),
    "unknown protocol": (
        added("tracing: {endpoint: 'http://a:1', protocol: http/json}\n"),
        18,
        "tracing.protocol",
        "is `http/json`; write grpc or http/protobuf",
    ),
    "headers as text": (
        added("tracing:\n  endpoint: http://a:1\n  headers: none\n"),
        20,
        "tracing.headers",
        "is text; write a mapping",
    ),
    "header in capitals": (
        added("tracing:\n  endpoint: http://a:1\n  headers:\n    X-Team: ml\n"),
        21,
        "tracing.headers.X-Team",
        "in lower case",
    ),
    "header of the protocol": (
        added("tracing: {endpoint: 'http://a:1', headers: {content-type: a}}\n"),
        18,
        "tracing.headers.content-type",
        "belongs to the protocol; take it out",
    ),
    "header as a number": (
        added("tracing: {endpoint: 'http://a:1', headers: {x-team: 7}}\n"),
        18,
        "tracing.headers.x-team",
        "is a number, not text",
    ),
    "secret in plain text": (
        added("tracing: {endpoint: 'http://a:1', headers: {authorization: Bearer x}}\n"),
        18,
        "tracing.headers.authorization",
        "would go over the network in plain text; write an https:// endpoint",
    ),
    "ca without TLS": (
        added("tracing: {endpoint: 'http://a:1', ca: ca.pem}\n"),
        18,
        "tracing.ca",
        "is of no use without TLS",
    ),
    "certificate without key": (
        added("tracing: {endpoint: 'https://a:1', certificate: c.pem}\n"),
        18,
        "tracing.certificate",
        "stands alone; write key too",
    ),
    "limit of no spool": (
        added("tracing: {endpoint: 'https://a:1', spool_limit: 1GiB}\n"),
        18,
        "tracing.spool_limit",
        "limits a spool that is not there; write spool, or take it out",
    ),
    "small spool": (
        added("tracing: {endpoint: 'http://a:1', spool: s, spool_limit: 1MiB}\n"),
        18,
        "tracing.spool_limit",
        "is out of range; write 8MiB or more",
    ),
    "duration with a blank": (
        added("server: {drain: 10 m}\n"),
        18,
        "server.drain",
        "`10 m` is not a duration; write 10m",
    ),
    "duration without unit": (added("server: {drain: 10}\n"), 18, "server.drain", "is a number, not text"),
    "duration of nothing": (
        added("server: {drain: 0s}\n"),
        18,
        "server.drain",
        "is out of range; write 1ms to 24d",
    ),
    "too long": (added("server: {connection_age: 99d}\n"), 18, "server.connection_age", "write 1ms to 24d"),
    "size without unit": (added("server: {max_message: '4'}\n"), 18, "server.max_message", "write 4MiB or"),
    "size of too little": (added("server: {max_message: 1B}\n"), 18, "server.max_message", "1KiB to 2047MiB"),
    "size of too much": (added("server: {max_message: 2GiB}\n"), 18, "server.max_message", "out of range"),
    "no threads": (added("server: {threads: 0}\n"), 18, "server.threads", "a whole number from 1 to 1024"),
    "no output": (added("server: {max_tokens: 0}\n"), 18, "server.max_tokens", "from 1 to 1000000000"),
    "streams as text": (added("server: {max_streams: many}\n"), 18, "server.max_streams", "is `many`; write"),
    "unset variable": (changed("policy.yaml", "${POLICY}"), 13, "policy", "variable POLICY is not set"),
}


@pytest.fixture
def config_file(tmp_path: Path) -> Any:
    """A function that writes a configuration and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "guardhouse.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(("content", "line", "key", "words"), BAD.values(), ids=BAD)
def test_bad_configurations_are_refused_by_line(
    config_file: Any, content: Any, line: int, key: str, words: str
) -> None:
    """Each mistake alone gives one problem, at its line and key, in words that say what to do."""
    path = config_file(content)
    with pytest.raises(ConfigError) as refused:
        load(path, environment={"SHORT": "too short", "BLANK": " " * 40})
    found = refused.value.problems
    assert [(problem.line, problem.key) for problem in found] == [(line, key)]
    assert words in found[0].message
    assert str(refused.value) == f"{path}:{line}: {key}: {found[0].message}"


def test_all_mistakes_are_found_at_once(config_file: Any) -> None:
    """A file with four mistakes names all four, by line."""
    content = changed("[ES256]", "[HS256]").replace("ca.pem", "").replace("digits", "a b") + "extra: 1\n"
    with pytest.raises(ConfigError) as refused:
        load(config_file(content))
    assert [problem.line for problem in refused.value.problems] == [5, 11, 15, 18]
