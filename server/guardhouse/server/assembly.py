"""From a configuration to the parts of a server, each opened once, and closed again in the right order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from guardhouse.interceptors import Chain, Policy, RateLimit
from guardhouse.interceptors.guarding import Issuer, guard, key_file_problem

from .config import Config, ConfigError, Model
from .models import Models, Source


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running server is made of."""

    chain: Chain
    policy: Policy
    models: Models
    rate: RateLimit


@contextmanager
def assembled(config: Config) -> Iterator[Parts]:
    """Open every part. Leaving closes them: the ledger first, then the spans, then the models.

    Raises:
        ConfigError: The policy, or a file of keys, is not right.
        ModelLoadError: A model cannot be loaded.
        LedgerError, KeyStoreError, CaptureError: The ledger, the store of API keys or the folder of captures
            cannot be opened.
    """
    policy, rate = Policy.load(config.policy), RateLimit()
    _check_keys(config)
    named = config.tokens.issuers
    issuers = [Issuer(each.issuer, each.audience, each.jwks, each.algorithms) for each in named]
    with (
        closing(Models.load(map(_source, config.models), threads=config.server.threads)) as models,
        guard(
            policy=policy,
            ledger=config.audit.path,
            issuers=issuers,
            api_keys=config.tokens.api_keys,
            tokens=config.tokens.required,
            certificates=config.tls.client_auth == "require",
            spans=config.tracing.endpoint if config.tracing else None,
            deadline=config.server.deadline,
            rate=rate,
            exists=models.exists,
            capture=config.capture,
        ) as chain,
    ):
        yield Parts(chain, policy, models, rate)


def _source(model: Model) -> Source:
    return Source(model.name, model.version, model.python, str(model.onnx) if model.onnx else "")


def _check_keys(config: Config) -> None:
    """The file of every issuer's keys holds at least one that is fit for use."""
    for position, issuer in enumerate(config.tokens.issuers):
        if problem := key_file_problem(issuer.jwks, issuer.algorithms):
            raise ConfigError([config.problem(f"tokens.issuers.{position}.jwks", problem)])
