--- The epoch of a server that maps ports: by it one sees that the server has lost its mappings (RFC 6887
-- section 8.5; RFC 6886 section 3.6 has the same idea).
-- @module p2pd.port_mapping.epoch
local core = require "p2pd.core"

local epoch = {}

--- Remembers what a server says.
-- @tparam table server `epoch` and `epoch_at` are kept there
-- @tparam integer seconds the epoch that it has told now
-- @treturn boolean false: it has lost its mappings since the last time
function epoch.note(server, seconds)
  local now, before = core.clock.monotonic(), server.epoch
  local is_same = not before or core.pcp.is_same_epoch(before, server.epoch_at, seconds, now)
  server.epoch, server.epoch_at = seconds, now
  return is_same
end

return epoch
