-- Stores a value, and for an answer its place in the index of its api, all at once.
-- KEYS: the value; then, for an answer: the index of its api, the set of apis.
-- ARGV: the value, its seconds of life, until when this may be done (this server's time);
--       then: its member of the index, the api, the most answers an api may have, what the keys of values begin with.
-- Returns whether it was stored, this server's time, and how many answers made room.
--
-- A server that was paused reads what it was sent as soon as it goes on, although the sender gave up long ago:
-- without a limit in time it would bring back what has been deleted meanwhile.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local said = string.format('%.6f', now)
if now > tonumber(ARGV[3]) then return {0, said, 0} end

local life = math.ceil(ARGV[2] * 1000)
redis.call('SET', KEYS[1], ARGV[1], 'PX', life)
if #KEYS == 1 then return {1, said, 0} end

local index, keep = KEYS[2], 8 * 24 * 3600  -- seconds: longer than any value lives
redis.call('ZADD', index, now + ARGV[2], ARGV[4])
redis.call('EXPIRE', index, keep)
redis.call('SADD', KEYS[3], ARGV[5])
redis.call('EXPIRE', KEYS[3], keep)

-- At most so many a time: one addition cannot be made to wait for a great clearance.
local dead = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 64)
if #dead > 0 then redis.call('ZREM', index, unpack(dead)) end
local over = math.min(redis.call('ZCARD', index) - ARGV[6], 64)
if over > 0 then
  local gone = redis.call('ZPOPMIN', index, over)
  for position = 1, #gone, 2 do
    redis.call('UNLINK', ARGV[7] .. string.match(gone[position], '^%x+'))
  end
  return {1, said, over}
end
return {1, said, 0}
