"""Who has which slots on many machines: what Redis does in one step, how it is asked, what it answers.

A key is a hash of processes, each {slots, when it said so, for how long}, in microseconds by Redis's clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from . import Hold
from .redis_scripts import CHECK

PREFIX: Final = "{guardhouse}:slots:"

# ARGV: the process, its time in microseconds; then for each key its limit and slots.
# Returns for each key the slots of the process.
# A key that is not ours ends the script as it is read; a full Redis or a replica at the first write.
HOLD: Final = (
    CHECK
    + """
local time = redis.call('TIME')
local process, lasts, now = ARGV[1], tonumber(ARGV[2]), time[1] * 1000000 + time[2]
local function lease(slots, at, lasts)
  return string.format('%.0f %.0f %.0f', slots, at, lasts)
end

local function look(key)
  local found = {others = 0, last = 0, set = {}, gone = {}}
  local fields = redis.call('HGETALL', key)
  for at = 1, #fields, 2 do
    local slots, since, long = string.match(fields[at + 1], '^(%d+) (%d+) (%d+)$')
    local ends = math.min(since, now) + long
    if ends <= now then
      table.insert(found.gone, fields[at])
    elseif fields[at] ~= process then
      found.others, found.last = found.others + slots, math.max(found.last, ends)
      -- The clock was set back: their time goes on from now, and not when it has caught up.
      if tonumber(since) > now then
        found.set[fields[at]] = lease(slots, now, long)
      end
    end
  end
  return found
end

local founds, granted = {}, {}
for i, key in ipairs(KEYS) do
  founds[i] = look(key)
  granted[i] = math.max(0, math.min(ARGV[i * 2 + 2], ARGV[i * 2 + 1] - founds[i].others))
end
for i, key in ipairs(KEYS) do
  local found = founds[i]
  if granted[i] > 0 then
    found.set[process], found.last = lease(granted[i], now, lasts), math.max(found.last, now + lasts)
  else
    table.insert(found.gone, process)
  end
  for who, said in pairs(found.set) do
    redis.call('HSET', key, who, said)
  end
  redis.call('PEXPIREAT', key, string.format('%.0f', math.ceil(found.last / 1000)))
  for _, who in ipairs(found.gone) do
    if not found.set[who] then
      redis.call('HDEL', key, who)
    end
  end
end
return granted
"""
)


def question(process: str, holds: Sequence[Hold], seconds: float) -> tuple[list[str], list[object]]:
    """Keys and arguments of HOLD."""
    keys = [f"{PREFIX}{hold.name}" for hold in holds]
    numbers = [number for hold in holds for number in (hold.limit, hold.slots)]
    return keys, [process, math.ceil(seconds * 1e6), *numbers]


def answers(holds: Sequence[Hold], reply: list[Any]) -> tuple[int, ...]:
    """What HOLD's *reply* means. Raises for one that it cannot have made."""
    granted = tuple([int(slots) for slots in reply])
    for hold, slots in zip(holds, granted, strict=True):
        if not 0 <= slots <= hold.slots:
            raise ValueError("an answer that is none")
    return granted
