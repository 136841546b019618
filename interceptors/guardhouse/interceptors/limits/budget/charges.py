"""What messages are charged: the worst before the model runs, and afterwards what it really was.

Pure: no account, no store, no lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from grpc import StatusCode

from guardhouse.interceptors.call import Call
from guardhouse.interceptors.limits.rules import Budget
from guardhouse.interceptors.limits.stores import Account

from .prices import LATE, METERED, PART, TOKENS, Tariff
from .units import MOST, Clamps, message_cost, worst

CUT_OFF: Final = frozenset({StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED})


class Line(NamedTuple):
    """One unit of a charge.

    Attributes:
        unit: "calls", "input_tokens", …
        parts: What one of it costs, see `prices.PART`.
        most: How many were reserved.
        before: How many the call had had when they were, of what is metered.
    """

    unit: str
    parts: int
    most: int
    before: int = 0


class Charge(NamedTuple):
    """*units* of *budget*, to be taken from *account*; *lines*: what for, where that is not known yet, and
    of which *model*.
    """

    budget: Budget
    account: Account
    units: int
    lines: tuple[Line, ...] = ()
    model: str = ""

    @property
    def late(self) -> bool:
        """Whether what it really is may be known only after the end of the call."""
        for line in self.lines:  # noqa: SIM110 - a generator costs thrice as much
            if line.parts and line.unit in LATE:
                return True
        return False


def charge(budget: Budget, account: Account, lines: tuple[Line, ...], model: str = "") -> Charge:
    """The charge that all of *lines* come to, rounded up once."""
    parts = 0
    for line in lines:
        parts += line.parts * line.most
    return Charge(budget, account, _rounded(parts), lines, model)


def fixed(budget: Budget, account: Account, tariff: Tariff, call: Call, request: Any) -> Charge:
    """The charge for what *request* alone has: nothing will change it."""
    if tariff.single:
        return Charge(budget, account, message_cost(tariff.single, call, request))
    parts = sum([each * message_cost(unit, call, request) for unit, each in tariff.parts])
    return Charge(budget, account, _rounded(parts))


def lines(tariff: Tariff, call: Call, request: Any, clamps: Clamps) -> tuple[Line, ...]:
    """What *request*, a message that was just read, and its answer can come to at most."""
    return tuple(
        [
            Line(unit, parts, worst(unit, call, request, clamps), _before(unit, call))
            for unit, parts in tariff.parts
        ]
    )


def ends(tariff: Tariff, call: Call) -> tuple[Line, ...]:
    """Lines that cost nothing, with which what earlier messages of a stream are charged for ends: what comes
    now is another model's, at *tariff*, which does not count it.
    """
    counted = {unit for unit, _ in tariff.parts}
    return tuple(Line(unit, 0, 0, _before(unit, call)) for unit in METERED if unit not in counted)


def without_time(found: Iterable[Line], held: Iterable[Charge], account: Account) -> tuple[Line, ...]:
    """*found* less the time that *account* has reserved already: a call has one deadline for all messages."""
    reserved = {
        line.parts
        for each in held
        if each.account == account
        for line in each.lines
        if line.unit == "seconds"
    }
    return tuple(line for line in found if line.unit != "seconds" or line.parts not in reserved)


def further(
    held: Sequence[Charge], budget: Budget, tariff: Tariff, call: Call, clamps: Clamps
) -> tuple[Line, ...]:
    """What must be reserved before the next message of an answer leaves: the bytes of one beyond the first,
    and tokens beyond those reserved.

    Args:
        held: What the call has reserved.
        budget: What shall pay.
        tariff: What it counts.
        call: Its answer goes on.
        clamps: The worst that one message can cost.
    """
    more = [
        Line(unit, parts, clamps.response, counter(unit, call))
        for unit, parts in tariff.parts
        if unit == "bytes" and call.responses >= call.requests
    ]
    tokens = [_tokens(held, budget, unit, call) for unit, _ in tariff.parts if unit in TOKENS]
    if any(line.most for line in tokens):  # then all of them: the newest is found at once
        more += tokens
    return tuple(more)


def _tokens(held: Sequence[Charge], budget: Budget, unit: str, call: Call) -> Line:
    """Tokens that *call* has had beyond those that *budget* has paid."""
    now, newest = counter(unit, call), _newest(held, budget, unit)
    if newest is None:
        return Line(unit, 0, 0, now)
    paid = min(now, newest.before + newest.most)
    return Line(unit, newest.parts, now - paid, paid)


def _newest(held: Sequence[Charge], budget: Budget, unit: str) -> Line | None:
    """The newest line of *unit* that *budget* has paid."""
    for each in reversed(held):
        if each.budget is budget:
            for line in each.lines:
                if line.unit == unit:
                    return line
    return None


def came(call: Call) -> bool:
    """Whether *call*, which is settled, has come to the model. Who waited for a turn in vain has not."""
    return call.model_ns > 0 or call.responses > 0


def costs(held: Sequence[Charge], call: Call, beyond_ns: int = 0) -> list[int]:
    """What each of the charges that a settled *call* *held* has really come to, in their order.

    Time is all the time of the call, for each account.

    Args:
        held: In the order in which they were reserved.
        call: What they are for.
        beyond_ns: How long its work went on after its end.
    """
    if not came(call):
        return [0] * len(held)
    counted = _counted(held, call)
    told = _told(held, counted) if len(held) > 1 and call.usage is not None else ()
    return [
        _cost(each, counts, call, told, beyond_ns) if each.lines else each.units
        for each, counts in zip(held, counted, strict=True)
    ]


def _counted(held: Sequence[Charge], call: Call) -> list[list[int]]:
    """How many of its unit *call* has had for each line. What is metered is paid for by the charge before it
    was counted, up to the next one of the same budget.
    """
    if len(held) == 1:  # of most calls, so it is quick
        only = held[0].lines
        return [
            [counter(each.unit, call) - each.before if each.unit in METERED else each.most for each in only]
        ]
    found, until = [], dict[tuple[Budget, str], int]()
    for each in reversed(held):
        counts = []
        for unit, _, most, before in each.lines:
            if unit in METERED:
                key = each.budget, unit
                counts.append(until.get(key, counter(unit, call)) - before)
                until[key] = before
            else:
                counts.append(most)
        found.append(counts)
    found.reverse()
    return found


def _told(held: Sequence[Charge], counted: Sequence[Sequence[int]]) -> set[tuple[str, str]]:
    """Which models of a stream have told of which tokens."""
    return {
        (each.model, line.unit)
        for each, counts in zip(held, counted, strict=True)
        for line, count in zip(each.lines, counts, strict=True)
        if count > 0 and line.unit in TOKENS
    }


def _cost(
    charge: Charge, counts: Sequence[int], call: Call, told: Collection[tuple[str, str]], beyond_ns: int
) -> int:
    """What *charge* has come to, by the *counts* of its lines; *told*: see `_told`."""
    parts = 0
    for (unit, each, most, _), had in zip(charge.lines, counts, strict=True):
        if unit == "seconds":
            parts += each * -(-(call.model_ns + beyond_ns) // 1_000_000)
        elif had > 0:
            parts += each * had
        elif unit in TOKENS and _untold(unit, charge.model, call, told):
            parts += each * most
    return _rounded(parts)


def _untold(unit: str, model: str, call: Call, told: Collection[tuple[str, str]]) -> bool:
    """Whether tokens that *model* told nothing of count as used, as many as were reserved.

    They do of a model that told of none at all. Of a call that was cut off, maybe before they were told,
    those of the input do, and those of the output once any answer has left.
    """
    if call.status in CUT_OFF:
        return unit == "input_tokens" or (call.responses > 0 and (model, unit) not in told)
    return call.usage is None or (bool(told) and not any((model, each) in told for each in TOKENS))


def counter(unit: str, call: Call) -> int:
    """How many *call* has had until now of a unit that is metered."""
    if unit == "bytes":
        return call.request_bytes + call.response_bytes
    usage = call.usage
    return 0 if usage is None or unit not in TOKENS else usage[TOKENS.index(unit)]


def _before(unit: str, call: Call) -> int:
    """The same, without the message that was just read."""
    if unit not in METERED:
        return 0
    return counter(unit, call) - (len(call.raw) if unit == "bytes" else 0)


def _rounded(parts: int) -> int:
    """Whole units, as far as stores can count."""
    return min(MOST, -(-parts // PART))
