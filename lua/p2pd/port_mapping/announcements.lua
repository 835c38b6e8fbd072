--- Routers say when they have restarted: PCP and NAT-PMP servers to the multicast group of all hosts, port
-- 5350 (RFC 6887 section 14.1.3, RFC 6886 section 3.2.1). That is a hint to ask them; nothing in it is
-- believed.
-- @module p2pd.port_mapping.announcements
local core = require "p2pd.core"
local families = require "p2pd.families"
local task = require "p2pd.task"

local announcements = {}

local PORT, SERVER_PORT = 5350, 5351
local PAUSE_S = 1 -- between two that are passed on

--- Listens until the task is cancelled; ends at once when the port can't be had.
-- @tparam string family
-- @tparam function heard of the address that it came from
function announcements.listen(family, heard)
  local socket <close> = core.udp.bind { ip = families.ANY[family], port = PORT, reuse = true }
  while socket do
    local data, ip, port = socket:recvfrom()
    if data and port == SERVER_PORT and heard(ip) then task.sleep(PAUSE_S) end
    if not data and not port then return end
    if not data then task.sleep(PAUSE_S) end
  end
end

return announcements
