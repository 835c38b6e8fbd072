--- The messages of a chat. Pure.
--
--     name NICK                        what we are called; the first message, and later another name
--     line LINE                        the id of the line that comes next
--     say TEXT                         a line of ours
--     bye                              we leave
--     here HOPS NODE NICK              somebody else is there, too, and hears what is said
--     gone NODE                        he has left
--     pass HOPS LINE NODE NICK TEXT    a line that somebody else has said
--
-- A kind that one does not know is passed over. HOPS counts who has passed a message on. In `here` and `pass`
-- a nick has no blanks.
-- @module p2pd.chat.message
local ids = require "p2pd.id"
local text = require "p2pd.text"

local message = {}

message.MAX = 16 * 1024      -- bytes of a message
message.TEXT_MAX = 15 * 1024 -- of a line
message.NICK_MAX = 32        -- of a nick

local HOPS_MAX = 8
local LINE_LENGTH = 16

--- A new id for a line.
-- @treturn string
function message.new_line()
  return ids.new(LINE_LENGTH)
end

--- What somebody calls himself, fit to be shown, in one word.
-- @tparam string said
-- @treturn string
function message.nick(said)
  local nick = text.printable(said, message.NICK_MAX):gsub("[%s~]", "_")
  return nick == "" and "_" or nick
end

local function who_of(hops, id, nick)
  hops = math.tointeger(tonumber(hops))
  if not hops or hops < 1 or hops > HOPS_MAX or not ids.is_id(id) then return nil end
  return { hops = hops, id = id, nick = message.nick(nick) }
end

local PARSERS = {
  name = function(rest) return rest ~= "" and rest or nil end,
  line = function(rest) return ids.is_id(rest) and rest or nil end,
  say = function(rest) return rest end,
  bye = function() return true end,
  here = function(rest) return who_of(rest:match "^(%d) (%w+) (%S+)$") end,
  gone = function(rest) return ids.is_id(rest) and rest or nil end,
  pass = function(rest)
    local hops, line, id, nick, said = rest:match "^(%d) (%w+) (%w+) (%S+) (.*)$"
    local who = hops and ids.is_id(line) and who_of(hops, id, nick)
    if not who then return nil end
    who.line, who.said = line, said
    return who
  end,
}

--- Reads a message.
-- @tparam string bytes
-- @treturn ?string its kind; nil when it is none, or of a kind that is not known
-- @return a string; of `here` and `pass` a table with `hops`, `id`, `nick`, and `line` and `said`
function message.parse(bytes)
  local kind, rest = bytes:match "^(%a+) ?(.*)$"
  local value = PARSERS[kind] and PARSERS[kind](rest)
  if value then return kind, value end
end

--- Whether what was passed on so often may be passed on again.
-- @tparam integer hops
-- @treturn boolean
function message.may_pass(hops)
  return hops < HOPS_MAX
end

--- That somebody is there.
-- @tparam table who `id`, `nick`, `hops`
-- @treturn string
function message.here(who)
  return ("here %d %s %s"):format(who.hops, who.id, who.nick)
end

--- A line that somebody has said.
-- @tparam table who `id`, `nick`, `hops`, `line`, `said`
-- @treturn string
function message.pass(who)
  local said = who.said:sub(1, message.TEXT_MAX)
  return ("pass %d %s %s %s %s"):format(who.hops, who.line, who.id, who.nick, said)
end

return message
