-- Admits a call into all of its windows, or into none.
--
-- KEYS  1 hold   2 open holds of the root (sorted set: call id by expiry)   3 birth mark of the root   4.. one counter a window
-- ARGV  1 now_ms   2 hold_expires_ms   3 call id   4 hold record (opaque)   5 margin_ms   6 birth mark's life, ms
--       then for each window: maximum (-1: counts only)   amount to hold   strict (0 or 1)   start_ms   since_ms   counter_expires_ms
-- Reply status, birth_ms, then for each window: verdict, spent, held (before this call)
--       status: 0 refused  1 admitted  2 a window is unknown  3 admitted before (the same call id again)
--       verdict: 0 room  1 exhausted  2 in flight  3 request too large  4 unknown
-- A counter: 'spent' (absent while unknown), 'held', 'since' (the limit's, -1 while unknown after it was known), 'snap', 'p<posting>'.
-- Invariants: writes nothing unless it admits. Amounts are integers below 2^53 and go to redis.call as they came.
local now = tonumber(ARGV[1])
local margin = tonumber(ARGV[5])
local windows = #KEYS - 3

local birth = tonumber(redis.call('GET', KEYS[3]))
local born_now = birth == nil
if born_now then birth = now end
local replay = redis.call('EXISTS', KEYS[1]) == 1

local reply = {1, birth}
local unknown, refused = false, false
local fresh = {}
for i = 1, windows do
  local at = 6 + (i - 1) * 6
  local maximum, amount = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local strict, start, since = ARGV[at + 3] == '1', tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local fields = redis.call('HMGET', KEYS[3 + i], 'spent', 'held', 'since')
  local spent, held = tonumber(fields[1]), tonumber(fields[2]) or 0
  -- A window that began after both the store and the limit did was counted from its first call on.
  local counted_from_its_start = start > birth + margin and start > since + margin
  local counted_since = tonumber(fields[3])
  local known = spent ~= nil and (counted_from_its_start or counted_since >= since)
  if not known and counted_from_its_start and counted_since == nil then
    spent, known, fresh[i] = 0, true, true
  end
  local verdict = 0
  if not known then
    verdict, spent, unknown = 4, 0, true
  elseif maximum >= 0 then
    local room
    if strict then room = spent + held + amount <= maximum else room = spent + held < maximum end
    if not room then
      refused = true
      if spent >= maximum then verdict = 1
      elseif strict and amount > maximum then verdict = 3
      elseif strict and spent + amount > maximum then verdict = 1
      else verdict = 2 end
    end
  end
  reply[#reply + 1] = verdict
  reply[#reply + 1] = spent
  reply[#reply + 1] = held
end

if replay then reply[1] = 3 return reply end
if unknown then reply[1] = 2 return reply end
if refused then reply[1] = 0 return reply end

if born_now then redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[6]) else redis.call('PEXPIRE', KEYS[3], ARGV[6]) end
redis.call('SET', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
for i = 1, windows do
  local at = 6 + (i - 1) * 6
  if fresh[i] then redis.call('HSET', KEYS[3 + i], 'spent', 0, 'since', ARGV[at + 5]) end
  redis.call('HINCRBY', KEYS[3 + i], 'held', ARGV[at + 2])
  -- A lifetime window has no end: its counter lives on as long as it is used.
  if fresh[i] or ARGV[at + 4] == '0' then redis.call('PEXPIREAT', KEYS[3 + i], ARGV[at + 6]) end
end
return reply
