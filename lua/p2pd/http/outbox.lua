--- Sends files that came over HTTP to peers, whose `p2pd recv` or server takes them.
-- @classmod p2pd.http.outbox
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local describe = require "p2pd.http.describe"
local names = require "p2pd.transfer.names"
local outgoing = require "p2pd.http.outgoing"
local partner = require "p2pd.transfer.partner"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"
local transfer = require "p2pd.transfer"
local transfers = require "p2pd.http.transfers"

local outbox = {}

outbox.RUNNING_MAX = 64

local PIECE = 64 * 1024
local RETRY_S = 30
local PAUSE_S = 1

local Outbox = { __name = "p2pd.http.outbox" }
Outbox.__index = Outbox

--- @tparam table service node, files, transfers
function outbox.new(service)
  return setmetatable({ service = service, tasks = task.group() }, Outbox)
end

-- -- a body

local function check_name(name)
  local safe, reason = names.make_safe(name)
  if not safe then return problem.new(400, reason, "EINVAL") end
  if safe:find("/", 1, true) then return problem.new(400, "a name has no slash", "EINVAL") end
  return safe
end

-- Until its end, or until somebody has canceled the transfer.
local function read_body(entry, request)
  while true do
    local data, reason, code = request:recv(PIECE)
    if transfers.is_over(entry) then return nil, entry.error, entry.code end
    if not data and reason then return nil, reason, code end
    if not data then return entry.kept:finish() end
    local ok
    ok, reason, code = entry.kept:write(data)
    if not ok then return nil, reason, code end
    entry.bytes = entry.kept.size
  end
end

local function begin(self, address, name, about)
  local kept, reason, code = outgoing.new(self.service.files.path, about.size)
  if not kept then return problem.of(reason, code) end
  return self.service.transfers:add { direction = "send", peer = address:match "[^-]+$", address = address,
    name = name, state = "uploading", files = 1, bytes = about.size or 0, kept = kept,
    timeout = about.timeout }
end

--- Takes a request's body to send it. Waits until it is here.
-- @tparam request request
-- @tparam table about `to` (what names a peer), `name`, `size` (nil: not known), `timeout` (seconds to
-- connect)
-- @treturn table entry of @{p2pd.http.transfers}, to be run; or a problem
function Outbox:take(request, about)
  if self.service.transfers:count "send" >= outbox.RUNNING_MAX then
    return problem.new(503, "too many files are sent")
  end
  local name = check_name(about.name)
  if problem.is(name) then return name end
  local address, reason, code = describe.resolve(self.service.node, about.to)
  if not address then return problem.new(400, reason, code) end
  local entry = begin(self, address, name, about)
  if problem.is(entry) then return entry end
  local held <close> = task.hold(entry.kept, self.service.transfers:guard(entry))
  local ok
  ok, reason, code = read_body(entry, request)
  if not ok then
    self.service.transfers:set(entry, "failed", reason, code)
    return problem.of(reason, code)
  end
  held:release()
  return entry
end

-- -- to the peer

local function send_once(self, entry)
  local pipe <close>, failure = self.service.node:connect(entry.address,
    { protocol = partner.PROTOCOL, timeout = entry.timeout })
  if not pipe then return nil, tostring(failure), "EHOSTUNREACH" end
  entry.has_connected, entry.moved = true, 0
  return transfer.send(pipe, { { path = entry.kept.path, name = entry.name } }, {
    total = { files = 1, bytes = entry.bytes },
    on_bytes = function(count) entry.moved = entry.moved + count end,
    on_event = function(event) self.service.transfers:note(entry, event) end,
  })
end

-- Over one pipe after the other, as long as more arrives.
local function send(self, entry)
  local most, limit = 0, nil
  while true do
    local summary, reason, code = send_once(self, entry)
    if summary or partner.is_final(code) or not entry.has_connected then return summary, reason, code end
    if not limit or entry.moved > most then
      most, limit = entry.moved, deadline.after(RETRY_S)
    end
    if limit:has_passed() then return nil, reason, code end
    core.task.sleep(PAUSE_S)
  end
end

local function run(self, entry)
  local _ <close>, book = entry.kept, self.service.transfers
  local over <close> = book:guard(entry) -- luacheck: ignore
  book:set(entry, "running")
  book:conclude(entry, send(self, entry))
end

--- Sends what was taken, in the background.
-- @tparam table entry
function Outbox:start(entry)
  entry.task = self.tasks:detach(run, self, entry)
end

--- Ends all.
function Outbox:close()
  self.tasks:cancel()
end

Outbox.__close = Outbox.close

return outbox
