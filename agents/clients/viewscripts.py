"""The scripts by which views are written in Valkey or Redis: each looks, compares and writes with nothing in between.

Of those that write, the first key is the pointer that must have the first argument as its value, else the answer is
`moved`.  Every answer is one text, however much is in it: in Python that is read in a tenth of the time of a list.
Keys of several customers, or keys made in a script, need a server that is no cluster.
"""

import hashlib
from typing import Final

MOVED: Final = b"moved"

STATES: Final = """
-- keys: pointer, one of each customer; arguments: generation, then position and document of each
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'moved' end
local results = {}
for i = 2, #KEYS do
  local position, document = ARGV[2 * i - 2], ARGV[2 * i - 1]
  local known = redis.call('HGET', KEYS[i], 'position')
  if known and known >= position then
    results[i - 1] = known == position and 0 or -1
  else
    if document == '' then
      redis.call('HSET', KEYS[i], 'position', position)
      redis.call('HDEL', KEYS[i], 'state')
    else
      redis.call('HSET', KEYS[i], 'position', position, 'state', document)
    end
    results[i - 1] = 1
  end
end
return table.concat(results, ' ')
"""
ENTRIES: Final = """
-- keys: pointer, one of each customer; arguments: generation, then of each the number of its entries, and of each
-- entry position, id, document (empty: remove) and the moment before which others have ended (empty: none)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'moved' end
local results, at = {}, 2
for i = 2, #KEYS do
  local key, known, written = KEYS[i], redis.call('HGET', KEYS[i], 'position') or '', 0
  local last = at + 4 * tonumber(ARGV[at])
  at = at + 1
  while at <= last do
    local position, id, document, now = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    at = at + 4
    if position > known then
      known, written = position, written + 1
      if now ~= '' then
        local all = redis.call('HGETALL', key)
        for n = 1, #all, 2 do
          if all[n] ~= 'position' and cjson.decode(all[n + 1]).valid_until < now then
            redis.call('HDEL', key, all[n])
          end
        end
      end
      if document == '' then redis.call('HDEL', key, id) else redis.call('HSET', key, id, document) end
    end
  end
  if written > 0 then redis.call('HSET', key, 'position', known) end
  results[i - 1] = written
end
return table.concat(results, ' ')
"""
MARKS: Final = """
-- keys: pointer, marks; arguments: generation, then of each source its name, the mark that must stand there, and the
-- mark that shall; answers what stands there now
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'moved' end
local standing = {}
for i = 2, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[2], ARGV[i]) or ''
  if known == ARGV[i + 1] then
    known = ARGV[i + 2]
    redis.call('HSET', KEYS[2], ARGV[i], known)
  end
  standing[#standing + 1] = known
end
return cmsgpack.pack(standing)
"""

BEGIN: Final = """
-- keys: pointer, list of generations; arguments: the generation that is begun if there is none
local generation = redis.call('GET', KEYS[1])
if not generation then
  generation = ARGV[1]
  redis.call('SET', KEYS[1], generation)
end
redis.call('SADD', KEYS[2], generation)
return generation
"""
BUILD: Final = """
-- keys: the sign that a rebuild is at work, list of generations; arguments: generation, seconds
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return '' end
redis.call('SADD', KEYS[2], ARGV[1])
return ARGV[1]
"""
KEEP: Final = """
-- keys: the sign that a rebuild is at work; arguments: generation, seconds; without seconds the sign is taken away
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'moved' end
if ARGV[2] then redis.call('EXPIRE', KEYS[1], ARGV[2]) else redis.call('DEL', KEYS[1]) end
return ''
"""
SWITCH: Final = """
-- keys: the sign that a rebuild is at work, pointer; arguments: the generation that is to be used from here on
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'moved' end
local replaced = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
return replaced or ''
"""
PARTITIONS: Final = """
-- keys: pointer, numbers; arguments: generation, then name and number in turn; a number only grows
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'moved' end
for i = 2, #ARGV, 2 do
  if tonumber(redis.call('HGET', KEYS[2], ARGV[i]) or 0) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
return ''
"""
READ: Final = """
-- keys: pointer; arguments: what all keys begin with, customer
local generation = redis.call('GET', KEYS[1])
if not generation then return 'moved' end
local root = ARGV[1] .. ':' .. generation .. ':'
local found = {}
for i, name in ipairs({'customer:', 'actions:', 'suppressions:'}) do
  found[i] = redis.call('HGETALL', root .. name .. ARGV[2])
end
found[4] = redis.call('HGETALL', root .. 'marks')
found[5] = redis.call('HGETALL', root .. 'partitions')
return cmsgpack.pack(found)
"""


def sha1(script: str) -> str:
    """Return the name under which a server knows a script."""
    return hashlib.sha1(script.encode()).hexdigest()  # noqa: S324 - Redis names scripts so


ALL: Final = (STATES, ENTRIES, MARKS, PARTITIONS, READ, BEGIN, BUILD, KEEP, SWITCH)
