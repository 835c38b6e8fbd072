--- The servers of a lab: each kind on addresses and ports of its own, in one namespace.
-- @module p2pd.lab.fleet
local options = require "p2pd.options"
local servers = require "p2pd.lab.servers"
local task = require "p2pd.task"

local fleet = {}

local MQTT_PORT, STUN_PORT, STUN_ALT_PORT, NTP_PORT = 1883, 3478, 3479, 123

-- 11.1.N.i is the i-th server of the N-th kind, and 2f00:ffff::N:i; STUN and TURN servers also have N+1
-- (RFC 5780).
local KINDS = {
  { name = "brokers", word = "broker", net = 1, start = servers.mosquitto, options = { port = MQTT_PORT } },
  { name = "stuns", word = "stun", net = 2, two = true, start = servers.coturn,
    options = { port = STUN_PORT, alt_port = STUN_ALT_PORT } },
  { name = "ntps", word = "ntp", net = 4, start = servers.chronyd, options = { port = NTP_PORT } },
  { name = "turns", word = "turn", net = 5, two = true, start = servers.coturn,
    options = { port = STUN_PORT, alt_port = STUN_ALT_PORT, tls = true } },
}

local function address(net, i)
  return ("11.1.%d.%d"):format(net, i)
end

local function address6(net, i)
  return ("2f00:ffff::%x:%x"):format(net, i)
end

-- What a server has of IPv6, and the name that stands for its addresses of both families.
local function add_ipv6(one, kind, i)
  one.name = ("%s%d.lab"):format(kind.word, i)
  one.host6 = address6(kind.net, i)
  one.alt_host6 = kind.two and address6(kind.net + 1, i) or nil
end

--- Which servers there are to be.
-- @tparam table counts of each kind; `ipv6`: whether they have IPv6 addresses too
-- @tparam string folder of the lab
-- @treturn {table,...} `kind`, `host`, `alt_host`, `folder`; with IPv6 `host6`, `alt_host6`, `name`
function fleet.plan(counts, folder)
  local plan = {}
  for _, kind in ipairs(KINDS) do
    for i = 1, counts[kind.name] do
      plan[#plan + 1] = {
        kind = kind,
        host = address(kind.net, i),
        alt_host = kind.two and address(kind.net + 1, i) or nil,
        folder = ("%s/%s%d"):format(folder, kind.name, i),
      }
      if counts.ipv6 then add_ipv6(plan[#plan], kind, i) end
    end
  end
  return plan
end

--- The addresses of planned servers.
-- @tparam {table,...} plan
-- @treturn {string,...} IPv4
-- @treturn {string,...} IPv6
function fleet.addresses(plan)
  local list, list6 = {}, {}
  for _, one in ipairs(plan) do
    list[#list + 1] = one.host
    list[#list + 1] = one.alt_host
    list6[#list6 + 1] = one.host6
    list6[#list6 + 1] = one.alt_host6
  end
  return list, list6
end

--- The lines of a hosts file that names those with addresses of both families.
-- @tparam {table,...} plan
-- @treturn {string,...}
function fleet.names(plan)
  local lines = {}
  for _, one in ipairs(plan) do
    if one.name then
      lines[#lines + 1] = ("%s %s"):format(one.host, one.name)
      lines[#lines + 1] = ("%s %s"):format(one.host6, one.name)
    end
  end
  return lines
end

local function start(one, within)
  return one.kind.start(options.merge({ host = one.host, alt_host = one.alt_host, host6 = one.host6,
    alt_host6 = one.alt_host6, hostname = one.name, folder = one.folder, within = within }, one.kind.options))
end

--- Starts all of them side by side. Waits.
-- @tparam table plan
-- @tparam {string,...} within the command that enters their namespace
-- @treturn table a list of servers for each kind
-- @raise what a server said that could not start
function fleet.start(plan, within)
  local starters, started = {}, {}
  for _, kind in ipairs(KINDS) do started[kind.name] = {} end
  for i, one in ipairs(plan) do
    starters[i] = function() return start(one, within) end
  end
  local list = table.pack(task.all(starters))
  for i, one in ipairs(plan) do table.insert(started[one.kind.name], list[i]) end
  return started
end

local function endpoints(list)
  local entries = {}
  for i, server in ipairs(list) do
    entries[i] = { host = server.hostname or server.host, port = server.port }
  end
  return entries
end

--- The settings that name them.
-- @tparam table started
-- @treturn table as for @{p2pd.lab.servers.settings}
function fleet.settings(started)
  local turns = {}
  for _, server in ipairs(started.turns) do
    turns[#turns + 1] = server:turn "tcp"
    turns[#turns + 1] = server:turn "udp"
  end
  return { brokers = started.brokers, stuns = started.stuns, ntp = endpoints(started.ntps), turn = turns }
end

return fleet
