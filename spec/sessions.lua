--- Two sessions that are each other's, and paths between them over loopback.
local core = require "p2pd.core"
local relays = require "spec.relays"

local sessions = {}

local Pair = {}
Pair.__index = Pair

--- Another path, through a relay that can cut it: links[n], with cut().
-- @treturn integer its number at a
-- @treturn integer and at b
function Pair:attach()
  local link, near, far = relays.new()
  self.links[#self.links + 1] = link
  return assert(self.a:attach(near)), assert(self.b:attach(far))
end

function Pair:__close()
  for _, link in ipairs(self.links) do link:cut() end
  self.near:abort()
  self.far:abort()
  self.a:abort()
  self.b:abort()
end

--- Two sessions with `paths` paths (1), and their streams: a, the initiator, with near; b with far.
-- @tparam[opt] table options of core.session.new
-- @tparam[opt=1] integer paths
-- @treturn table to be closed
function sessions.pair(options, paths)
  options = options or {}
  local function new(initiator)
    return core.session.new { initiator = initiator, silence = options.silence, keep_max = options.keep_max }
  end
  local pair = setmetatable({ a = new(true), b = new(false), links = {} }, Pair)
  pair.near, pair.far = assert(pair.a:stream()), assert(pair.b:stream())
  for _ = 1, paths or 1 do pair:attach() end
  return pair
end

--- Fails unless the next events are of these types.
-- @treturn table the last of them
function sessions.expect(session, ...)
  local event
  for _, type in ipairs { ... } do
    event = assert(session:event(10))
    assert(event.type == type, ("%s expected, got %s (%s)"):format(type, event.type, event.reason))
  end
  return event
end

local words = {}
for i = 1, 8190 do words[i] = string.pack("<I8", i * 0x9E3779B97F4A7C15) end
local BLOCK = table.concat(words):sub(1, 65519) -- a prime: nothing else comes in steps of it

--- Bytes in which a part that is lost, or comes twice, shows.
function sessions.noise(count)
  return BLOCK:rep(count // #BLOCK + 1):sub(1, count)
end

return sessions
