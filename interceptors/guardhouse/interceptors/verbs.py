"""How the chain asks its guards: their verbs in order, and one that cannot answer at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from inspect import iscoroutinefunction, isgeneratorfunction
from types import MethodType
from typing import Any, NamedTuple, cast

from .refusal import Refusal


class Later(Exception):  # noqa: N818 - it is not an error
    """Raised by a guard that cannot decide without waiting.

    Args:
        finish: Does the rest of what the guard has begun. May block, for a bounded time, and is called
            in a thread that may; returns nothing, or raises `Refusal`. The call may end meanwhile.
        turn: Is done when the call may go on, or has a `Refusal` for its exception. As many calls may wait
            as the guard lets: none of them needs a thread where the server has a loop. A call that ends
            cancels it, and its guard, at the latest, when the call is settled. A `finish` beside it is called
            when it is done or cancelled, wherever that is, and must not block. Several tasks of a call may
            wait for one.
        within: Seconds after which the turn is cancelled; None for as long as the call may take.
    """

    def __init__(
        self,
        finish: Callable[[], None] | None = None,
        *,
        turn: Future[None] | None = None,
        within: float | None = None,
    ) -> None:
        super().__init__()
        if finish is None and turn is None:
            raise TypeError("nothing to wait for")
        self.finish = finish if finish is not None else cast("Future[None]", turn).result
        self.turn, self.within = turn, within


class Pending(NamedTuple):
    """A decision that waits for one guard: `Chain.finish` it where it may block, then `Chain.go_on`.

    Attributes:
        finish: Blocks until the guard has decided.
        guard: Whose it is.
        rest: The verbs of the guards behind it, and what they are asked about.
        about: The same.
        turn: If not None, `finish` does not block once this is done.
        within: Seconds to wait for that; see `Later`.
    """

    finish: Callable[[], None]
    guard: Any
    rest: tuple[MethodType, ...]
    about: tuple[Any, ...]
    turn: Future[None] | None = None
    within: float | None = None


def bound(guards: Iterable[Any], base: type, verb: str) -> tuple[MethodType, ...]:
    """The bound methods of the *guards* that have something to say at *verb*: more than *base* has."""
    verbs = tuple(
        getattr(guard, verb) for guard in guards if getattr(type(guard), verb) is not getattr(base, verb)
    )
    for each in verbs:
        if iscoroutinefunction(each) or isgeneratorfunction(each):
            # Called and never awaited, it would let everybody through.
            message = f"{each.__qualname__} is not a plain function: a guard never waits"
            raise TypeError(message)
    return verbs


def ask(verbs: tuple[MethodType, ...], *about: Any) -> Pending | None:
    """Run *verbs* in order; the first `Refusal` ends it, the first `Later` breaks it off."""
    for verb in verbs:
        try:
            verb(*about)
        except Refusal as refusal:
            raise said_by(verb.__self__, refusal) from None
        except Later as later:
            rest = verbs[verbs.index(verb) + 1 :]
            return Pending(later.finish, verb.__self__, rest, about, later.turn, later.within)
    return None


def said_by(guard: Any, refusal: Refusal) -> Refusal:
    """*refusal*, with the stage of the `Guard` that raised it."""
    refusal.guard = refusal.guard or guard.stage.name.lower()
    return refusal
