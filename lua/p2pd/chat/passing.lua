--- Passes on what somebody says to who has no pipe to him, and tells who is there.
-- A peer with whom there is a pipe speaks for himself: what others say of him is not taken.
-- @classmod p2pd.chat.passing
local clock = require "p2pd.clock"
local hearsay = require "p2pd.chat.hearsay"
local message = require "p2pd.chat.message"

local passing = {}

local Passing = { __name = "p2pd.chat.passing" }
Passing.__index = Passing

--- Makes one for a chat.
-- @tparam table room what it needs of the chat: `id`, our node's; `members`: function that returns the peers
-- with a pipe to us, each once, as tables with `id`, `nick` and `name`; `is_here`: whether a node id is one
-- of them; `tell`: function of a list of them and messages; `call`: what to call somebody, of his id and
-- nick; `on_event`: as in @{p2pd.chat}
-- @treturn passing
function passing.new(room)
  return setmetatable({ room = room, hearsay = hearsay.new() }, Passing)
end

-- Everybody with a pipe to us but those.
local function tell_others(self, from, about, text)
  local list = {}
  for _, member in ipairs(self.room.members()) do
    if member.id ~= from and member.id ~= about then list[#list + 1] = member end
  end
  self.room.tell(list, text)
end

local function name_of(self, who)
  return self.room.call(who.id, who.nick)
end

local function by(member)
  return "by " .. member.name
end

local function one_more(who)
  local next_one = { hops = who.hops + 1 }
  for _, key in ipairs { "id", "nick", "line", "said" } do next_one[key] = who[key] end
  return next_one
end

-- Somebody is there by way of a member.
local function introduce(self, member, who)
  local known, what, was = self.hearsay:learn(member.id, who)
  if not what then return end
  if what == "joined" then
    self.room.on_event("joined", name_of(self, known), by(member))
  else
    self.room.on_event("renamed", self.room.call(who.id, was), name_of(self, known))
  end
  if message.may_pass(who.hops) then tell_others(self, member.id, who.id, message.here(one_more(who))) end
end

local function speaks_for_himself(self, id)
  return id == self.room.id or self.room.is_here(id)
end

local function is_new(self, line)
  return self.hearsay:is_new(line, clock.monotonic())
end

local HANDLERS = {
  here = function(self, member, who)
    if not speaks_for_himself(self, who.id) then introduce(self, member, who) end
  end,
  gone = function(self, member, id)
    local known = self.hearsay:forget(id, member.id)
    if not known then return end
    self.room.on_event("left", name_of(self, known))
    tell_others(self, member.id, id, "gone " .. id)
  end,
  pass = function(self, member, who)
    if speaks_for_himself(self, who.id) or not is_new(self, who.line) then return end
    introduce(self, member, who)
    self.room.on_event("said", name_of(self, who), who.said, by(member))
    if message.may_pass(who.hops) then tell_others(self, member.id, who.id, message.pass(one_more(who))) end
  end,
}

--- Does what a member's message says about others.
-- @tparam table member
-- @tparam string kind
-- @param value see @{p2pd.chat.message.parse}
function Passing:handle(member, kind, value)
  if HANDLERS[kind] then HANDLERS[kind](self, member, value) end
end

--- Takes a line that a member has said himself, and passes it on.
-- @tparam table member
-- @tparam string line its id
-- @tparam string said
-- @treturn boolean whether it is new
function Passing:take(member, line, said)
  if not is_new(self, line) then return false end
  tell_others(self, member.id, nil, message.pass { hops = 1, line = line, id = member.id, nick = member.nick,
    said = said })
  return true
end

--- Tells the others of a member who has come or has another name.
-- @tparam table member
function Passing:announce(member)
  tell_others(self, member.id, nil, message.here { hops = 1, id = member.id, nick = member.nick })
end

--- A member has come: he is told who else is there, and they of him.
-- @tparam table member
function Passing:welcome(member)
  self.hearsay:forget(member.id)
  local lines = {}
  for _, other in ipairs(self.room.members()) do
    if other.id ~= member.id then
      lines[#lines + 1] = message.here { hops = 1, id = other.id, nick = other.nick }
    end
  end
  for _, known in pairs(self.hearsay.others) do
    if message.may_pass(known.hops) then lines[#lines + 1] = message.here(one_more(known)) end
  end
  self.room.tell({ member }, table.unpack(lines))
  self:announce(member)
end

--- A member has left, and with him those whom he has told of.
-- @tparam table member
function Passing:farewell(member)
  tell_others(self, member.id, nil, "gone " .. member.id)
  for _, known in ipairs(self.hearsay:lose(member.id)) do
    self.room.on_event("left", name_of(self, known), "out of reach without " .. member.name)
    tell_others(self, member.id, known.id, "gone " .. known.id)
  end
end

--- Who is there by way of others.
-- @treturn {string,...} their names
function Passing:who()
  local names, by_id = {}, {}
  for _, member in ipairs(self.room.members()) do by_id[member.id] = member end
  for _, known in pairs(self.hearsay.others) do
    local via = by_id[known.via]
    names[#names + 1] = via and ("%s (%s)"):format(name_of(self, known), by(via)) or name_of(self, known)
  end
  return names
end

return passing
