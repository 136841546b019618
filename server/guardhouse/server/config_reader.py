"""The walk over a parsed `guardhouse.yaml`: what each key may be, and what must go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from guardhouse.interceptors.capture import Capturing
from guardhouse.interceptors.documents import Node, units
from guardhouse.interceptors.documents.sections import Reader, Section, boolean, integer, one_of, text
from guardhouse.interceptors.record.collector import Protocol, mistakes

from . import config_values as values
from .config import Audit, Collector, Config, Issuer, Limits, Metrics, Model, Server, Tls, Tokens

T = TypeVar("T")
DEFAULT = Server()
DEFAULT_LIMITS = Limits()
DEFAULT_SPOOL = Collector("").spool_limit
KEPT = Capturing(Path("captures"), ())
DEFAULT_AUDIT = Audit(Path())


def config(top: Node, path: Path) -> Config:
    """The configuration in *top*, read from *path*. Raises ConfigError with all problems."""
    reader = Reader()
    section = reader.section(top)
    folder = path.parent
    tls_section = section.section("tls", "tls: {certificate: ..., key: ..., client_ca: ...}")
    tokens_section = section.section("tokens")
    made = Config(
        path=path,
        listen=section.required("listen", _by(values.listen), "listen: 127.0.0.1:8443"),
        tls=_tls(tls_section, folder),
        tokens=_tokens(tokens_section, folder),
        policy=section.required("policy", _path(folder), "policy: policy.yaml"),
        models=_models(section, folder),
        limits=_limits(section.section("limits"), folder),
        audit=_audit(section.section("audit"), folder),
        tracing=_tracing(section, folder),
        metrics=_metrics(section),
        capture=_capture(section, folder),
        server=_server(section.section("server")),
    )
    if made.capture is not None and section.sound and made.capture.path == made.audit.path:
        section.note("is the folder of the ledger; captures want one of their own, like captures/", "capture")
    _who_may_call(tls_section, tokens_section, made.tls, made.tokens)
    reader.finish()
    return replace(made, places=dict(_places(top)))


def _places(node: Node) -> Iterator[tuple[str, tuple[str, int]]]:
    yield node.key, (node.file, node.line)
    for child in (*node.items, *node.fields.values()):
        yield from _places(child)


def _path(folder: Path) -> Callable[[Node], Path]:
    """A reader of paths, relative ones from *folder*."""
    return lambda node: folder / text(node)


def _by(parse: Callable[[str], T]) -> Callable[[Node], T]:
    """A reader of text that *parse* understands."""
    return lambda node: parse(text(node))


def _tls(section: Section, folder: Path) -> Tls:
    return Tls(
        certificate=section.required("certificate", _path(folder), "certificate: pki/server.pem"),
        key=section.required("key", _path(folder), "key: pki/server.key"),
        client_ca=section.optional("client_ca", _path(folder), None),
        client_auth=section.optional("client_auth", one_of("require", "none"), "require"),
    )


def _tokens(section: Section, folder: Path) -> Tokens:
    return Tokens(
        required=section.optional("required", boolean, True),
        issuers=_issuers(section, folder),
        api_keys=section.optional("api_keys", _path(folder), None),
    )


def _issuers(tokens: Section, folder: Path) -> tuple[Issuer, ...]:
    issuers: dict[str, Issuer] = {}
    for section in tokens.sections("issuers"):
        issuer = _issuer(section, folder)
        if section.sound and issuer.issuer in issuers:
            section.note(f"`{issuer.issuer}` is there twice; keep one", "issuer")
        issuers[issuer.issuer] = issuer
    return tuple(issuers.values())


def _issuer(section: Section, folder: Path) -> Issuer:
    return Issuer(
        issuer=section.required("issuer", text, "issuer: https://issuer.example"),
        audience=section.required("audience", text, "audience: models"),
        jwks=section.required("jwks", _by(values.jwks(folder)), "jwks: https://issuer.example/jwks.json"),
        algorithms=section.each("algorithms", _by(values.algorithm), "algorithms: [ES256]"),
    )


def _models(top: Section, folder: Path) -> tuple[Model, ...]:
    seen: set[tuple[str, str]] = set()
    return tuple(
        _model(section, folder, seen)
        for section in top.sections("models", "models: [{name: digits, python: package.module:object}]")
    )


def _model(section: Section, folder: Path, seen: set[tuple[str, str]]) -> Model:
    section.unsupported("upstream", "serve the model by python or onnx")
    model = Model(
        name=section.required("name", _by(values.model_name), "name: digits"),
        version=section.optional("version", _by(values.model_version), "1"),
        python=section.optional("python", _by(values.python_object), ""),
        onnx=section.optional("onnx", _path(folder), None),
    )
    origins = [key for key in ("python", "onnx", "upstream") if key in section]
    if len(origins) != 1:
        section.note(f"has {' and '.join(origins) or 'no origin'}; write exactly one of python or onnx")
    if section.sound and (model.name, model.version) in seen:
        section.note(
            f"model {model.name} version {model.version} is there twice; give each its own version", "name"
        )
    seen.add((model.name, model.version))
    return model


def _limits(section: Section, folder: Path) -> Limits:
    made = Limits(
        store=section.optional("store", values.store(folder), "memory"),
        ca=section.optional("ca", _path(folder), None),
        certificate=section.optional("certificate", _path(folder), None),
        key=section.optional("key", _path(folder), None),
        waiting=section.optional("waiting", integer(1, 1_000_000), DEFAULT_LIMITS.waiting),
        wait=section.optional("wait", _by(values.duration), DEFAULT_LIMITS.wait),
        calls=section.optional("calls", integer(1, 1_000_000), DEFAULT_LIMITS.calls),
    )
    if section.sound:
        if (made.certificate is None) != (made.key is None):
            section.note(
                "is one half of a pair; write certificate and key", "key" if made.key else "certificate"
            )
        for name in ("ca", "certificate", "key"):
            if name in section and not made.store.startswith("rediss"):
                section.note("is for TLS, which this store does not speak; write rediss://… as store", name)
    return made


def _audit(section: Section, folder: Path) -> Audit:
    audit = Audit(
        path=section.optional("path", _path(folder), folder / "ledger"),
        durability=section.optional("durability", one_of("buffered", "strict"), "buffered"),
        key=section.optional("key", values.ledger_key(folder), None),
        signing_key=section.optional("signing_key", _path(folder), None),
        anchor=section.optional("anchor", _path(folder), None),
        rotate_size=section.optional("rotate_size", _by(values.size(2**16)), DEFAULT_AUDIT.rotate_size),
        rotate_age=section.optional("rotate_age", _by(values.duration), DEFAULT_AUDIT.rotate_age),
    )
    if section.sound and audit.anchor and audit.anchor.absolute().is_relative_to(audit.path.absolute()):
        section.note("stands inside the ledger: whoever cuts one cuts both; write a path elsewhere", "anchor")
    return audit


def _capture(top: Section, folder: Path) -> Capturing | None:
    section = top.section("capture")
    if "capture" not in top:
        return None
    return Capturing(
        models=section.each("models", _by(values.model_pattern), "models: [digits]"),
        path=section.optional("path", _path(folder), folder / KEPT.path),
        max_bytes=section.optional("max_bytes", _by(values.amount(1024, 8 * 2**20)), KEPT.max_bytes),
        limit=section.optional("limit", _by(values.amount(2**20, 2**40)), KEPT.limit),
        keep=section.optional("keep", _by(values.retention), KEPT.keep),
    )


def _tracing(top: Section, folder: Path) -> Collector | None:
    section = top.section("tracing")
    if "tracing" not in top:
        return None
    headers = section.section("headers")
    protocol: Protocol = section.optional("protocol", one_of("grpc", "http/protobuf"), "grpc")
    made = Collector(
        endpoint=section.required(
            "endpoint", _by(values.endpoint(protocol)), "endpoint: http://127.0.0.1:4317"
        ),
        protocol=protocol,
        headers={name: headers.optional(name, text, "") for name in headers.node.fields},
        ca=section.optional("ca", _path(folder), None),
        certificate=section.optional("certificate", _path(folder), None),
        key=section.optional("key", _path(folder), None),
        spool=section.optional("spool", _path(folder), None),
        spool_limit=section.optional("spool_limit", _by(units.size), DEFAULT_SPOOL),
    )
    if "spool_limit" in section and "spool" not in section:
        section.note("limits a spool that is not there; write spool, or take it out", "spool_limit")
    if section.sound and headers.sound:
        for key, problem in mistakes(made):
            at, _, name = key.partition(".")
            (headers if name else section).note(problem, name or at)
    return made


def _metrics(top: Section) -> Metrics | None:
    section = top.section("metrics")
    if "metrics" not in top:
        return None
    made = Metrics(
        listen=section.optional("listen", _by(values.listen), ""),
        otlp=section.optional("otlp", _by(values.endpoint("grpc")), ""),
        interval=section.optional("interval", _by(values.duration), Metrics().interval),
    )
    if "listen" not in section and "otlp" not in section:
        section.missing("listen", "listen: 127.0.0.1:9464, or otlp: http://127.0.0.1:4317")
    if "interval" in section and "otlp" not in section:
        section.note("is how often to push, but not where; write otlp: http://127.0.0.1:4317", "interval")
    return made


def _server(section: Section) -> Server:
    def size(key: str, least: int, default: int) -> int:
        return section.optional(key, _by(values.size(least)), default)

    def time(key: str, default: float) -> float:
        return section.optional(key, _by(values.duration), default)

    return Server(
        max_message=size("max_message", 1024, DEFAULT.max_message),
        max_metadata=size("max_metadata", 4096, DEFAULT.max_metadata),
        max_streams=section.optional("max_streams", integer(1, 1_000_000), DEFAULT.max_streams),
        handshake_timeout=time("handshake_timeout", DEFAULT.handshake_timeout),
        connection_age=time("connection_age", DEFAULT.connection_age),
        connection_grace=time("connection_grace", DEFAULT.connection_grace),
        deadline=time("deadline", DEFAULT.deadline),
        drain=time("drain", DEFAULT.drain),
        threads=section.optional("threads", integer(1, 1024), DEFAULT.threads),
        max_tokens=section.optional("max_tokens", integer(1, 10**9), DEFAULT.max_tokens),
    )


def _who_may_call(tls_section: Section, tokens_section: Section, tls: Tls, tokens: Tokens) -> None:
    """Never a server that anybody may call: each call proves itself by certificate, token, or both."""
    if not (tls_section.sound and tokens_section.sound):
        return
    if tls.client_auth == "require" and tls.client_ca is None:
        tls_section.missing("client_ca", "client_ca: pki/ca.pem, the authority of your clients")
    if tls.client_auth == "none" and not tokens.required:
        tokens_section.note(
            "is false while tls.client_auth is none: anybody could call; make one of them required",
            "required",
        )
    if tokens.required and not tokens.issuers and tokens.api_keys is None:
        tokens_section.note(
            "required, but nothing gives any; write issuers or api_keys, or tokens: {required: false}"
        )
