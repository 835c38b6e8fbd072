--- Colours, where they are for people.
-- @module p2pd.cli.colour
local core = require "p2pd.core"

local colour = {}

local CODES = { red = 31, green = 32, yellow = 33, bold = 1, dim = 2 }

--- Whether a descriptor has colours: a terminal that knows them, unless NO_COLOR is set.
-- @tparam integer fd
-- @treturn boolean
function colour.has(fd)
  local refused, term = os.getenv "NO_COLOR", os.getenv "TERM"
  if refused ~= nil and refused ~= "" then return false end
  return term ~= nil and term ~= "dumb" and core.editline.is_terminal(fd)
end

--- A text in a colour, where the descriptor has colours.
-- @tparam string text
-- @tparam string name red, green, yellow, bold or dim
-- @tparam integer fd
-- @treturn string
function colour.paint(text, name, fd)
  if not colour.has(fd) then return text end
  return ("\27[%dm%s\27[0m"):format(CODES[name], text)
end

return colour
