"""What the rates of many machines are owed: what Redis does in one step, how it is asked, what it answers.

A key is a hash {owed, at}: units, and microseconds since the epoch by Redis's clock, and no finer. The
arithmetic is that of `drips`, in the same doubles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from . import Drawn, Drip
from .drips import SLACK, TICK
from .redis_scripts import CHECK

PREFIX: Final = "{guardhouse}:rate:"

# ARGV: for each key its interval, tolerance, least and most.
# Returns for each key the units, what `least` lacks (a text), and the units left.
# A key that is not ours ends the script as it is read; a full Redis or a replica at the first write.
DRAW: Final = (
    CHECK
    + f"local slack = {SLACK!r}"
    + """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local owed = {}
for i, key in ipairs(KEYS) do
  local kept = redis.call('HMGET', key, 'owed', 'at')
  local passed = math.max(0, now - (kept[2] or now)) / 1000000
  owed[i] = math.max(0, (kept[1] or 0) - passed / ARGV[i * 4 - 3])
end
local answers = {}
for i, key in ipairs(KEYS) do
  local interval, least, most = tonumber(ARGV[i * 4 - 3]), tonumber(ARGV[i * 4 - 1]), tonumber(ARGV[i * 4])
  local burst = ARGV[i * 4 - 2] / interval
  local passing, units = math.max(0, math.floor(burst - owed[i] + slack * burst)), 0
  if passing >= least then
    units = math.min(most, passing)
  end
  table.insert(answers, units)
  table.insert(answers, string.format('%.17g', owed[i] + least - burst))
  table.insert(answers, passing - units)
  local total = owed[i] + units
  redis.call('HSET', key, 'owed', string.format('%.17g', total), 'at', string.format('%.0f', now))
  -- Never before it is full again; a limit that was made far lower may owe for longer than Redis can count.
  local full = math.min(9e15, math.ceil(now / 1000 + total * interval * 1000))
  redis.call('PEXPIREAT', key, string.format('%.0f', full))
end
return answers
"""
)


def question(drips: Sequence[Drip]) -> tuple[list[str], list[object]]:
    """Keys and arguments of DRAW."""
    keys = [f"{PREFIX}{drip.name}" for drip in drips]
    return keys, [part for drip in drips for part in (repr(drip.interval), repr(drip.tolerance), *drip[3:])]


def answers(drips: Sequence[Drip], reply: list[Any]) -> tuple[Drawn, ...]:
    """What DRAW's *reply* means. Raises for one that it cannot have made."""
    parts = zip(drips, reply[::3], reply[1::3], reply[2::3], strict=True)
    return tuple([_answer(drip, int(units), float(lacks), int(left)) for drip, units, lacks, left in parts])


def _answer(drip: Drip, units: int, lacks: float, left: int) -> Drawn:
    if left >= 0 and drip.least <= units <= drip.most:
        return Drawn(units, 0.0, left)
    if units or not (0 <= left < drip.least and lacks > 0):
        raise ValueError("an answer that is none")
    burst = drip.tolerance / drip.interval
    never = drip.least > burst + SLACK * burst
    return Drawn(0, math.inf if never else lacks * drip.interval + TICK, left)
