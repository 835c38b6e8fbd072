--- Which of many STUN servers to ask: a few, another few at each start, so that nobody's server carries more
-- than its share; the rest when those are silent.
-- @module p2pd.stun.choice
local list = require "p2pd.list"

local choice = {}

choice.FEW = 4 -- servers that are asked at first

local CAPABLE = 2 -- of them, those that are said to answer RFC 5780

local function shuffle(values)
  for i = #values, 2, -1 do
    local j = math.random(i)
    values[i], values[j] = values[j], values[i]
  end
  return values
end

--- The order in which to ask servers: by chance, but for the hint that is in `behaviour`. A few stay as they
-- are: all of them are asked.
-- @tparam {table,...} servers entries of the settings' `stun` list
-- @treturn {table,...} a list of the same; the first `choice.FEW` are to be asked first
function choice.order(servers)
  if #servers <= choice.FEW then return servers end
  local capable = shuffle(list.filter(servers, function(one) return one.behaviour == true end))
  local others = shuffle(list.filter(servers, function(one) return one.behaviour ~= true end))
  local order = {}
  for i = 1, math.min(CAPABLE, #capable) do order[i] = table.remove(capable) end
  while #order < choice.FEW and others[1] do order[#order + 1] = table.remove(others) end
  return list.append(order, shuffle(list.append(capable, others)))
end

return choice
