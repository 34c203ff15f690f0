-- Makes a window unknown before the ledger is read for it, so that costs settled from now on wait for the seed. Holds stay.
--
-- KEYS  1 counter
-- ARGV  1 since_ms of the limit: a counter that was begun for an older limit is forgotten
--       2 spent that was seen to be wrong, or empty: a counter that still says so is forgotten
-- Reply 1 forgotten, 0 left alone
local fields = redis.call('HMGET', KEYS[1], 'spent', 'since')
if not fields[1] then return 0 end
if tonumber(fields[2]) >= tonumber(ARGV[1]) and fields[1] ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'spent', 'snap')
redis.call('HSET', KEYS[1], 'since', -1)
return 1
