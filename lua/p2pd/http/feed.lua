--- What happens, numbered: server-sent events (HTML, section 9.2) for any number of listeners, who can go on
-- where they were cut off.
-- @classmod p2pd.http.feed
local core = require "p2pd.core"
local json = require "dkjson"
local task = require "p2pd.task"

local feed = {}

feed.KEPT_MAX = 1024 -- events that are kept for who comes back

local Feed = { __name = "p2pd.http.feed" }
Feed.__index = Feed

--- @tparam node node
function feed.new(node)
  local self = setmetatable({ node = node, kept = {}, first = 1, last = 0, news = task.condition(),
    run = (core.random.bytes(6):gsub(".", function(c) return ("%02x"):format(c:byte()) end)),
    tasks = task.group(), watchers = {} }, Feed)
  self.tasks:detach(self.listen, self)
  return self
end

-- An event as it is sent.
local function format(id, kind, value)
  return ("%sevent: %s\ndata: %s\n\n"):format(id and ("id: %s\n"):format(id) or "", kind, json.encode(value))
end

--- Publishes an event.
-- @tparam string kind
-- @tparam table value
function Feed:publish(kind, value)
  self.last = self.last + 1
  self.kept[self.last] = format(self.run .. "-" .. self.last, kind, value)
  if self.last - self.first >= feed.KEPT_MAX then
    self.kept[self.first] = nil
    self.first = self.first + 1
  end
  for _, watch in ipairs(self.watchers) do watch(kind, value) end
  self.news:broadcast()
end

-- The present state is for each listener when it comes, and not for those who are there.
function Feed:listen()
  local listener <close> = self.node:events()
  while listener:next(0) do end -- luacheck: ignore
  for event in listener do self:publish(event.type, event) end
  self.ended = true
  self.news:broadcast()
end

--- Calls a function with each event, at once.
-- @tparam function watch of kind and value; must not wait
function Feed:watch(watch)
  table.insert(self.watchers, watch)
end

local function present(self)
  local parts = {}
  local listener <close> = self.node:events()
  for event in function() return (listener:next(0)) end do parts[#parts + 1] = format(nil, event.type,
    event) end
  return table.concat(parts)
end

-- The number of the last event that a listener has had; nil when it can't go on from there.
local function place_of(self, last_id)
  local run, number = (last_id or ""):match "^(%x+)-(%d+)$"
  number = run == self.run and math.tointeger(tonumber(number))
  if number and number >= self.first - 1 and number <= self.last then return number end
end

local Reader = {}
Reader.__index = Reader

--- Begins to read.
-- @tparam[opt] string last_id of the last event that the listener has had: it goes on from there when that is
-- possible; else the present state comes first, after a "missed" event when there was an id
-- @treturn reader with `next`
function Feed:read(last_id)
  local place = place_of(self, last_id)
  local reader = setmetatable({ feed = self, at = place or self.last }, Reader)
  if not place then
    reader.head = (last_id and format(nil, "missed", {}) or "") .. present(self)
      .. ("id: %s-%d\n: from here on\n\n"):format(self.run, self.last)
  end
  return reader
end

--- The text of what has happened since the last call. Waits.
-- @tparam[opt] number timeout seconds
-- @treturn string; or nil, message, code (EBADF at the end, ETIMEDOUT)
function Reader:next(timeout)
  local head, from = self.head, self.feed
  if head then
    self.head = nil
    return head
  end
  if self.at == from.last then
    if from.ended then return nil, "the node is closed", "EBADF" end
    from.news:wait(timeout)
    if self.at == from.last then return nil, "timed out", "ETIMEDOUT" end
  end
  local parts = {}
  if self.at < from.first - 1 then
    parts[1] = format(nil, "missed", { missed = from.first - 1 - self.at })
    self.at = from.first - 1
  end
  for number = self.at + 1, from.last do parts[#parts + 1] = from.kept[number] end
  self.at = from.last
  return table.concat(parts)
end

--- Nothing more is published.
function Feed:close()
  self.ended = true
  self.tasks:cancel()
  self.news:broadcast()
end

Feed.__close = Feed.close

return feed
