--- Lua's reserved words, as a set.
-- @module p2pd.repl.keywords
local keywords = {}

local RESERVED = [[
  and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while
]]
for word in RESERVED:gmatch "%a+" do
  keywords[word] = true
end

return keywords
