--- Asks whether what a sender tells of is wanted, before anything of it is taken. What the sender says
-- meanwhile is kept for later; and when it goes, nobody needs to answer any more.
-- @classmod p2pd.transfer.admission
local names = require "p2pd.transfer.names"
local task = require "p2pd.task"
local text = require "p2pd.text"

local admission = {}

local KEPT_MAX = 64 * 1024 -- bytes of frames, before no more are read
local FRAME = 5            -- bytes of one's header
local UNWANTED = "it is not wanted"

local Admission = { __name = "p2pd.transfer.admission" }
Admission.__index = Admission

--- @tparam wire wire
-- @tparam[opt] function admit of a table, `files`, `bytes` and `name` (of the first one): true when they are
-- wanted, else nil and the reason
-- @treturn admission
function admission.new(wire, admit)
  return setmetatable({ wire = wire, admit = admit, kept = {}, at = 1 }, Admission)
end

--- The next frame, as @{p2pd.transfer.wire.get} gives it.
function Admission:get(bulk)
  local frame = self.kept[self.at]
  if not frame then return self.wire:get(bulk) end
  self.kept[self.at], self.at = nil, self.at + 1
  if frame.kind == bulk then return nil, "not what p2pd sends", "EPROTO" end
  return frame.kind, frame.body
end

-- Until the sender goes, or has said enough.
local function keep_frames(self)
  local size = 0
  while size < KEPT_MAX do
    local kind, body, code = self.wire:get()
    if not kind then return { gone = { body, code } } end
    self.kept[#self.kept + 1] = { kind = kind, body = body }
    size = size + FRAME + #body
  end
  return nil, "enough"
end

local function name_of(path)
  return text.printable((names.make_safe(path) or path):match "^[^/]*", 255)
end

--- Asks, once: later calls find that all is wanted.
-- @tparam table total `files`, `bytes`
-- @tparam string path of the first entry
-- @treturn boolean true; or nil, message, code when the sender has gone
-- @treturn ?string why nothing is wanted
function Admission:ask(total, path)
  local admit = self.admit
  if not admit then return true end
  self.admit = nil
  local about = { files = total.files, bytes = total.bytes, name = name_of(path) }
  local answer = assert(task.race {
    function() return { verdict = table.pack(admit(about)) } end,
    function() return keep_frames(self) end,
  })
  if answer.gone then return nil, table.unpack(answer.gone) end
  local is_wanted, reason = table.unpack(answer.verdict)
  return true, not is_wanted and (reason or UNWANTED) or nil
end

return admission
