--- What is wrong with a node's network, told to people: one line a problem, when it begins, and another level
-- for what does not keep anybody from reaching the node.
-- @classmod p2pd.node.trouble
local core = require "p2pd.core"

local trouble = {}

local BRIEF = 200 -- characters of a reason

local Trouble = { __name = "p2pd.node.trouble" }
Trouble.__index = Trouble

--- What a user is told when nothing can be reached.
-- @tparam table options is_online (function: whether a broker answers), is_offline (function: whether nobody
-- outside has told our address), write (function of the level and the line; else the log)
function trouble.new(options)
  return setmetatable({
    is_online = options.is_online,
    is_offline = options.is_offline,
    write = options.write or core.log.write,
    notes = {},
  }, Trouble)
end

-- The first of several reasons.
local function brief(text)
  local first = text:match "^(.-); " or text
  if #first > BRIEF then first = first:sub(1, BRIEF) .. "..." end
  return first
end

-- While brokers are connected to anew, and none has failed, it is as it was.
local function find_problem(self)
  local note = self.is_offline() and self.notes[1]
  if self.is_online() then
    self.reason = nil
    if not note then return nil end
    return "outside", brief(note)
  end
  if not self.reason then return self.kind end
  local line = "no broker answers, so nobody can signal this node yet: " .. brief(self.reason)
  return "brokers", note and line .. "; " .. brief(note) or line
end

--- Keeps what is known, to be told later; see @{tell}.
function Trouble:note(notes, reason)
  self.notes, self.reason = notes or self.notes, reason or self.reason
end

--- Looks at what is wrong now, and tells of it when that is news.
-- @tparam ?{string,...} notes of the last look at the outside; nil: those of the last call
-- @tparam[opt] string reason why no broker answers
function Trouble:tell(notes, reason)
  self:note(notes, reason)
  local kind, line = find_problem(self)
  for _, note in ipairs(not kind and notes or {}) do self.write("info", note) end
  if kind == self.kind then return end
  self.write(kind and "warn" or "info", line or "the network is in order again")
  self.kind = kind
end

return trouble
