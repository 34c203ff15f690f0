-- Takes a call's hold out of its windows and puts its cost in; once per call, never refused. An adjustment of the ledger
-- comes the same way, without a hold, with a cost that may be negative.
--
-- KEYS  1 hold   2 open holds of the root   3 birth mark of the root   4 mark of a call settled without its hold   5.. one counter a window
-- ARGV  1 now_ms   2 call id   3 birth_ms that the admission saw   4 posting: the database transaction that wrote the entry
--       5 life of the mark, ms   then for each window: held amount   cost   counter_expires_ms
-- Reply status, then for each window: spent (-1 unknown), held
--       status: 0 settled before, nothing done   1 settled   2 settled without a hold (the store was emptied after the admission)
-- Invariants: a cost enters a counter once. A counter that was seeded from the ledger remembers the snapshot it was read in
--       ('snap', PostgreSQL's xmin:xmax:xip,...): a posting visible there is in it already. While a counter is unknown, costs
--       wait beside it as fields 'p<posting>' until the seed takes them in.
local function visible(snap, posting)
  local xmin, xmax, xip = string.match(snap, '^(%d+):(%d+):(.*)$')
  if posting < tonumber(xmin) then return true end
  if posting >= tonumber(xmax) then return false end
  for open in string.gmatch(xip, '%d+') do
    if tonumber(open) == posting then return false end
  end
  return true
end

local holding = redis.call('EXISTS', KEYS[1]) == 1
local status = 1
if not holding then
  status = 2
  if redis.call('GET', KEYS[3]) == ARGV[3] then status = 0
  elseif not redis.call('SET', KEYS[4], '1', 'NX', 'PX', ARGV[5]) then status = 0 end
end

local now, posting = tonumber(ARGV[1]), tonumber(ARGV[4])
local reply = {status}
for i = 1, #KEYS - 4 do
  local counter, at = KEYS[4 + i], 5 + (i - 1) * 3
  if status > 0 and tonumber(ARGV[at + 3]) > now then
    local fields = redis.call('HMGET', counter, 'spent', 'held', 'snap')
    local held, hold = tonumber(fields[2]) or 0, tonumber(ARGV[at + 1])
    if holding and hold > 0 then
      if held >= hold then redis.call('HINCRBY', counter, 'held', '-' .. ARGV[at + 1])
      elseif held > 0 then redis.call('HSET', counter, 'held', 0) end
    end
    if ARGV[at + 2] ~= '0' then
      if not fields[1] then
        redis.call('HINCRBY', counter, 'p' .. ARGV[4], ARGV[at + 2])
        redis.call('HSETNX', counter, 'since', -1)
        redis.call('PEXPIREAT', counter, ARGV[at + 3])
      elseif not fields[3] or not visible(fields[3], posting) then
        redis.call('HINCRBY', counter, 'spent', ARGV[at + 2])
      end
    end
  end
  local after = redis.call('HMGET', counter, 'spent', 'held')
  reply[#reply + 1] = tonumber(after[1]) or -1
  reply[#reply + 1] = tonumber(after[2]) or 0
end
if holding then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[2])
end
return reply
