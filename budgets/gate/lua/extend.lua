-- Keeps the holds of running calls alive. A hold that is gone stays gone.
--
-- KEYS  1 open holds of the root   2.. holds
-- ARGV  1 hold_expires_ms   2.. call ids, in the order of the holds
-- Reply 1 or 0 for each hold: whether it is still open
local reply = {}
for i = 1, #KEYS - 1 do
  if redis.call('EXISTS', KEYS[1 + i]) == 1 then
    redis.call('ZADD', KEYS[1], 'GT', ARGV[1], ARGV[1 + i])
    reply[i] = 1
  else
    reply[i] = 0
  end
end
return reply
