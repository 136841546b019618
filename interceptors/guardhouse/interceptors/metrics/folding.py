"""From cells to families: each metric adds up the cells that its own labels do not tell apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from grpc import StatusCode

from guardhouse.interceptors.record.spans import ERRORS

from . import catalogue
from .catalogue import Metric
from .cells import Cell, Times
from .families import Distribution, Family, Labels, merged


class Outcome(NamedTuple):
    """How a call ended that did not end well."""

    guard: str
    reason: str
    status: StatusCode


Key = tuple[str, str, Outcome | None]  # what the calls of a cell share: path, model; no outcome is OK


def _rpc(key: Key) -> Labels:
    status = _status(key)
    return "grpc", _method_of(key), status.name, status.name if status in ERRORS else ""


def _call(key: Key) -> Labels:
    return _method_of(key), key[1], _status(key).name


def _refusal(key: Key) -> Labels | None:
    outcome = key[2]
    return outcome and (outcome.guard, outcome.reason)


def _model(key: Key) -> Labels:
    return (key[1],)


def _method(key: Key) -> Labels:
    return (_method_of(key),)


def _method_of(key: Key) -> str:
    """`package.Service/Method`, as the semantic conventions write it."""
    return key[0].removeprefix("/")


def _status(key: Key) -> StatusCode:
    return key[2].status if key[2] else StatusCode.OK


Read = Callable[[Cell], int]
COUNTS: Final[tuple[tuple[Metric, Callable[[Key], Labels | None], Read], ...]] = (
    (catalogue.CALLS, _call, attrgetter("calls")),
    (catalogue.REFUSALS, _refusal, attrgetter("calls")),
    (catalogue.UNITS, _model, attrgetter("units")),
    (catalogue.DEGRADED, _model, attrgetter("degraded")),
    (catalogue.INPUT_TOKENS, _model, attrgetter("input_tokens")),
    (catalogue.OUTPUT_TOKENS, _model, attrgetter("output_tokens")),
    (catalogue.REQUEST_BYTES, _method, attrgetter("request_bytes")),
    (catalogue.RESPONSE_BYTES, _method, attrgetter("response_bytes")),
)
TIMES: Final[tuple[tuple[Metric, Callable[[Key], Labels], Callable[[Cell], Times]], ...]] = (
    (catalogue.CALL_DURATION, _rpc, attrgetter("took")),
    (catalogue.QUEUE_DURATION, _model, attrgetter("queue")),
    (catalogue.MODEL_DURATION, _model, attrgetter("model")),
)


def folded(cells: Sequence[tuple[Key, Cell]], chain: Times) -> Iterator[Family]:
    """The families of *cells*, and of the time spent in the *chain*."""
    for metric, labels, count in COUNTS:
        yield Family(metric, _added(cells, labels, count))
    for metric, told, times in TIMES:
        yield Family(metric, distributions=_observed(cells, told, times))
    yield Family(catalogue.CHAIN_DURATION, distributions={(): chain.read()})


def _added(
    cells: Sequence[tuple[Key, Cell]], labels: Callable[[Key], Labels | None], count: Read
) -> dict[Labels, float]:
    sums: dict[Labels, float] = {}
    for key, cell in cells:
        told = labels(key)
        if told is not None:
            sums[told] = sums.get(told, 0) + count(cell)
    return sums


def _observed(
    cells: Sequence[tuple[Key, Cell]], labels: Callable[[Key], Labels], times: Callable[[Cell], Times]
) -> dict[Labels, Distribution]:
    parts: defaultdict[Labels, list[Distribution]] = defaultdict(list)
    for key, cell in cells:
        seen = times(cell).read()
        if any(seen.counts):  # refused calls never reach a model
            parts[labels(key)].append(seen)
    return {told: merged(each) for told, each in parts.items()}
