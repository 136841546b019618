"""From a configuration to the parts of a server, each opened once, and closed again in the right order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from guardhouse.interceptors import Chain, Ledger, Metrics, Policy
from guardhouse.interceptors.guarding import Issuer, guard, key_file_problem
from guardhouse.interceptors.ledger.rotation import Limits
from guardhouse.interceptors.limits.places import Capacity
from guardhouse.interceptors.limits.stores import Store, StoreError
from guardhouse.interceptors.metrics.push import pushing
from guardhouse.interceptors.metrics.text import text

from .config import Audit, Config, ConfigError, Model
from .metrics_listener import listening
from .models import Models, Source
from .opened import budget_store, ledger_keys

QUEUED_MESSAGES: Final = 16  # of the largest size: memory for calls that wait for a model


@dataclass(frozen=True, slots=True)
class Parts:
    """What a running server is made of. *metrics* is where they can be read, host:port, or ""."""

    chain: Chain
    policy: Policy
    models: Models
    metrics: str = ""


@contextmanager
def assembled(config: Config) -> Iterator[Parts]:
    """Open every part. Leaving closes them: ledger, spans, metrics, which tell of both, and the models.

    Raises:
        ConfigError: The policy, or a file of keys, is not right; nobody can listen at metrics.listen; the
            store of limits cannot be used. One that does not answer can: calls are refused until it does.
        ModelLoadError: A model cannot be loaded.
        TracingError: Spans cannot be sent as configured.
        LedgerError, KeyStoreError, CaptureError: The ledger, the store of API keys or the folder of captures
            cannot be opened.
    """
    policy = Policy.load(config.policy)
    _check_keys(config)
    named = config.tokens.issuers
    issuers = [Issuer(each.issuer, each.audience, each.jwks, each.algorithms) for each in named]
    with (
        closing(Models.load(map(_source, config.models), threads=config.server.threads)) as models,
        _measured(config, models) as (metrics, address),
        closing(_ledger(config.audit)) as ledger,
        guard(
            policy=policy,
            ledger=ledger,
            issuers=issuers,
            api_keys=config.tokens.api_keys,
            tokens=config.tokens.required,
            certificates=config.tls.client_auth == "require",
            spans=config.tracing,
            deadline=config.server.deadline,
            store=_store(config) if any(policy.limits) else None,
            largest=config.server.max_message,
            max_tokens=config.server.max_tokens,
            exists=models.exists,
            metrics=metrics,
            capture=config.capture,
            capacity=_capacity(config, models),
        ) as chain,
    ):
        yield Parts(chain, policy, models, address)


@contextmanager
def _measured(config: Config, models: Models) -> Iterator[tuple[Metrics | None, str]]:
    """The metrics, if anybody wants them, and where they can be read."""
    wanted = config.metrics
    if wanted is None:
        yield None, ""
        return
    metrics, address = Metrics({model.name for model in models}), ""
    with ExitStack() as stack:
        if wanted.otlp:
            stack.enter_context(pushing(metrics, wanted.otlp, wanted.interval))
        if wanted.listen:
            try:
                address = stack.enter_context(listening(wanted.listen, lambda: text(metrics.read())))
            except OSError as error:
                why = (error.strerror or "it is no address").partition(" (")[0].lower()
                message = f"cannot listen on {wanted.listen}: {why}; write another"
                raise ConfigError([config.problem("metrics.listen", message)]) from error
        yield metrics, address


def _ledger(audit: Audit) -> Ledger:
    key, signer = ledger_keys(audit)
    return Ledger(
        audit.path,
        durability=audit.durability,
        key=key,
        signer=signer,
        anchor=audit.anchor,
        rotation=Limits(audit.rotate_size, audit.rotate_age),
    )


def _store(config: Config) -> Store | None:
    """Where it is kept what was used of limits; None for memory."""
    if config.limits.store == "memory":
        return None
    try:
        return budget_store(config.limits)
    except StoreError as error:
        raise ConfigError([config.problem("limits.store", str(error))]) from error


def _capacity(config: Config, models: Models) -> Capacity:
    """Room for as many blocking models as there are threads: what they cannot take waits where it is fair."""
    limits = config.limits
    return Capacity(
        threads=config.server.threads,
        blocks=models.blocks,
        waiting=limits.waiting,
        wait=limits.wait,
        calls=limits.calls,
        memory=QUEUED_MESSAGES * config.server.max_message,
    )


def _source(model: Model) -> Source:
    return Source(model.name, model.version, model.python, str(model.onnx) if model.onnx else "")


def _check_keys(config: Config) -> None:
    """The file of every issuer's keys holds at least one that is fit for use."""
    for position, issuer in enumerate(config.tokens.issuers):
        if problem := key_file_problem(issuer.jwks, issuer.algorithms):
            raise ConfigError([config.problem(f"tokens.issuers.{position}.jwks", problem)])
