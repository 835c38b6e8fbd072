--- Transfers of files with peers: those that wait or run, and the reports of those that ran last.
-- @classmod p2pd.http.transfers
local core = require "p2pd.core"
local describe = require "p2pd.http.describe"
local id = require "p2pd.id"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"
local url = require "p2pd.http.url"

local transfers = {}

transfers.KEPT_MAX = 256  -- reports
transfers.ITEMS_MAX = 1000 -- files of one that a report names; the last ones

local IS_OVER = { done = true, failed = true, refused = true, canceled = true }

local Transfers = { __name = "p2pd.http.transfers" }
Transfers.__index = Transfers

--- @tparam feed feed that is told of transfers
function transfers.new(feed)
  return setmetatable({ feed = feed, by_id = {}, order = {} }, Transfers)
end

-- -- reports

local function hex(bytes)
  return bytes and (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- Received files have a path at /v1/files.
local function item_of(entry, event)
  local item = { path = event.path, size = event.size, sha256 = hex(event.digest), how = event.how,
    error = event.reason }
  if entry.direction == "receive" and event.type == "file" then
    item.url = transfers.url_of(entry.peer .. "/" .. event.path)
  end
  return item
end

--- Where a received file can be had.
-- @tparam string path in the folder of files
-- @treturn string
function transfers.url_of(path)
  return "/v1/files/" .. url.encode(path):gsub("%%2F", "/")
end

--- A transfer's report.
-- @param _ the transfers
-- @tparam table entry
-- @treturn table
function Transfers.report(_, entry)
  local seconds = (entry.ended or core.clock.monotonic()) - entry.since
  return {
    id = entry.id, direction = entry.direction, peer = entry.peer, name = entry.name, state = entry.state,
    files = entry.files, bytes = entry.bytes, moved = entry.moved, saved = entry.saved,
    items = describe.list(table.move(entry.items, 1, #entry.items, 1, {})), error = entry.error,
    code = entry.code, seconds = tonumber(("%.6g"):format(seconds)),
  }
end

local function tell(self, entry)
  self.feed:publish("transfer", self:report(entry))
  entry.changed:broadcast()
end

-- -- their lives

local function drop_old(self)
  local at = 1
  while #self.order > transfers.KEPT_MAX and self.order[at] do
    if IS_OVER[self.order[at].state] then
      self.by_id[table.remove(self.order, at).id] = nil
    else
      at = at + 1
    end
  end
end

--- Begins one.
-- @tparam table about `direction` ("send", "receive"), `peer`, `state` ("uploading", "offered", "running"),
-- `files`, `bytes`, and what the one who runs it needs
-- @treturn table entry: also `id`, `moved` (bytes), `saved` (files), `changed` (a condition)
function Transfers:add(about)
  local entry = { id = id.new(), moved = 0, saved = 0, items = {}, since = core.clock.monotonic(),
    changed = task.condition() }
  for key, value in pairs(about) do entry[key] = value end
  self.by_id[entry.id] = entry
  table.insert(self.order, entry)
  tell(self, entry)
  return entry
end

--- Changes a state, unless it is over.
-- @tparam table entry
-- @tparam string state
-- @tparam[opt] string reason
-- @tparam[opt] string code
function Transfers:set(entry, state, reason, code)
  if IS_OVER[entry.state] then return end
  entry.state, entry.error, entry.code = state, reason, code
  if IS_OVER[state] then entry.ended = core.clock.monotonic() end
  tell(self, entry)
  drop_old(self)
end

--- Notes what has become of a file.
-- @param _ the transfers
-- @tparam table entry
-- @tparam table event of @{p2pd.transfer}
function Transfers.note(_, entry, event)
  if event.type == "begin" then return end
  if event.type == "file" then entry.saved = entry.saved + 1 end
  if event.type == "failed" then
    entry.fault = entry.fault or (event.path and event.path .. ": " or "") .. event.reason
  end
  if #entry.items == transfers.ITEMS_MAX then table.remove(entry.items, 1) end
  table.insert(entry.items, item_of(entry, event))
end

--- Ends one with what @{p2pd.transfer} has returned.
-- @tparam table entry
-- @tparam ?table summary
-- @tparam ?string reason
-- @tparam ?string code
function Transfers:conclude(entry, summary, reason, code)
  if not summary then return self:set(entry, "failed", reason, code) end
  if summary.failed == 0 then return self:set(entry, "done") end
  self:set(entry, "failed", entry.fault, "EEXIST")
end

--- Whether it has ended, however.
function transfers.is_over(entry)
  return IS_OVER[entry.state] or false
end

--- Waits until one is over.
-- @param _ the transfers
-- @tparam table entry
-- @tparam[opt] number seconds at most
function Transfers.wait(_, entry, seconds)
  local function wait()
    while not IS_OVER[entry.state] do entry.changed:wait() end
    return true
  end
  if seconds then return task.timeout(seconds, wait) end
  return wait()
end

--- Notes that one was canceled when a block is left before it is over: `local _ <close> = book:guard(entry)`.
function Transfers:guard(entry)
  return setmetatable({}, { __close = function()
    self:set(entry, "canceled", "it was canceled", "ECANCELED")
  end })
end

--- Cancels one that is not over.
function Transfers:cancel(entry)
  if IS_OVER[entry.state] then return end
  self:set(entry, "canceled", "it was canceled", "ECANCELED")
  if entry.task then entry.task:cancel() end
end

--- Forgets the report of one that is over.
function Transfers:forget(entry)
  self.by_id[entry.id] = nil
  for i, one in ipairs(self.order) do
    if one == entry then return table.remove(self.order, i) end
  end
end

--- How many of a direction are not over.
function Transfers:count(direction)
  local count = 0
  for _, entry in ipairs(self.order) do
    if entry.direction == direction and not IS_OVER[entry.state] then count = count + 1 end
  end
  return count
end

--- @treturn table entry; or a problem
function Transfers:find(wanted)
  return self.by_id[wanted] or problem.new(404, "no transfer has this id")
end

return transfers
