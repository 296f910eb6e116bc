-- Checks all limits of one key and counts one request if it fits: one step for all relays.
-- KEYS: window, live, held, spent (docs/limits.md says what they hold)
-- ARGV: id, requests a minute, tokens a minute, at the same time, budget (-1: no limit),
--       tokens, cost, spent as far as this relay knows, budget's period, lease, patience,
--       seconds to keep spent
-- Times are Redis's own, so that relays need not agree. A cell of the window is one second.
local window, live, held, spent = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id = ARGV[1]
local rpm, tpm, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local budget, tokens, cost = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local second = tonumber(time[1])
local millis = second * 1000 + math.floor(tonumber(time[2]) / 1000)

-- What the last minute holds, of requests (r) and tokens (t); what is older goes.
local used, cells, newest = {r = 0, t = 0}, {r = {}, t = {}}, {r = 0, t = 0}
local fields = redis.call('HGETALL', window)
for i = 1, #fields, 2 do
  local kind, cell = string.sub(fields[i], 1, 1), tonumber(string.sub(fields[i], 2))
  if cell <= second - 61 then
    redis.call('HDEL', window, fields[i])
  else
    local amount = tonumber(fields[i + 1])
    used[kind] = used[kind] + amount
    table.insert(cells[kind], {cell, amount})
    if amount > 0 then newest[kind] = math.max(newest[kind], cell) end
  end
end

-- Milliseconds until so much fits; -1: never.
local function wait(kind, amount, limit)
  if limit < 0 or amount == 0 then return 0 end
  if amount > limit then return -1 end
  local over = used[kind] + amount - limit
  if over <= 0 then return 0 end
  table.sort(cells[kind], function(a, b) return a[1] < b[1] end)
  for _, cell in ipairs(cells[kind]) do
    over = over - cell[2]
    if over <= 0 then return (cell[1] + 61) * 1000 - millis end
  end
  return 61000
end

local function left(kind)
  if newest[kind] == 0 then return 0 end
  return (newest[kind] + 61) * 1000 - millis
end

-- Requests of relays that have gone without a word.
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', live, '-inf', second - tonumber(ARGV[11]))) do
  redis.call('HDEL', held, gone)
  redis.call('ZREM', live, gone)
end
local running = redis.call('ZCOUNT', live, second - tonumber(ARGV[10]), '+inf')

local taken, reserved = 0, 0
if budget >= 0 then
  redis.call('SET', spent, ARGV[8], 'NX')
  redis.call('EXPIRE', spent, ARGV[12])
  taken = tonumber(redis.call('GET', spent))
end

local dear = budget >= 0 and cost > 0 and taken + cost > budget
local per_request, per_token = wait('r', 1, rpm), wait('t', tokens, tpm)
local many = most >= 0 and running >= most
local admitted = not dear and per_request == 0 and per_token == 0 and not many
if admitted then
  if rpm >= 0 then
    redis.call('HINCRBY', window, 'r' .. second, 1)
    used.r, newest.r = used.r + 1, second
  end
  if tpm >= 0 then
    redis.call('HINCRBY', window, 't' .. second, ARGV[6])
    used.t = used.t + tokens
    if tokens > 0 then newest.t = second end
  end
  if budget >= 0 then taken = redis.call('INCRBY', spent, ARGV[7]) end
  redis.call('ZADD', live, second, id)
  redis.call('HSET', held, id, ARGV[7] .. '|' .. ARGV[6] .. '|' .. second .. '|' .. ARGV[9])
  redis.call('EXPIRE', window, 120)
  redis.call('EXPIRE', live, ARGV[11] * 2)
  redis.call('EXPIRE', held, ARGV[11] * 2)
elseif dear then
  for _, entry in ipairs(redis.call('HVALS', held)) do
    local amount, period = string.match(entry, '^(%d+)|%d+|%d+|(.*)$')
    if period == ARGV[9] then reserved = reserved + tonumber(amount) end
  end
end
return {
  admitted and 1 or 0, dear and 1 or 0, per_request, per_token, many and 1 or 0,
  used.r, used.t, left('r'), left('t'), taken, reserved,
}
