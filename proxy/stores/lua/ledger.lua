-- The records of calls that must happen once: the table of core/idempotency.py, in the same words, on the server.
--
-- KEYS: three sorted sets, by which records are found without a scan, and the record: a hash.
--   open     what is RUNNING, by the end of its lease, and what is UNKNOWN, by when that was told:
--            whatever has a score up to now is a call whose outcome is not known
--   ends     the same records, by when they are forgotten
--   answers  the records with an answer, by when they are forgotten
-- ARGV: what is to be done; until when it may be (this server's time; empty: whenever); the ident of the record; and
--       the arguments of the function below that does it.
-- Returns a line: this server's time, how many calls have an unknown outcome, how many answers have made room, and a
-- word; then what belongs to the word: a record, as the values of FIELDS in lines, and its answer if it has one; or a
-- list of idents and records, in turn.
--
-- A server that was paused reads what it was sent as soon as it goes on, although the sender gave up long ago: without
-- a limit in time it would reserve a call for somebody who went away. What a call's owner tells at its end may come
-- late: while its token is the record's, it is true.
--
-- A server out of memory refuses HSET and ZADD, unless the script has written something before: see `add` and `write`.

local FIELDS = {
  'subject', 'fingerprint', 'nonce', 'token', 'number', 'state', 'doubt', 'created', 'lease_until', 'windowed',
  'retain', 'kept_until', 'status',
}
local STATE, LEASE_UNTIL, KEPT_UNTIL = 6, 9, 12  -- their places
local STEP = 64  -- at most so much is tidied up at a time: nobody is made to wait for a great clearance
local DAY = 86400

local open, ends, answers, key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local what, deadline, ident = ARGV[1], ARGV[2], ARGV[3]
local space = string.sub(open, 1, -#'open' - 1)
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local evicted = 0

local function said(seconds) return string.format('%.6f', seconds) end

-- --- the record --------------------------------------------------------------------------------------------

local function state_at(record)
  if record.state == 'running' and now >= record.lease_until then return 'unknown' end
  return record.state
end

-- When it is time to forget a record: never while its owner has a lease.
local function end_of(record)
  if record.state == 'running' then return math.max(record.kept_until, record.lease_until) end
  return record.kept_until
end

local function check(value) return value or error('it is not a record of a call') end

-- The record; nil if there is none. Its hash may be there for a moment after its time is over: then true comes second.
local function load()
  local values = redis.call('HMGET', key, unpack(FIELDS))
  if not values[STATE] then
    check(redis.call('EXISTS', key) == 0)
    return nil
  end
  local record = {}
  for place, name in ipairs(FIELDS) do record[name] = check(values[place]) end
  record.lease_until = check(tonumber(record.lease_until))
  record.kept_until = check(tonumber(record.kept_until))
  check(tonumber(record.number) and tonumber(record.retain))
  -- DONE     time      retain or the window is over      ABSENT
  -- UNKNOWN  time      retain or the window is over      ABSENT
  if now >= end_of(record) then return nil, true end
  return record
end

local function values_of(record)
  local values = {}
  for place, name in ipairs(FIELDS) do values[place] = record[name] end
  values[LEASE_UNTIL], values[KEPT_UNTIL] = said(record.lease_until), said(record.kept_until)
  return values
end

local function shown(record)
  local answer = record.state == 'done' and redis.call('HGET', key, 'answer')
  return table.concat(values_of(record), '\n'), answer or nil
end

local function forget()
  redis.call('DEL', key)
  for _, set in ipairs({open, ends, answers}) do redis.call('ZREM', set, ident) end
end

-- The sets go when nobody needs them any more; a day more is given, so that this is not due each time.
local function enter(set, score, last)
  redis.call('ZADD', set, said(score), ident)
  local left = math.max(last - now, 0) * 1000
  if redis.call('PTTL', set) < left then redis.call('PEXPIRE', set, math.ceil(left) + DAY * 1000) end
end

local function hold(record)
  if record.windowed == '0' then record.kept_until = now + record.retain end
end

-- Has the server forget a record in time, and enters it where it is found.
local function place(record)
  local last = end_of(record)
  redis.call('PEXPIREAT', key, string.format('%.0f', math.ceil(last * 1000)))
  if record.state == 'done' then
    redis.call('ZREM', open, ident)
    redis.call('ZREM', ends, ident)
  else
    enter(open, record.state == 'running' and record.lease_until or now, last)
    enter(ends, last, last)
  end
end

-- Writes down what may have changed of a record.
local function write(record)
  redis.call('ZREM', open, '')  -- changes nothing, and is a write: what is known of a call fits in at any time
  redis.call('HSET', key, 'fingerprint', record.fingerprint, 'token', record.token, 'number', record.number,
    'state', record.state, 'doubt', record.doubt, 'lease_until', said(record.lease_until),
    'kept_until', said(record.kept_until), 'status', record.status)
  place(record)
end

-- --- room --------------------------------------------------------------------------------------------------

-- Takes so many bytes of answers away, of those that would be forgotten first. Their records stay.
local function make_room(bytes)
  for _ = 1, STEP * 8 do
    if bytes <= 0 then return true end
    local first = redis.call('ZPOPMIN', answers)
    if #first == 0 then return false end
    local size = redis.call('HSTRLEN', space .. first[1], 'answer')
    if redis.call('HDEL', space .. first[1], 'answer') == 1 then
      bytes, evicted = bytes - size, evicted + 1
    end
  end
  return bytes <= 0
end

-- Adds to a record, before anything else is written; whether there was room.
local function add(...)
  local reply = redis.pcall('HSET', key, ...)
  if type(reply) ~= 'table' or not reply.err then return true end
  if string.find(reply.err, 'OOM', 1, true) then
    if not make_room(#table.concat({...}) + 16 * select('#', ...)) then return false end
  end
  redis.call('HSET', key, ...)
  return true
end

local function drop(of, ...)
  local dead = redis.call('ZRANGEBYSCORE', of, '-inf', said(now), 'LIMIT', 0, STEP)
  if #dead > 0 then
    for _, set in ipairs({...}) do redis.call('ZREM', set, unpack(dead)) end
  end
end

-- Forgets in the sets what is forgotten.
local function tidy()
  drop(ends, open, ends)
  drop(answers, answers)
end

local function unknown()
  return redis.call('ZCOUNT', open, '-inf', said(now)) - redis.call('ZCOUNT', ends, '-inf', said(now))
end

-- --- transitions -------------------------------------------------------------------------------------------

local does = {}

function does.reserve(token, fingerprint, lease, retain, window, nonce, resend, subject)
  local record, over = load()
  if not record then
    local windowed = tonumber(window) > 0
    if over then redis.call('DEL', key) end
    record = {
      subject = subject, fingerprint = fingerprint, nonce = nonce, token = token, number = 1, state = 'running',
      doubt = '0', created = said(now), lease_until = now + lease, windowed = windowed and '1' or '0',
      retain = retain, kept_until = now + (windowed and window or retain), status = 0,
    }
    local words = {}
    for place, value in ipairs(values_of(record)) do
      words[place * 2 - 1], words[place * 2] = FIELDS[place], value
    end
    -- ABSENT   reserve   the ledger is full              ABSENT, an error
    if not add(unpack(words)) then return 'full' end
    -- ABSENT   reserve   there is room                   RUNNING, OWNED
    place(record)
    tidy()
    return 'owned', shown(record)
  end
  -- any      reserve   another fingerprint               the same, MISMATCH
  if record.fingerprint ~= '' and fingerprint ~= '' and record.fingerprint ~= fingerprint then
    return 'mismatch', shown(record)
  end
  -- DONE     reserve                                     the same, DONE
  local state = state_at(record)
  if state == 'done' then return 'done', shown(record) end
  -- RUNNING  reserve   its own token, even after its lease  the same, OWNED
  if record.state == 'running' and record.token == token then return 'owned', shown(record) end
  -- RUNNING  reserve   any other token                   the same, RUNNING
  if state == 'running' then return 'running', shown(record) end
  -- UNKNOWN  reserve                                     the same, UNKNOWN
  if resend ~= '1' then return 'unknown', shown(record) end
  -- UNKNOWN  reserve   resend                            RUNNING, OWNED, in doubt, with the same nonce
  record.state, record.token, record.doubt = 'running', token, '1'
  if record.fingerprint == '' then record.fingerprint = fingerprint end
  record.number = record.number + 1
  record.lease_until = now + lease
  write(record)
  return 'owned', shown(record)
end

function does.renew(token, lease)
  local record = load()
  -- any      renew     any other token                   the same, false
  -- UNKNOWN  renew     its token, and it has told so     the same, false
  if not record or record.token ~= token or record.state ~= 'running' then return 'no' end
  -- RUNNING  renew     its token                         RUNNING, true
  -- UNKNOWN  renew     its token: it is late             RUNNING, true
  record.lease_until = now + lease
  hold(record)
  write(record)
  return 'yes'
end

function does.finish(token, concluded, fingerprint, status, answer)
  local record = load()
  -- any      finish    any other token                   the same, false
  if not record or record.token ~= token then return 'no' end
  -- DONE     finish    its token: it was told twice      DONE, true
  if record.state == 'done' then return 'yes' end
  -- RUNNING  finish, released   its token                ABSENT, true
  if concluded == 'released' and record.doubt == '0' then
    forget()
    return 'yes'
  end
  -- RUNNING  finish             its token                DONE, true
  -- RUNNING  finish, released   its token, in doubt      UNKNOWN, true
  -- RUNNING  finish, unknown    its token                UNKNOWN, true
  -- UNKNOWN  finish             its token: it is late    as above, true
  if record.fingerprint == '' then record.fingerprint = fingerprint end
  hold(record)
  record.status = status
  record.state = concluded == 'done' and 'done' or 'unknown'
  local kept = answer ~= '' and add('answer', answer)
  write(record)
  if kept then enter(answers, end_of(record), end_of(record)) end
  if answer ~= '' and not kept then evicted = evicted + 1 end
  return 'yes'
end

function does.settle(outcome)
  local record = load()
  -- others   settle                                      the same, false
  if not record or state_at(record) ~= 'unknown' then return 'no' end
  -- UNKNOWN  settle    by a person: absent               ABSENT, true
  if outcome == 'absent' then
    forget()
    return 'yes'
  end
  -- UNKNOWN  settle    by a person: done                 DONE, true, without an answer
  record.state, record.token, record.status = 'done', '', 0
  hold(record)
  write(record)
  return 'yes'
end

-- --- for people and figures --------------------------------------------------------------------------------

function does.look()
  local record = load()
  if not record then return 'absent' end
  return 'found', shown(record)
end

-- A part of the calls whose outcome is not known: the ident of each, and its record. The word is where the next part
-- begins. A whole walk meets all that is there throughout. What the server has lost is not in doubt.
function does.unsettled(cursor)
  local step, found = redis.call('ZSCAN', open, cursor, 'COUNT', STEP), {}
  for place = 1, #step[2], 2 do
    local member, since = step[2][place], tonumber(step[2][place + 1])
    local values = since <= now and redis.pcall('HMGET', space .. member, unpack(FIELDS))
    if values and values[STATE] then
      for at, value in ipairs(values) do values[at] = value or '' end
      found[#found + 1], found[#found + 2] = member, table.concat(values, '\n')
    elseif values and not values.err then
      redis.call('ZREM', open, member)
      redis.call('ZREM', ends, member)
    end
  end
  return step[1], found
end

-- A server that cannot be written (a replica, a full disk) refuses this: it is no ledger.
function does.count()
  redis.call('ZREM', open, '')
  tidy()
  return 'counted'
end

local reply = {'late'}
if deadline == '' or now <= tonumber(deadline) then reply = {does[what](unpack(ARGV, 4))} end
reply[1] = table.concat({said(now), unknown(), evicted, reply[1]}, ' ')
return reply
