--- The paths of a session, those that live and those that were: what carries it now, and its story.
-- @classmod p2pd.session.paths
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"

local paths = {}

local STORY_MAX = 64 -- paths that are remembered

local Paths = { __name = "p2pd.session.paths" }
Paths.__index = Paths

function paths.new()
  return setmetatable({
    live = {},  -- by number
    story = {}, -- in the order in which they carried the session
    count = 0,  -- that ever carried it
  }, Paths)
end

local function endpoint_of(stream, which)
  local ip, port = stream[which](stream)
  return ip and endpoint.format(ip, port)
end

--- What is to be remembered of a stream that becomes a path.
-- @tparam stream stream
-- @tparam table about strategy, cost, interface, accepted (whether the peer made it), place (closed with it)
-- @treturn table path: these, and `local`, `remote`, `ip` (ours), `remote_ip`, `facts` (the stream's)
function paths.describe(stream, about)
  local path = { strategy = about.strategy, cost = about.cost, interface = about.interface,
    accepted = about.accepted or false, place = about.place, ip = stream:getsockname(),
    remote_ip = stream:getpeername() }
  path["local"], path.remote = endpoint_of(stream, "getsockname"), endpoint_of(stream, "getpeername")
  path.facts = stream:stats() or {}
  return path
end

--- A path lives.
-- @tparam integer number
-- @tparam table path
function Paths:add(number, path)
  path.number = number
  self.live[number] = path
end

--- The path that carries the session, or nil.
function Paths:current()
  return self.at and self.live[self.at]
end

--- A path carries the session from now on.
-- @tparam integer number
-- @treturn ?table the path; nil when it is not known
-- @treturn ?table the one before
function Paths:move(number)
  local path, before = self.live[number], self.last
  if not path or self.at == number then return nil end
  self.at, self.last = number, path
  path.since = core.clock.monotonic()
  self.count = self.count + 1
  table.insert(self.story, path)
  if #self.story > STORY_MAX then table.remove(self.story, 1) end
  return path, before
end

--- A path is over.
-- @tparam integer number
-- @tparam[opt] string why
-- @treturn ?table the path
function Paths:remove(number, why)
  local path = self.live[number]
  if not path then return nil end
  self.live[number] = nil
  if self.at == number then self.at = nil end
  path.ended, path.why = core.clock.monotonic(), why
  if path.place then path.place:close() end
  return path
end

local function summary_of(path, now)
  return {
    strategy = path.strategy, ["local"] = path["local"], remote = path.remote, interface = path.interface,
    accepted = path.accepted, why = path.why,
    since = path.since and now - path.since, seconds = path.since and (path.ended or now) - path.since,
  }
end

--- The paths that have carried the session, in order: strategy, local, remote, interface, accepted (whether
-- the peer made it), since (how many seconds ago it began to), seconds (for which it did), why (it ended).
-- @treturn {table,...}
function Paths:tell()
  local list, now = {}, core.clock.monotonic()
  for i, path in ipairs(self.story) do list[i] = summary_of(path, now) end
  return list
end

--- The same of the one that carries it now, or nil.
function Paths:tell_current()
  local path = self:current()
  return path and summary_of(path, core.clock.monotonic())
end

--- Forgets all: their places are given back.
function Paths:close()
  for number in pairs(self.live) do self:remove(number, "the session is over") end
end

return paths
