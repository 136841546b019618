"""Who has which slots, in one process."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import Final, NamedTuple

from . import Hold
from .slots import granted

MOST: Final = 1_000_000  # names of which anybody has slots, of some 500 bytes each
LOOKS: Final = 8  # names that a new one looks at, to drop those whose time is over


class _Lease(NamedTuple):
    slots: int
    until: float


class MemorySlots:
    """Names with their processes; those longest untouched first. Not for several threads at once."""

    def __init__(self) -> None:
        self._leases: OrderedDict[str, dict[str, _Lease]] = OrderedDict()

    def hold(self, process: str, hold: Hold, seconds: float, now: float) -> int:
        """How many slots *process* has."""
        if hold.name not in self._leases:
            self._forget(now)
        leases = self._lasting(hold.name, now)
        leases.pop(process, None)
        slots = granted(hold, sum(lease.slots for lease in leases.values()))
        if not leases and len(self._leases) >= MOST:
            return 0
        if slots:
            leases[process] = _Lease(slots, now + seconds)
        if leases:
            self._leases[hold.name] = leases
        return slots

    def _lasting(self, name: str, now: float) -> dict[str, _Lease]:
        """The leases of *name* that are not over, taken out."""
        leases = self._leases.pop(name, {})
        return {process: lease for process, lease in leases.items() if lease.until > now}

    def _forget(self, now: float) -> None:
        """Look at the oldest names, and drop those of which nobody has slots any more."""
        for name in list(islice(self._leases, LOOKS)):
            leases = self._lasting(name, now)
            if leases:
                self._leases[name] = leases
