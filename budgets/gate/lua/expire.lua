-- Finds holds whose time is over: calls of a gateway that died. Changes nothing; charging them settles them.
--
-- KEYS  1 open holds of the root
-- ARGV  1 now_ms   2 most to return
-- Reply call ids, oldest first
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
