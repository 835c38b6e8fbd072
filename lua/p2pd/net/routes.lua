--- Routes in two steps, until net/interfaces.lua is split.
-- @module p2pd.net.routes
local interfaces = require "p2pd.net.interfaces"

local routes = {}

function routes.plain(chosen)
  return interfaces.plain(chosen)
end

function routes.complete(list, servers, options)
  local found, notes = interfaces.routes(list.interfaces, servers, options)
  for i = #list, 1, -1 do
    if not found[i] then table.remove(list, i) end
  end
  for i, route in ipairs(found) do
    for _, old in ipairs(list) do
      if old.nic == route.nic then route.port = old.port end
    end
    list[i] = route
    options.changed(route)
  end
  return notes
end

return routes
