-- One request is over: what was estimated becomes what it was. May be sent again when nobody knows
-- whether it arrived: the entry in `held`, else the mark `once`, makes it count once.
-- KEYS: window, live, held, spent, once
-- ARGV: id, tokens, cost (-1: as estimated), 1 if the cost counts although Redis did not let it in,
--       seconds to keep spent, and what should be in it (-1: there is no budget)
local window, live, held, spent = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, tokens, cost = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local more, alone = 0, false
redis.call('ZREM', live, id)
local entry = redis.call('HGET', held, id)
if entry then
  redis.call('HDEL', held, id)
  local was_cost, was_tokens, cell = string.match(entry, '^(%d+)|(%d+)|(%d+)|')
  if cost >= 0 then more = cost - tonumber(was_cost) end
  if tokens >= 0 then
    local unused = tonumber(was_tokens) - tokens
    if unused > 0 and redis.call('HEXISTS', window, 't' .. cell) == 1 then
      redis.call('HINCRBY', window, 't' .. cell, -unused)
    elseif unused < 0 and redis.call('EXISTS', window) == 1 then
      redis.call('HINCRBY', window, 't' .. redis.call('TIME')[1], -unused)
      redis.call('EXPIRE', window, 120)
    end
  end
elseif ARGV[4] == '1' and redis.call('SET', KEYS[5], 1, 'NX', 'EX', 600) then
  more, alone = math.max(cost, 0), true
end
if more ~= 0 and tonumber(ARGV[6]) >= 0 then
  -- A Redis that has lost what was spent takes it from the relay, which knows what this request
  -- has cost, unless it was let in without Redis.
  local lost = redis.call('SET', spent, ARGV[6], 'NX')
  if alone or not lost then redis.call('INCRBY', spent, string.format('%.0f', more)) end
  redis.call('EXPIRE', spent, ARGV[5])
end
return more
