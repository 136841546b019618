"""From a configuration to the parts of a server, each opened once, and closed again in the right order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from guardhouse.interceptors import Chain, Guard
from guardhouse.interceptors.authorization import MethodAuthorization, ModelAuthorization
from guardhouse.interceptors.beside import Beside
from guardhouse.interceptors.deadline import Deadline
from guardhouse.interceptors.export import Exporter
from guardhouse.interceptors.identity import Identity
from guardhouse.interceptors.jwk import parse
from guardhouse.interceptors.jwks import Source
from guardhouse.interceptors.jwt import IssuerKeys
from guardhouse.interceptors.keys import KeyStore
from guardhouse.interceptors.keys_live import LiveKeys
from guardhouse.interceptors.ledger import Ledger
from guardhouse.interceptors.policy import Policy
from guardhouse.interceptors.rate import RateLimit
from guardhouse.interceptors.record import Record
from guardhouse.interceptors.tokens import Tokens
from guardhouse.interceptors.validation import Validation

from .config import Config, ConfigError, Model
from .models import Models
from .models import Source as ModelSource
from .tracing import exporter


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running server is made of."""

    chain: Chain
    policy: Policy
    models: Models
    rate: RateLimit
    exporter: Exporter | None


def guards(
    config: Config, policy: Policy, models: Models, rate: RateLimit, record: Guard, tokens: Guard
) -> list[Guard]:
    """The guards, outermost first. This order is the design's; `Chain` refuses any other."""
    return [
        record,
        Deadline(config.server.deadline),
        Identity(required=config.tls.client_auth == "require"),
        tokens,
        MethodAuthorization(policy),
        rate,
        Validation(),
        ModelAuthorization(models.exists),
    ]


@contextmanager
def assembled(config: Config) -> Iterator[Parts]:
    """Open every part. Leaving closes them: models first, then the ledger, then the spans.

    Raises:
        ConfigError: The policy is not right.
        ModelLoadError: A model cannot be loaded.
        OSError: A file cannot be opened.
    """
    policy = Policy.load(config.policy)
    with ExitStack() as stack:
        spans = exporter(config.tracing.endpoint) if config.tracing else None
        if spans is not None:
            stack.callback(spans.close)
        ledger = Ledger(config.audit.path, durability=config.audit.durability)
        stack.callback(ledger.close)
        tokens = _tokens(config, stack)
        models = Models.load(map(_model_source, config.models), threads=config.server.threads)
        stack.callback(models.close)
        rate = RateLimit()
        record = Beside(Record(ledger, spans.export if spans else None))
        stack.callback(record.flush)
        chain = Chain(*guards(config, policy, models, rate, record, tokens), open_methods=policy.open_methods)
        yield Parts(chain, policy, models, rate, spans)


def _model_source(model: Model) -> ModelSource:
    return ModelSource(model.name, model.version, model.python, str(model.onnx) if model.onnx else "")


def _tokens(config: Config, stack: ExitStack) -> Tokens:
    """The token guard, with its keys read and kept fresh until *stack* closes."""
    issuers = []
    for position, issuer in enumerate(config.tokens.issuers):
        source = Source(issuer.jwks, issuer.algorithms)
        if not source.remote:  # an address may come back, a bad file will not
            _check_keys(config, position)
        stack.callback(source.stop)
        source.start()
        issuers.append(IssuerKeys(issuer.issuer, issuer.audience, issuer.algorithms, source))
    keys = None
    if config.tokens.api_keys is not None:
        keys = LiveKeys(KeyStore(config.tokens.api_keys))
        stack.callback(keys.stop)
        keys.start()
    return Tokens(issuers, keys, required=config.tokens.required)


def _check_keys(config: Config, position: int) -> None:
    """The file of an issuer's keys holds at least one that is fit for use."""
    issuer = config.tokens.issuers[position]
    try:
        keys = parse(Path(issuer.jwks).read_bytes(), issuer.algorithms)
        problem = (
            "" if keys.keys else f"no key in it is fit for use ({'; '.join(keys.notes) or 'it is empty'})"
        )
    except ValueError as error:
        problem = str(error)
    if problem:
        key = f"tokens.issuers.{position}.jwks"
        raise ConfigError(
            [config.problem(key, f"{issuer.jwks}: {problem}; put the issuer's public keys there")]
        )
