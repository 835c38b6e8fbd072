--- The other side of a command that moves files: found by what names a peer (see @{p2pd.whom}), or waited
-- for; and found again when the pipe has broken.
-- @classmod p2pd.transfer.partner
local advice = require "p2pd.advice"
local codes = require "p2pd.code"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"
local whom = require "p2pd.whom"

local partner = {}

--- What pipes for files are called.
partner.PROTOCOL = "files/1"

local PROTOCOL = partner.PROTOCOL
local DIAL_S = 20
local PIPE_S = 60  -- for its pipe, once the other side has used the code
local BACK_S = 600 -- for it to come back by itself
local PAUSE_S = 1
local FINAL = { EACCES = true, EPROTO = true, EINVAL = true, EBADF = true, ENOSPC = true, EDQUOT = true,
  EROFS = true, ENOENT = true, ENOTDIR = true, ECANCELED = true }

local Partner = { __name = "p2pd.transfer.partner" }
Partner.__index = Partner

--- @tparam table options `node`; `peer`: what names a peer, or nil; `allowed`: the ids for which the
-- node's `allow` is true, by id; `waits`: whether to wait for one of those, without a code; `retry`: seconds
-- for which a peer is looked for again; `command`: what
-- the other side types, with %s for what it types at the end; `say`: function of a line for people
-- @treturn partner to be closed
function partner.new(options)
  local self = setmetatable({}, Partner)
  for name, value in pairs(options) do self[name] = value end
  return self
end

--- Whether a text names a partner.
-- @tparam string text
-- @tparam table settings
-- @treturn boolean
function partner.is_partner(text, settings)
  return codes.is_code(text) or whom.find(text, { settings = settings }) ~= nil
end

--- Whether to try again makes sense after such a failure.
-- @tparam ?string code
-- @treturn boolean
function partner.is_final(code)
  return FINAL[code] or false
end

-- -- we go to the other side

local function find(self)
  local found, reason, code = whom.find(self.peer, { settings = self.node.settings })
  if not found then return nil, reason, code end
  return found:reach(self.node)
end

local function connect(self, seconds)
  return self.node:connect(self.address, { protocol = PROTOCOL, timeout = seconds })
end

local function connect_again(self)
  self.say("trying to find it again")
  local limit = deadline.after(self.retry)
  while true do
    local pipe, failure = connect(self, limit:left(DIAL_S))
    if pipe then return pipe end
    if limit:has_passed() then return nil, advice.sentence(failure), "ECONNREFUSED" end
    core.task.sleep(PAUSE_S)
  end
end

local function visit(self)
  if self.address then return connect_again(self) end
  local reason, code
  self.address, reason, code = find(self)
  if not self.address then return nil, reason, code end
  local pipe, failure = connect(self, DIAL_S)
  if pipe then return pipe end
  return nil, advice.sentence(failure), "ECONNREFUSED"
end

-- -- the other side comes to us

local function accept(self, timeout)
  return self.node:accept(PROTOCOL, timeout)
end

local function tell(self, what)
  self.say("on the other side, type:")
  self.say("    " .. self.command:format(what))
end

local function invite(self)
  local offer <close>, reason, code = codes.offer(self.node)
  if not offer then return nil, reason, code end
  tell(self, offer.text)
  local _, id, errcode = offer:wait()
  if errcode then return nil, id, errcode end
  self.allowed[id], self.known = true, true
  return accept(self, PIPE_S)
end

local function await(self)
  if self.waits then
    if not self.has_told then
      self.node:ready(DIAL_S)
      tell(self, self.node.address)
      self.has_told = true
    end
    return accept(self)
  end
  if not self.known then return invite(self) end
  return task.race {
    function() return accept(self, BACK_S) end,
    function() return invite(self) end,
  }
end

--- Whether to look for the other side again after a pipe has broken.
-- @treturn boolean
function Partner:may_return()
  return not self.peer or self.retry > 0
end

--- Whether the other side has been found at all.
-- @treturn boolean
function Partner:was_there()
  return self.address ~= nil or self.known ~= nil
end

--- The next pipe to the other side: the first one, or one after another that broke.
-- @treturn pipe; or nil, message, code
function Partner:pipe()
  if self.peer then return visit(self) end
  return await(self)
end

return partner
