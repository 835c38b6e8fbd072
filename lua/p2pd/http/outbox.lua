--- Sends files that came over HTTP to peers, whose `p2pd recv` or server takes them.
-- @classmod p2pd.http.outbox
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local describe = require "p2pd.http.describe"
local outgoing = require "p2pd.http.outgoing"
local partner = require "p2pd.transfer.partner"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"
local transfer = require "p2pd.transfer"
local upload = require "p2pd.http.upload"

local outbox = {}

outbox.RUNNING_MAX = 64

local RETRY_S = 30
local PAUSE_S = 1

local Outbox = { __name = "p2pd.http.outbox" }
Outbox.__index = Outbox

--- @tparam table service node, files, transfers
function outbox.new(service)
  return setmetatable({ service = service, tasks = task.group() }, Outbox)
end

-- -- a body

local function begin(self, address, plan, timeout)
  local kept, reason, code = outgoing.new(self.service.files.path, plan.size)
  if not kept then return problem.of(reason, code) end
  return self.service.transfers:add { direction = "send", peer = address:match "[^-]+$", address = address,
    name = plan.name, state = "uploading", files = 0, bytes = plan.size or 0, kept = kept, timeout = timeout }
end

local function read(self, entry, request, plan)
  local book = self.service.transfers
  local held <close> = task.hold(entry.kept, book:guard(entry))
  local ok, reason, code = upload.read(entry, request, plan)
  if not ok then
    book:set(entry, "failed", reason, code)
    return problem.of(reason, code)
  end
  held:release()
  return entry
end

--- Takes a request's body to send it. Waits until it is here.
-- @tparam request request
-- @tparam table about `to` (what names a peer), `plan` (see @{p2pd.http.upload}), `timeout` (seconds to
-- connect)
-- @treturn table entry of @{p2pd.http.transfers}, to be run; or a problem
function Outbox:take(request, about)
  if self.service.transfers:count "send" >= outbox.RUNNING_MAX then
    return problem.new(503, "too many files are sent")
  end
  local address, reason, code = describe.resolve(self.service.node, about.to)
  if not address then return problem.new(400, reason, code) end
  local entry = begin(self, address, about.plan, about.timeout)
  if problem.is(entry) then return entry end
  return read(self, entry, request, about.plan)
end

-- -- to the peer

local function send_once(self, entry)
  local pipe <close>, failure = self.service.node:connect(entry.address,
    { protocol = partner.PROTOCOL, timeout = entry.timeout })
  if not pipe then return nil, tostring(failure), "EHOSTUNREACH" end
  entry.has_connected, entry.moved = true, 0
  return transfer.send(pipe, { { inside = entry.kept.path } }, {
    total = { files = entry.files, bytes = entry.bytes },
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
