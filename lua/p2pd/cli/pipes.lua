--- What commands say of their pipes on standard error: a line at the beginning and one at the end, or JSON.
-- @module p2pd.cli.pipes
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local json = require "dkjson"
local task = require "p2pd.task"
local whom = require "p2pd.whom"

local pipes = {}

local KEYS = { "event", "address", "code", "peer", "name", "strategy", "service", "local", "remote",
  "received", "sent", "seconds", "reason" }

--- Says something, as a JSON object or a line.
-- @tparam boolean as_json
-- @tparam table event what the object has, `event` among it
-- @tparam string format of the line, and what goes into it
function pipes.tell(as_json, event, format, ...)
  if as_json then
    io.stderr:write(json.encode(event, { keyorder = KEYS }), "\n")
  else
    cli.say(format, ...)
  end
end

--- How much has been received and sent, in words; "" when that is not known.
-- @tparam table counts
-- @treturn string
function pipes.count(counts)
  if not counts.received then return "" end
  return (": %d bytes received, %d sent"):format(counts.received, counts.sent)
end

--- A reason behind what else a line says.
-- @tparam ?string reason
-- @treturn string ", " and the reason; "" when there is none
function pipes.because(reason)
  return reason and ", " .. cli.shorten(reason) or ""
end

--- A pipe begins.
-- @tparam pipe pipe
-- @tparam boolean as_json
-- @treturn table for @{finish}
function pipes.begin(pipe, as_json)
  local info = pipe:info() or {}
  local name = whom.name(pipe.peer)
  pipes.tell(as_json, { event = "begin", peer = pipe.peer, name = name, strategy = pipe.strategy,
    ["local"] = info["local"], remote = info.remote },
    "pipe with %s by %s, %s to %s", name, pipe.strategy, info["local"] or "?", info.remote or "?")
  return { peer = pipe.peer, name = name, as_json = as_json, since = core.clock.monotonic() }
end

--- Links a pipe, as `pipe:link` does. When that is interrupted the pipe is broken off: the peer is not to
-- take what has come for all there was.
-- @tparam pipe pipe
-- @tparam table parts see @{p2pd.stream.link}
-- @return what that returns
function pipes.link(pipe, parts)
  local whole <close> = task.hold(setmetatable({}, { __close = function() pipe:abort() end }))
  local counts, reason, code, failed = pipe:link(parts)
  whole:release()
  return counts, reason, code, failed
end

--- It has ended.
-- @tparam table begun
-- @tparam table counts received and sent
-- @tparam[opt] string reason when it is no orderly end
function pipes.finish(begun, counts, reason)
  local seconds = core.clock.monotonic() - begun.since
  pipes.tell(begun.as_json, { event = "end", peer = begun.peer, name = begun.name, received = counts.received,
    sent = counts.sent, seconds = cli.digits(seconds), reason = reason },
    "pipe with %s ended%s%s", begun.name, pipes.count(counts), pipes.because(reason))
end

return pipes
