--- Who is in a chat by way of others, and which lines have been seen: what keeps lines that are passed on
-- from going in circles, or coming twice. Pure: the caller brings the time.
-- @classmod p2pd.chat.hearsay
local expiring_map = require "p2pd.expiring_map"

local hearsay = {}

local OTHERS_MAX = 256                 -- people who are known of
local LINES_MAX, LINE_S = 1024, 5 * 60 -- lines that are remembered

local Hearsay = { __name = "p2pd.chat.hearsay" }
Hearsay.__index = Hearsay

--- Makes one that knows of nobody.
-- @treturn hearsay `others`: by node id, tables with `id`, `nick`, `hops` and `via`, the id of who told of
-- them
function hearsay.new()
  return setmetatable({ others = {}, count = 0, lines = expiring_map.new(LINES_MAX, LINE_S) }, Hearsay)
end

--- Whether a line has not been seen before; from now on it has.
-- @tparam string line its id
-- @tparam number now seconds
-- @treturn boolean
function Hearsay:is_new(line, now)
  if self.lines:get(line) then return false end
  self.lines:set(line, true, now)
  return true
end

--- Takes in that somebody is there. Only who was the first to tell of him is listened to about him.
-- @tparam string via the id of who says so
-- @tparam table who `id`, `nick`, `hops`
-- @treturn ?table what is known of him now; nil when too many are
-- @treturn ?string "joined", or "renamed", when that is new
-- @treturn ?string the nick that he had
function Hearsay:learn(via, who)
  local known = self.others[who.id]
  if known and (known.via ~= via or known.nick == who.nick) then return known end
  if known then
    local was = known.nick
    known.nick = who.nick
    return known, "renamed", was
  end
  if self.count >= OTHERS_MAX then return nil end
  self.count = self.count + 1
  self.others[who.id] = { id = who.id, nick = who.nick, hops = who.hops, via = via }
  return self.others[who.id], "joined"
end

--- Forgets somebody.
-- @tparam string id his
-- @tparam[opt] string via only if it was this one who told of him
-- @treturn ?table what was known
function Hearsay:forget(id, via)
  local known = self.others[id]
  if not known or via and known.via ~= via then return nil end
  self.others[id], self.count = nil, self.count - 1
  return known
end

--- Forgets all whom somebody has told of, since he has left.
-- @tparam string via his id
-- @treturn {table,...} what was known of them
function Hearsay:lose(via)
  local lost = {}
  for _, known in pairs(self.others) do
    if known.via == via then lost[#lost + 1] = known end
  end
  for _, known in ipairs(lost) do self:forget(known.id) end
  return lost
end

return hearsay
