--- Files and folders over a pipe: of any size, in the memory of a few blocks. Each file has a checksum that
-- both sides compute, is kept apart (`NAME.p2pd.part`) until it is whole, and is taken up where it ended when
-- it is sent again. Names are made safe, links lead nowhere outside, and nothing is overwritten unless that
-- is wanted.
-- @module p2pd.transfer
-- @usage
-- -- here                                              -- there
-- local pipe <close> = assert(node:accept "files/1")   local pipe <close> = assert(node:connect(address,
-- assert(transfer.send(pipe, { "photos" }))              { protocol = transfer.PROTOCOL }))
--                                                      assert(transfer.receive(pipe, "."))
local options = require "p2pd.options"
local partner = require "p2pd.transfer.partner"
local receiver = require "p2pd.transfer.receiver"
local sender = require "p2pd.transfer.sender"
local walk = require "p2pd.transfer.walk"

local transfer = {}

--- What such a pipe is called: `node:accept(transfer.PROTOCOL)`.
transfer.PROTOCOL = partner.PROTOCOL

local FUNCTION = options.is_a "function"
local SEND = { on_event = FUNCTION, on_bytes = FUNCTION, total = options.is_a "table" }
local RECEIVE = { on_event = FUNCTION, on_bytes = FUNCTION, overwrite = options.BOOLEAN, admit = FUNCTION,
  stop = FUNCTION }

local function nothing() end

-- Counts what becomes of the files, and tells of it.
local function with_summary(given)
  local summary = { files = 0, bytes = 0, failed = 0 }
  local all = { on_bytes = given.on_bytes or nothing, overwrite = given.overwrite, total = given.total,
    admit = given.admit, stop = given.stop }
  function all.on_event(event)
    if event.type == "file" then
      summary.files, summary.bytes = summary.files + 1, summary.bytes + event.size
    elseif event.type == "failed" then
      summary.failed = summary.failed + 1
    end
    if given.on_event then given.on_event(event) end
  end
  return all, summary
end

--- How much there is below some paths.
-- @function count
-- @tparam {string,...} paths
-- @treturn table `files`, `bytes`; or nil, message, code
transfer.count = walk.count

--- Sends files and folders, until the receiver has said what has become of each.
-- @tparam pipe pipe whose other side receives
-- @tparam {string,...} paths or, instead of one, a table: `path`, and `name` by which it is sent; or
-- `inside`, a folder in which everything is sent by its own name
-- @tparam[opt] table given on_event (function of a table: `type` "file" with `path`, `size`, `digest`
-- (SHA-256, 32 bytes) and `how` ("saved", "resumed", "same": it was there), or "failed" with `path` and
-- `reason`), on_bytes (function of a number: bytes that have left, or need not), total (what @{count} says)
-- @treturn table `files`, `bytes`, `failed`: how many; or nil, message, code when the pipe broke, or the
-- other side can't take more or has stopped (ECANCELED): sent again it goes on from there
-- @raise for an option that is not known or of a wrong kind
function transfer.send(pipe, paths, given)
  given = given or {}
  options.check(given, SEND, "transfer.send")
  local all, summary = with_summary(given)
  local ok, reason, code = sender.run(pipe, paths, all)
  if not ok then return nil, reason, code end
  return summary
end

--- Receives what the other side sends.
-- @tparam pipe pipe whose other side sends
-- @tparam string folder into which it goes
-- @tparam[opt] table given overwrite (true: files of the same name are replaced), on_event (as @{send}'s;
-- first comes one of the type "begin", with `files` and `bytes`), on_bytes, admit (function of a table,
-- `files`, `bytes` and `name` (of the first entry), which may wait: true when they are wanted, else nil and
-- the reason for the other side), stop (function that waits until nothing more is wanted, and returns why:
-- the other side is told, and does not come back)
-- @treturn table `files`, `bytes`, `failed`: how many; or nil, message, code (ECANCELED: it was stopped)
-- @raise for an option that is not known or of a wrong kind
function transfer.receive(pipe, folder, given)
  given = given or {}
  options.check(given, RECEIVE, "transfer.receive")
  local all, summary = with_summary(given)
  local ok, reason, code = receiver.run(pipe, folder, all)
  if not ok then return nil, reason, code end
  return summary
end

return transfer
