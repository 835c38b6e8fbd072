--- What runs on a router of the lab: miniupnpd, which maps ports, and tayga, which translates IPv6 into IPv4.
-- @module p2pd.lab.gateways
local scratch = require "p2pd.lab.scratch"
local server = require "p2pd.lab.server"

local gateways = {}

local miniupnpd = { name = "miniupnpd", port = 5351 }

-- Its rules go into the chains that p2pd.lab.nat_rules makes for it.
function miniupnpd:configure()
  local lines = {
    "ext_ifname=wan",
    "listening_ip=lan",
    self.ipv6 and "" or "ipv6_disable=yes",
    "enable_upnp=" .. (self.protocols.igd and "yes" or "no"),
    "enable_natpmp=" .. ((self.protocols.natpmp or self.protocols.pcp) and "yes" or "no"),
    "secure_mode=yes",
    "min_lifetime=1",
    "max_lifetime=86400",
    "uuid=b014febb-5c85-4d1a-9d3f-3c5f6d3d7b3a",
    "upnp_table_name=guard",
    "upnp_nat_table_name=guard",
    "upnp_forward_chain=opened",
    "upnp_nat_chain=mapped",
    "upnp_nat_postrouting_chain=mapped_back",
    self.config or "",
    ("allow 1024-65535 %s 1024-65535"):format(self.lan),
    "deny 0-65535 0.0.0.0/0 0-65535",
  }
  local path = scratch.write(self.folder .. "/miniupnpd.conf", table.concat(lines, "\n") .. "\n")
  self.command = { "miniupnpd", "-d", "-f", path, "-P", self.folder .. "/pid" }
end

function miniupnpd:is_ready(log)
  return (not self.protocols.igd or log:find "HTTP listening on port")
    and (not (self.protocols.natpmp or self.protocols.pcp) or log:find "Listening for NAT%-PMP/PCP traffic")
end

--- Starts what makes a router of the lab map ports.
-- @tparam table options `host` (its address on the LAN), `lan` (the subnet), `ipv6`, `protocols` (a set of
-- igd, natpmp, pcp), `folder`, `within`; `config`: further lines of its configuration
-- @treturn server `:stop()`, `:start()`, `:close()`, `:log()`, `:signal()`
function gateways.miniupnpd(options)
  return server.start(miniupnpd, options)
end

local tayga = { name = "tayga", port = 0 }

function tayga:configure()
  local path = scratch.write(self.folder .. "/tayga.conf", ([[
tun-device %s
ipv4-addr %s
ipv6-addr fd00:64::1
prefix %s
dynamic-pool %s
data-dir %s
]]):format(self.device, (self.pool:gsub("%.%d+/.*", ".1")), self.prefix, self.pool, self.folder))
  self.command = { "stdbuf", "-oL", "tayga", "-d", "-c", path } -- or its log is written at its end
end

function tayga.is_ready(_, log)
  return log:find "Loaded %d+ dynamic map"
end

--- Starts what translates IPv6 into IPv4 in a router of the lab (NAT64), on a device that is there already.
-- @tparam table options `device`, `prefix` (IPv6), `pool` (IPv4 subnet whose addresses stand for IPv6 hosts),
-- `folder`, `within`
-- @treturn server `:stop()`, `:start()`, `:close()`, `:log()`, `:signal()`
function gateways.tayga(options)
  return server.start(tayga, options)
end

return gateways
