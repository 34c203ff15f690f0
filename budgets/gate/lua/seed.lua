-- Makes a window known: sets what the ledger says was spent in it, with the costs that were settled since that was read.
--
-- KEYS  1 counter
-- ARGV  1 spent   2 since_ms of the limit   3 snapshot the sum was read in (PostgreSQL's xmin:xmax:xip,...)   4 counter_expires_ms
-- Reply 1 seeded, 0 known already; then spent
-- Invariants: a known counter is left alone, also one of an older limit: it was not unknown since the ledger was read, and
--       costs may have entered it that this sum does not have. It has to be forgotten, and the ledger read, again.
--       'held' is never touched.
local spent = redis.call('HGET', KEYS[1], 'spent')
if spent then return {0, tonumber(spent)} end

local xmin, xmax, xip = string.match(ARGV[3], '^(%d+):(%d+):(.*)$')
local open = {}
for id in string.gmatch(xip, '%d+') do open[id] = true end

redis.call('HSET', KEYS[1], 'spent', ARGV[1], 'since', ARGV[2], 'snap', ARGV[3])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local posting = string.match(all[i], '^p(%d+)$')
  if posting then
    local id = tonumber(posting)
    if id >= tonumber(xmax) or (id >= tonumber(xmin) and open[posting]) then
      redis.call('HINCRBY', KEYS[1], 'spent', all[i + 1])
    end
    redis.call('HDEL', KEYS[1], all[i])
  end
end
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return {1, tonumber(redis.call('HGET', KEYS[1], 'spent'))}
