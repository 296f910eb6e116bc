-- These requests still run. KEYS: live, held, spent; ARGV: seconds to keep live and held, and
-- spent, then ids.
local second = redis.call('TIME')[1]
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], 'XX', second, ARGV[i]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[3], ARGV[2])
return 0
