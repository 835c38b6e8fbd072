--- Routes of /v1 about transfers of files: sending one, taking what is offered, and what is under way.
-- @module p2pd.http.v1.transfers
local describe = require "p2pd.http.describe"
local problem = require "p2pd.http.problem"
local transfers = require "p2pd.http.transfers"
local upload = require "p2pd.http.upload"

local object, ref = describe.object, describe.ref

local ID = { id = { type = "string", description = "A transfer's id." } }

-- -- what is under way

local function list_transfers(call)
  local list, book = describe.list(), call.service.transfers
  for i, entry in ipairs(book.order) do list[i] = book:report(entry) end
  return call:send_json(200, { transfers = list })
end

local function with_transfer(handler)
  return problem.or_found(function(call) return call.service.transfers:find(call.params.id) end, handler)
end

local show_transfer = with_transfer(function(call, entry)
  local book = call.service.transfers
  if call.query.wait then book:wait(entry, call.query.wait) end
  return call:send_json(200, book:report(entry))
end)

local remove_transfer = with_transfer(function(call, entry)
  local service = call.service
  if transfers.is_over(entry) then
    service.transfers:forget(entry)
  elseif entry.direction == "receive" then
    service.inbox:refuse(entry)
  else
    service.transfers:cancel(entry)
  end
  return call:send_nothing(204)
end)

local function with_files(handler)
  return function(call)
    if not call.service.files then return problem.new(501, "there is no folder for files") end
    return handler(call)
  end
end

-- -- sending

local function send_report(call, status, entry)
  return call:send_json(status, call.service.transfers:report(entry),
    { Location = "/v1/transfers/" .. entry.id })
end

-- What was taken is canceled when nobody waits for the answer any more.
local function wait_sent(call, entry)
  local book = call.service.transfers
  local _ <close> = setmetatable({}, { __close = function() book:cancel(entry) end })
  book:wait(entry)
  if entry.state == "done" then return send_report(call, 201, entry) end
  return problem.of(entry.error, entry.code)
end

local send_files = with_files(function(call)
  local outbox, query = call.service.outbox, call.query
  local plan = upload.plan(call.headers, query.name)
  if problem.is(plan) then return plan end
  local entry = outbox:take(call.request, { to = query.to, plan = plan, timeout = query.timeout })
  if problem.is(entry) then return entry end
  outbox:start(entry)
  if query.background then return send_report(call, 202, entry) end
  return wait_sent(call, entry)
end)

-- -- receiving

local accept_files = with_files(function(call)
  local entry = call.service.inbox:accept(call.body.id, call.body.timeout or 30)
  if problem.is(entry) then return entry end
  return call:send_json(200, call.service.transfers:report(entry))
end)

local TRANSFER = { description = "The transfer.", schema = ref "Transfer" }
local ACCEPT = object { id = { type = "string" }, timeout = { type = "number", minimum = 0, maximum = 600 } }
ACCEPT.additionalProperties = false

return {
  { method = "GET", path = "/v1/transfers", id = "listTransfers", tag = "files", handler = list_transfers,
    summary = "Transfers of files that wait or run, with their progress, and reports of the last ones.",
    answers = { [200] = { description = "The transfers, the oldest first.", schema = object({
      transfers = describe.array(ref "Transfer") }, { "transfers" }) } } },
  { method = "POST", path = "/v1/transfers", id = "sendFiles", tag = "files", handler = send_files,
    waits = true, body = "bytes", form = "Files, with folders in their names where they have some.",
    query = {
      to = { type = "string", maxLength = 2048, required = true,
        description = "The peer: an address, a node id, a contact's name or a code." },
      name = { type = "string", minLength = 1, maxLength = 255,
        description = "The file's name; with a form the folder into which its files are put." },
      timeout = { type = "number", minimum = 0, maximum = 600, default = 20,
        description = "Seconds to connect." },
      background = { type = "boolean", default = false,
        description = "Answer once the body is here, and not once the peer has it." },
    },
    summary = "Sends the body, of any size, as a file, or a form's files: `p2pd recv` takes them, and a "
      .. "peer's server. Waits until the peer has them.",
    answers = { [201] = { description = "The peer has all.", schema = ref "Transfer" },
      [202] = { description = "They are being sent.", schema = ref "Transfer" } } },
  { method = "POST", path = "/v1/transfers/accept", id = "acceptFiles", tag = "files",
    handler = accept_files, waits = true, body = ACCEPT,
    summary = "Takes what a peer offers: what has this `id`, else the oldest offer, or the first within "
      .. "`timeout` seconds (30).",
    answers = { [200] = TRANSFER } },
  { method = "GET", path = "/v1/transfers/{id}", id = "getTransfer", tag = "files", handler = show_transfer,
    params = ID, waits = true,
    query = { wait = { type = "number", minimum = 0, maximum = 600,
      description = "Answer when it is over, within so many seconds." } },
    summary = "A transfer, also while it runs.", answers = { [200] = TRANSFER } },
  { method = "DELETE", path = "/v1/transfers/{id}", id = "removeTransfer", tag = "files",
    handler = remove_transfer, params = ID,
    summary = "Refuses an offer, cancels what runs, or forgets the report of what is over.",
    answers = { [204] = { description = "It is done." } } },
}
