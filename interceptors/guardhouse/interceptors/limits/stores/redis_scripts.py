"""What Redis does with accounts in one step, in its Lua.

All keys lie in one hash slot, so that a cluster can do it too. A key is a hash {spent, limit, ends}. Redis 6
and later, and Valkey, replicate what a script did and not the script, which may hence ask for the time.
Numbers are doubles here: exact, as no limit is above 2**53 - 1.
"""

from __future__ import annotations

from typing import Final

# So that no key is written to that is then not let expire. Redis 6 cannot be asked.
CHECK: Final = """
if redis.acl_check_cmd and not redis.acl_check_cmd('PEXPIREAT', KEYS[1], '0') then
  return redis.error_reply('NOPERM this user has no permissions to run PEXPIREAT')
end
"""

# ARGV[1] is the grace in ms. A key is kept so long after its end by its account's clock or, if that is later,
# after now by Redis's: Redis drops a key at once that expires in the past, so that a caller whose clock is
# behind could spend without end. What may fail does so here, as keys are read, or at the first write.
_BEGIN: Final = (
    CHECK
    + """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function keep(key, expires)
  redis.call('PEXPIREAT', key, string.format('%.0f', math.max(tonumber(expires), now + ARGV[1])))
end
"""
)

# ARGV: grace; then for each key its limit, end, expiry in ms, least and most.
# Returns {0, units, ...}, or {index of the key that is short, units left}.
# A key that is no hash ends the script as it is read; a full Redis, a replica, or a user without the right to
# HSET, at the first write.
TAKE: Final = (
    _BEGIN
    + """
local spents, portions = {}, {0}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5 + 1
  spents[i] = tonumber(redis.call('HGET', key, 'spent') or '0')
  local left = math.max(0, tonumber(ARGV[at + 1]) - spents[i])
  if left < tonumber(ARGV[at + 4]) then
    return {i, left}
  end
  portions[i + 1] = math.min(left, tonumber(ARGV[at + 5]))
end
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5 + 1
  local spent = string.format('%.0f', spents[i] + portions[i + 1])
  redis.call('HSET', key, 'spent', spent, 'limit', ARGV[at + 1], 'ends', ARGV[at + 2])
  keep(key, ARGV[at + 3])
end
return portions
"""
)

# ARGV: grace; then for each key its units and expiry in ms. A key may come twice.
GIVE: Final = (
    _BEGIN
    + """
local spents = {}
for i, key in ipairs(KEYS) do
  spents[key] = tonumber(redis.call('HGET', key, 'spent') or nil)
end
for i, key in ipairs(KEYS) do
  if spents[key] then
    spents[key] = math.max(0, spents[key] - tonumber(ARGV[2 * i]))
    redis.call('HSET', key, 'spent', string.format('%.0f', spents[key]))
    keep(key, ARGV[2 * i + 1])
  end
end
return 0
"""
)

# Returns for each key {limit, spent, end}, all texts, or false if it has gone.
READ: Final = """
local found = {}
for i, key in ipairs(KEYS) do
  local fields = redis.call('HMGET', key, 'limit', 'spent', 'ends')
  found[i] = fields[1] and fields[2] and fields[3] and fields
end
return found
"""
