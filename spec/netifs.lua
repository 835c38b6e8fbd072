--- Interfaces as core.netif lists them.
local netifs = {}

--- An interface that is up and has nothing else than is given.
-- @tparam table fields
-- @treturn table
function netifs.new(fields)
  local result = { name = "x", index = 1, up = true, loopback = false, ipv4 = {}, ipv6 = {}, default4 = false,
    default6 = false }
  for key, value in pairs(fields) do result[key] = value end
  return result
end

--- An address of one.
-- @tparam string text
-- @tparam[opt="private"] string class
-- @treturn table
function netifs.ip(text, class)
  return { ip = text, prefix = 24, class = class or "private" }
end

return netifs
