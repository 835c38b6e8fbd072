--- What a person types in `p2pd chat`: a line to say, or a command behind a slash.
-- @module p2pd.cli.chat_line
local task = require "p2pd.task"

local chat_line = {}

local COMMANDS = {}

function COMMANDS.who(room)
  room.screen:show("* here: " .. table.concat({ room.talk.name, table.unpack(room.talk:who()) }, ", "))
end

function COMMANDS.name(room, name)
  if name == "" then
    room.screen:show("* you are " .. room.talk.name)
  else
    room.talk:rename(name)
  end
end

function COMMANDS.code(room)
  task.spawn(room.guests.invite, room.guests, room.talk.node, room.screen)
end

--- Does what a line says.
-- @tparam table room `talk` (@{p2pd.chat}), `screen` (with `show`), `guests` (see p2pd.cli.guests)
-- @tparam string line
-- @treturn boolean whether to go on
function chat_line.run(room, line)
  local command, rest = line:match "^/(%S*)%s*(.-)%s*$"
  if command == "quit" then return false end
  if COMMANDS[command] then
    COMMANDS[command](room, rest)
  elseif command then
    room.screen:show "* /who, /name NAME, /code, /quit"
  elseif line ~= "" and not room.talk:say(line) then
    room.screen:show "* nobody is here"
  end
  return true
end

return chat_line
