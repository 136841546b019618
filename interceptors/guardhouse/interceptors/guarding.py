"""`guard`: everything a guarded server needs, opened in one place, and closed again in the right order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .capture import Capture, Capturing, Store
from .chain import Chain, Guard, Stage
from .deadline import Deadline
from .identity import Identity
from .ledger import Ledger
from .limits import opening, stores
from .limits.admission import Admission
from .limits.budget.opening import opened
from .limits.budget.units import Clamps
from .limits.places import Capacity
from .limits.rate import RateLimit
from .metrics import Metrics, state
from .passports import Passports
from .policy import Policy
from .policy.authorization import MethodAuthorization, ModelAuthorization
from .record import Record, Sink
from .record.collector import Collector
from .record.export import Exporter
from .record.export.tally import REASONS
from .record.exporting import exporter_to, resource
from .record.inner import install
from .record.lines import Lines
from .record.parent import OurSpan
from .record.spans import Spans
from .record.strict import StrictRecord
from .tokens import Tokens
from .tokens.issuers import IssuerKeys
from .tokens.jwk import parse
from .tokens.jwks import Source
from .tokens.keys import KeyStore
from .tokens.keys_live import LiveKeys
from .usage import ReportedTokens
from .validation import Validation


@dataclass(frozen=True, slots=True)
class Issuer:
    """An issuer whose tokens (JWT) are accepted.

    Attributes:
        name: The exact `iss`.
        audience: What `aud` must be or contain, exactly.
        jwks: Its public keys (RFC 7517): the path of a file, or an `https://` address.
        algorithms: What it may sign with: ES256, RS256, PS256, EdDSA.
    """

    name: str
    audience: str
    jwks: str | Path
    algorithms: Collection[str] = ("ES256",)


def _anything(_model: str, _version: str) -> bool:
    return True


@contextmanager
def guard(
    *,
    policy: Policy | str | Path,
    ledger: Ledger | str | Path | None,
    issuers: Sequence[Issuer] = (),
    api_keys: str | Path | None = None,
    tokens: bool = True,
    certificates: bool = True,
    spans: str | Collector | None = None,
    service: str = "guardhouse",
    deadline: float = 60.0,
    store: stores.Store | None = None,
    largest: int = 4 << 20,
    max_tokens: int = 4096,
    metrics: Metrics | None = None,
    exists: Callable[[str, str], bool] = _anything,
    capture: Capturing | None = None,
    capacity: Capacity = Capacity(),  # noqa: B008 - a value
    more: Sequence[Guard] = (),
) -> Iterator[Chain]:
    """A chain of all guards, ready for `aio` or `sync`. Leave it once the server has stopped.

    Leaving records the calls that were cut off, closes the ledger, then sends the spans. It may block, for
    some 10 s if the disk or the collector does not answer; entering may, for some 5 s for each issuer's
    address.

    Args:
        policy: Who may call what, and what is open to all; a policy, or the path of its file.
        ledger: Takes the line of every call, and is closed at the end: an open ledger, or the folder for a
            plain one; None keeps none.
        issuers: Whose tokens are accepted.
        api_keys: The store of API keys that are accepted: a file that `guardhouse key create` made.
        tokens: Whether a call without a token or an API key is refused.
        certificates: Whether a call without a client certificate is refused.
        spans: Where a span of every call is sent: a `Collector`, or http(s)://host:port for one that speaks
            OTLP/gRPC; None sends none.
        service: What the spans call this service.
        deadline: Seconds that a call may take.
        store: Where it is kept what was used of limits, closed at the end; in memory, and so gone with the
            process, if None.
        largest: Bytes that an answer may have: what is reserved of budgets in bytes.
        max_tokens: Tokens that an answer may have where its request does not bound them, and the most that a
            request may ask for: what is reserved of budgets in tokens and in money.
        metrics: Counts every call, and is shown what the parts of the guard tell.
        exists: Whether a (model, version) is served, an empty version being any. Asked only for methods of
            the inference protocol, whose models the policy decides about.
        capture: What to keep of inputs and outputs; None, as it should be, keeps none.
        capacity: What the server takes at once; calls over that wait, or are refused.
        more: Guards of your own. Each stands behind ours of its stage.

    Raises:
        TracingError: The collector, or its spool, cannot be used; the environment blinds OpenTelemetry.
        CaptureError: The folder of captures cannot be used.
        ValueError: Neither tokens nor certificates are required; tokens are, and none could be accepted; a
            file of keys is no good. An address of keys that does not answer is tried again, meanwhile its
            tokens are refused.
        ConfigError: The policy is not right.
        LedgerError, KeyStoreError: The ledger or the store of keys cannot be opened.
    """
    if not (tokens or certificates):
        raise ValueError("neither tokens nor certificates are required: anybody could call; require one")
    rules = policy if isinstance(policy, Policy) else Policy.load(policy)
    with ExitStack() as stack:  # what is opened last is closed first
        record = _record(ledger, spans, service, metrics, stack)
        clamps = Clamps(largest, deadline, max_tokens)
        budgets = tuple(opened(rules.limits.budgets, store, clamps, stack, rules.prices))
        rates, slots = opening.rates(rules, store, stack), opening.slots(rules, store, stack)
        admission = Admission(capacity)
        guards: tuple[Guard, ...] = (
            record,
            Deadline(deadline),
            *_credentials(
                Identity(required=certificates),
                _tokens(issuers, api_keys, tokens, stack),
                MethodAuthorization(rules),
                more,
            ),
            RateLimit(rates),
            Validation(),
            ModelAuthorization(exists),
            *opening.late(rules, rates),
            slots,
            *budgets,
            ReportedTokens(),
            admission,
            *_capture(capture, stack),
        )
        if spans is not None:
            guards = (*guards, OurSpan())
        chain = Chain(*sorted((*guards, *more), key=lambda each: each.stage))
        stack.callback(chain.end)
        if metrics is not None:
            metrics.watch(lambda: state.calls(len(chain.under_way), admission.waiting, rates.keys))
        yield chain


def _credentials(
    identity: Identity, tokens: Tokens, authorization: MethodAuthorization, more: Sequence[Guard]
) -> tuple[Guard, ...]:
    """The three guards as one that remembers, unless somebody's own would have to stand between them."""
    if any(Stage.IDENTITY <= guard.stage < Stage.AUTHORIZATION for guard in more):
        return identity, tokens, authorization
    return (Passports(identity, tokens, authorization),)


