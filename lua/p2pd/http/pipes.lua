--- The pipes that the API's users hold: by id, until somebody closes them or the server goes.
-- @classmod p2pd.http.pipes
local core = require "p2pd.core"
local id = require "p2pd.id"
local problem = require "p2pd.http.problem"

local pipes = {}

pipes.MAX = 4096

local Pipes = { __name = "p2pd.http.pipes" }
Pipes.__index = Pipes

function pipes.new()
  return setmetatable({ by_id = {}, count = 0 }, Pipes)
end

--- Keeps a pipe.
-- @tparam pipe pipe taken over
-- @tparam boolean is_accepted whether the peer has made it
-- @treturn table entry: `id`, `pipe`, `accepted`, `state`; or a problem
function Pipes:add(pipe, is_accepted)
  if self.count >= pipes.MAX then
    pipe:close()
    return problem.new(503, "too many pipes are open")
  end
  local entry = { id = id.new(), pipe = pipe, accepted = is_accepted, state = "open",
    since = core.clock.monotonic() }
  self.by_id[entry.id], self.count = entry, self.count + 1
  return entry
end

--- Finds one.
-- @treturn table entry; or a problem
function Pipes:find(wanted)
  return self.by_id[wanted] or problem.new(404, "no pipe has this id")
end

--- Takes the right to read a pipe: one reads at a time.
-- @tparam table entry
-- @treturn closable; or a problem
function pipes.take_reader(entry)
  if entry.reader then return problem.new(409, "somebody else reads this pipe", "EBUSY") end
  local right = setmetatable({}, { __close = function() entry.reader = nil end })
  entry.reader = right
  return right
end

--- Reads a pipe, and notes its end.
-- @tparam table entry
-- @tparam[opt] integer max
-- @return as pipe:recv
function pipes.recv(entry, max)
  local data, reason, code = entry.pipe:recv(max)
  if not data and code ~= "ETIMEDOUT" then entry.state = reason and "failed" or "ended" end
  return data, reason, code
end

--- Copies to a stream what a pipe's peer sends, and notes its end. Waits.
-- @tparam table entry
-- @tparam stream stream
-- @return as pipe:copy_to
function pipes.copy(entry, stream)
  local bytes, reason, code, copied, of_pipe = entry.pipe:copy_to(stream)
  if bytes or of_pipe then entry.state = bytes and "ended" or "failed" end
  return bytes, reason, code, copied, of_pipe
end

--- Closes a pipe.
function Pipes:remove(entry)
  if not self.by_id[entry.id] then return end
  self.by_id[entry.id], self.count = nil, self.count - 1
  entry.pipe:close()
end

--- All, the oldest first.
function Pipes:list()
  local list = {}
  for _, entry in pairs(self.by_id) do list[#list + 1] = entry end
  table.sort(list, function(a, b) return a.since < b.since or a.since == b.since and a.id < b.id end)
  return list
end

--- Closes all.
function Pipes:close()
  for _, entry in ipairs(self:list()) do self:remove(entry) end
end

Pipes.__close = Pipes.close

return pipes
