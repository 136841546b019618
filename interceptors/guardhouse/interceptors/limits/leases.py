"""Rates that many processes share: units are drawn from a store a little ahead, and spent here.

What is drawn counts as used in the store at once, so no number of processes lets through more than the rate;
but what one has drawn it may spend up to `LAPSE` later. So in any time, whatever its length, at most the
burst, what the rate gives in that time, and for each process one `ahead` of it pass: a twentieth of the burst
and no more than a tenth of a second's worth. What a call had drawn that another rate then refused stays in
hand too: the next calls spend it, or it lapses.

A store that does not answer within `PATIENCE` is not waited for: until it answers again, each process lets
through what the rate allows by itself alone, and says so.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from guardhouse.interceptors.bounded import Bounded

from .asker import Asker, Question
from .buckets import Answer, Buckets, Draw, Key
from .gcra import Limit
from .gcra import limit as pace_of
from .reach import Reach
from .stores import Drawn, Drip, Store

PATIENCE: Final = 0.02  # seconds that a call waits for the store
BEGIN: Final = 1.0  # seconds that the start may wait for it
LAPSE: Final = 1.0  # seconds for which units in hand may be spent
MOST: Final = 100_000  # holders of whom something is remembered here; the store knows all
AT_ONCE: Final = 500  # rates in one question: a store has little time for each
Want = tuple[int, int]  # units that one call lacks at least; units that all calls lack together


class _Lease:
    """Units in hand of one holder. *used*: how many were spent since the store was asked. *dry*: so many
    units will not be there before *wet*. Times are monotonic seconds.
    """

    __slots__ = ("dry", "lapses", "left", "units", "used", "wet")

    def __init__(self) -> None:
        self.units = self.used = self.left = self.dry = 0
        self.lapses = self.wet = 0.0


def ahead(pace: Limit, used: int) -> int:
    """Units to draw beyond what is wanted: as many as were *used* since the last time, within bounds."""
    return min(used, int(pace.tolerance / pace.interval / 20), int(0.1 / pace.interval))


class Leases:
    """Where rates are kept that a store holds. `draw` never waits.

    Args:
        store: Whose rates they are; closed by somebody else.
        clock: Monotonic seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._alone = Buckets()  # while the store does not answer
        self._leases: Bounded[Key, _Lease] = Bounded(MOST)
        self._lock = threading.Lock()
        self._reach = Reach(clock)
        self._asker: Asker[Key, Want] = Asker("guardhouse-rates", self._ask)
        # A connection takes longer than a call would wait for: it is made before the first one comes.
        self._want([Draw("guardhouse starts", pace_of(1.0, 1))], 0.0).over.wait(BEGIN)

    @property
    def keys(self) -> int:
        """Holders that are remembered here."""
        return len(self._leases)

    def draw(self, draws: Sequence[Draw], now: float) -> Answer | None:
        """Draw all, or none, from what is in hand; None where only `fetch` can tell."""
        with self._lock:
            if answer := self._known(draws, now) or self._pay(draws, now):
                return answer
        if self._reach.is_near(now, PATIENCE):
            return None
        if self._reach.is_to_probe(now):
            self._want(draws, now)
        return self._by_itself(draws, now)

    def fetch(self, draws: Sequence[Draw]) -> Answer:
        """The same, and asks the store. Blocks for `PATIENCE`."""
        end = (now := self._clock()) + PATIENCE
        while (answer := self.draw(draws, now)) is None:
            question = self._want(draws, now)
            if not question.over.wait(max(0.0, end - now)) or not question.well:
                self._reach.lost()
                return self._by_itself(draws, self._clock())
            if (now := self._clock()) >= end:  # it answers, and others are quicker
                return self.draw(draws, now) or Answer(PATIENCE)
        return answer

    def left(self, draw: Draw, now: float) -> int:
        """Units that would be given at *now*, as far as is known here."""
        lease = self._leases.get((draw.holder, draw.limit))
        whole = int(draw.limit.tolerance / draw.limit.interval + 1e-9)
        if lease is None:
            return whole
        since = lease.lapses - LAPSE
        return min(whole, lease.units + lease.left + int((now - since) / draw.limit.interval))

    def close(self) -> None:
        """Ask no more; what is in hand is lost."""
        self._asker.close(patience=1.0)

    def _known(self, draws: Sequence[Draw], now: float) -> Answer | None:
        """That one must wait, where that is known already."""
        for place, (holder, limit, units) in enumerate(draws):
            if units * limit.interval > limit.tolerance + limit.slack:
                return Answer(math.inf, place)
            missing = units - self._units((holder, limit), now)
            lease = self._leases.get((holder, limit))
            if lease is not None and now < lease.wet and lease.dry <= missing:
                return Answer(lease.wet - now + (missing - lease.dry) * limit.interval, place)
        return None

    def _pay(self, draws: Sequence[Draw], now: float) -> Answer | None:
        """Pay from what is in hand, if all of it is there."""
        for holder, limit, units in draws:
            if self._units((holder, limit), now) < units:
                return None
        best = Answer(0.0, left=1 << 62)
        for place, draw in enumerate(draws):
            lease = self._lease((draw.holder, draw.limit))
            lease.units -= draw.units
            lease.used += draw.units
            left = lease.units + lease.left
            if left < best.left:
                best = Answer(0.0, place, left, max(0.0, draw.limit.tolerance - left * draw.limit.interval))
        return best

    def _units(self, key: Key, now: float) -> int:
        """Units in hand that may still be spent."""
        lease = self._leases.get(key)
        if lease is None:
            return 0
        if now >= lease.lapses:
            lease.units = 0
        return lease.units

    def _lease(self, key: Key) -> _Lease:
        lease = self._leases.get(key)
        if lease is None:
            lease = _Lease()
            self._leases.put(key, lease)
        return lease

    def _by_itself(self, draws: Sequence[Draw], now: float) -> Answer:
        return self._alone.draw(draws, now)._replace(alone=True)

    def _want(self, draws: Sequence[Draw], now: float) -> Question[Key, Want]:
        with self._lock:
            lacking = {
                (holder, limit): (missing, missing)
                for holder, limit, units in draws
                if (missing := units - self._units((holder, limit), now)) > 0
            }
        return self._asker.want(lacking, lambda one, other: (min(one[0], other[0]), one[1] + other[1]))

    def _ask(self, wants: Mapping[Key, Want]) -> None:
        keys = list(wants)
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            drips = [self._drip(key, *wants[key]) for key in some]
            with self._reach.asked():
                found = self._store.draw(drips)
            now = self._clock()
            with self._lock:
                for key, drip, drawn in zip(some, drips, found, strict=True):
                    self._put(key, drip, drawn, now)
        self._reach.found()

    def _drip(self, key: Key, least: int, most: int) -> Drip:
        holder, limit = key
        lease = self._leases.get(key)
        most += ahead(limit, lease.used) if lease else 0
        return Drip(holder, limit.interval, limit.tolerance, least, max(least, most))

    def _put(self, key: Key, drip: Drip, drawn: Drawn, now: float) -> None:
        units, lease = self._units(key, now), self._lease(key)
        lease.units = units + drawn.units
        lease.used, lease.left, lease.lapses = 0, drawn.left, now + LAPSE
        lease.dry, lease.wet = 0, 0.0
        if not drawn.units:
            lease.dry, lease.wet = drip.least, now + drawn.wait
        elif drawn.units < drip.most:  # the store has no more: the next unit comes by time alone, maybe soon
            lease.dry, lease.wet = 1, now + min(drip.interval, PATIENCE)