def _record(
    ledger: Ledger | str | Path | None,
    spans: str | Collector | None,
    service: str,
    metrics: Metrics | None,
    stack: ExitStack,
) -> Record:
    """The outermost guard, and behind it where lines, spans and counts go."""
    sinks: list[Sink] = [] if metrics is None else [metrics]
    exporter = None if spans is None else exporter_to(spans, service)
    if exporter is not None:
        stack.callback(exporter.close)
        stack.callback(install(exporter, resource(service)))
    # Opened last: where the exporter cannot be made, no ledger is left open; and closed before it.
    book = Ledger(Path(ledger)) if isinstance(ledger, str | Path) else ledger
    if exporter is not None:
        sinks.append(Spans(exporter.export, book))
        if metrics is not None:
            _watch(metrics, exporter)
    if book is None:
        record = Record(*sinks)
    else:
        stack.callback(book.close)
        record = _record_in(book, sinks)
        if metrics is not None:
            metrics.watch(lambda: state.ledger(book))
    stack.callback(record.flush)
    return record


def _watch(metrics: Metrics, exporter: Exporter) -> None:
    """Have *metrics* ask *exporter* for its counts whenever they are read."""
    metrics.watch(lambda: state.spans(exporter.counts, REASONS))


def _record_in(book: Ledger, sinks: Sequence[Sink]) -> Record:
    if book.strict:
        return StrictRecord(book, *sinks)
    return Record(Lines(book), *sinks, healthy=lambda: book.healthy)


def _capture(wanted: Capturing | None, stack: ExitStack) -> Iterator[Capture]:
    """The guard that keeps inputs and outputs, where that is wanted."""
    if wanted is not None:
        store = Store(wanted.path, limit=wanted.limit, keep=wanted.keep)
        stack.callback(store.close)
        yield Capture(store, wanted.models, wanted.max_bytes)


def _tokens(
    issuers: Sequence[Issuer], api_keys: str | Path | None, required: bool, stack: ExitStack
) -> Tokens:
    """The token guard, with its keys read, and kept fresh until *stack* closes."""
    accepted = [_issuer_keys(issuer, stack) for issuer in issuers]
    keys = _live_keys(Path(api_keys), stack) if api_keys is not None else None
    return Tokens(accepted, keys, required)


def _issuer_keys(issuer: Issuer, stack: ExitStack) -> IssuerKeys:
    if problem := key_file_problem(issuer.jwks, issuer.algorithms):
        raise ValueError(problem)
    source = Source(issuer.jwks, issuer.algorithms)
    keys = IssuerKeys(issuer.name, issuer.audience, issuer.algorithms, source)
    stack.callback(source.stop)
    source.start()
    return keys


def _live_keys(store: Path, stack: ExitStack) -> LiveKeys:
    if not store.exists():  # to make an empty one here would hide a slip in the path
        raise ValueError(f"{store}: no such store of API keys; make one with guardhouse key create")
    keys = LiveKeys(KeyStore(store))
    stack.callback(keys.stop)
    keys.start()
    return keys


def key_file_problem(jwks: str | Path, algorithms: Collection[str]) -> str:
    """What is wrong with the file *jwks* of an issuer's keys, in one line, or "".

    An address has nothing wrong: it may come back, a bad file will not.
    """
    if "://" in str(jwks):
        return ""
    try:
        found = parse(Path(jwks).read_bytes(), algorithms)
        unfit = "; ".join(found.notes) or "it is empty"
        problem = "" if found.keys else f"no key in it is fit for use ({unfit})"
    except OSError as error:
        problem = error.strerror or "cannot be read"
    except ValueError as error:
        problem = str(error)
    return problem and f"{jwks}: {problem}; put the issuer's public keys there"
