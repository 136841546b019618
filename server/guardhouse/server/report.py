"""What an operator should see when the server starts: what is served, what is open, which limits hold."""

from __future__ import annotations

from guardhouse.interceptors.capture import Capturing
from guardhouse.interceptors.documents.units import format_duration, format_size
from guardhouse.interceptors.limits.stores.redis_url import parse
from guardhouse.interceptors.loopback import is_loopback
from guardhouse.interceptors.policy import Policy
from guardhouse.interceptors.policy.explain import in_words, limits, share

from .assembly import Parts
from .config import Config, Limits, Metrics

Facts = dict[str, str | list[str]]


def report(config: Config, parts: Parts, address: str) -> Facts:
    """The facts, in the order of reading; lists hold one item for each thing named."""
    issuers = [issuer.issuer for issuer in config.tokens.issuers]
    keys = ["API keys"] if config.tokens.api_keys else []
    captures = {"captures": _captures(config.capture)} if config.capture else {}
    return {
        "address": address,
        "certificates": "a client certificate is required"
        if config.tls.client_auth == "require"
        else "not asked for",
        "tokens": [("required" if config.tokens.required else "optional"), *issuers, *keys],
        "models": [f"{model.name} {model.version} ({model.platform})" for model in parts.models],
        "open to all": sorted(parts.policy.open_methods) or "nothing: every method needs a credential",
        "roles": [_role(parts.policy, name) for name in parts.policy.roles],
        "limits": _limits(parts.policy, config.limits),
        "ledger": str(config.audit.path),
        **captures,
        "traces": config.tracing.endpoint if config.tracing else "not sent",
        "metrics": _metrics(config.metrics, parts.metrics),
        "warnings": [*map(str, parts.policy.warnings), *_warnings(parts.metrics)] or "none",
    }


def _limits(policy: Policy, settings: Limits) -> str | list[str]:
    """Every limit beside those of roles, and where it is kept what was used: without the password."""
    if not any(policy.limits):
        return "none"
    url = settings.store if settings.store.startswith(("memory", "sqlite:")) else parse(settings.store).shown
    return [*in_words(policy.listed), f"what was used is kept in {url}"]


def _metrics(settings: Metrics | None, address: str) -> str | list[str]:
    read = [f"http://{address}/metrics"] if address else []
    pushed = [f"{settings.otlp} every {settings.interval:g} s"] if settings and settings.otlp else []
    return [*read, *pushed] or "not measured"


def _warnings(metrics: str) -> list[str]:
    """Where *metrics* are read, if others than this machine can."""
    if not metrics or is_loopback(metrics.rpartition(":")[0].strip("[]")):
        return []
    return [f"metrics.listen: whoever reaches {metrics} can read the metrics, without any proof"]


def _captures(capture: Capturing) -> str:
    return (
        f"INPUTS AND OUTPUTS of {', '.join(capture.models)} are kept in {capture.path} "
        f"for {format_duration(capture.keep)}, {format_size(capture.limit)} in all"
    )


def _role(policy: Policy, name: str) -> str:
    said = (words.removeprefix(f"{name}: ") for words in limits(policy.of_role(name)))
    return f"{name} ({'; '.join((*said, *share(policy.roles[name])))})"
