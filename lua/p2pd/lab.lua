--- The NAT lab: hosts behind real NATs, and real servers, in network namespaces of this machine.
-- Whatever is in it meets nothing outside: not this machine's network, not another lab.
-- @module p2pd.lab
-- @usage
-- local l <close> = assert(lab.open {
--   hosts = {
--     a = { nats = { { type = "port-restricted" } }, latency = 0.02 },
--     b = { nats = { { type = "symmetric", delta = "random" } }, latency = 0.02 },
--   },
--   servers = { brokers = 1, stuns = 2 },
-- })
-- local result = l:run("a", { "ping", "-c1", l:external "b" })
local core = require "p2pd.core"
local cli = require "p2pd.cli"
local delay = require "p2pd.lab.delay"
local description = require "p2pd.lab.description"
local fleet = require "p2pd.lab.fleet"
local gateways = require "p2pd.lab.gateways"
local keeper = require "p2pd.lab.keeper"
local merge = require("p2pd.options").merge
local scratch = require "p2pd.lab.scratch"
local script = require "p2pd.lab.script"
local servers = require "p2pd.lab.servers"
local task = require "p2pd.task"
local topology = require "p2pd.lab.topology"
local words = require "p2pd.lab.words"

local lab = {}

local RUN_S = 30
local WEAK = { __mode = "k" }

local Lab = {}
Lab.__index = Lab
Lab.__name = "p2pd.lab"

function Lab.__tostring(self)
  return ("lab of %d namespaces (%s)"):format(#self.plan.namespaces, self.keeper and "open" or "closed")
end

--- Can there be a lab here? It takes root, or a kernel that lets ordinary users have namespaces, and some
-- tools.
-- @tparam[opt=false] boolean rootless in a user namespace, even for root
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string why not
-- @treturn[2] string "ENOENT" when a tool is missing, "EPERM"
function lab.is_possible(rootless)
  local found, reason, code = keeper.way(rootless)
  if not found then return nil, reason, code end
  return true
end

--- Is this the description of a lab? `open` raises what this returns.
-- @tparam table wanted as for `open`
-- @treturn[1] boolean true
-- @treturn[2] nil
-- @treturn[2] string "hosts.a.nats[1].type: no NAT type is called ..."
function lab.check(wanted)
  local checked, fault = description.check(wanted)
  return checked and true, fault
end

-- -- opening

local function make_folders(self, fleet_plan)
  local folders = { self.folder }
  for _, list in ipairs { self.plan.mappers, self.plan.nat64s } do
    for _, one in ipairs(list) do folders[#folders + 1] = ("%s/%s"):format(self.folder, one.namespace) end
  end
  for _, one in ipairs(fleet_plan) do folders[#folders + 1] = one.folder end
  return "mkdir -p '" .. table.concat(folders, "' '") .. "'\n"
end

local function start_servers(self, fleet_plan)
  local started = fleet.start(fleet_plan, self.keeper:prefix(topology.SERVERS))
  for kind, list in pairs(started) do self[kind] = list end
  self.settings = servers.settings(fleet.settings(started), self.folder .. "/settings.lua")
end

-- Routers that map ports, by their namespace.
local function start_mappers(self)
  local starters = {}
  self.mappers = {}
  for i, one in ipairs(self.plan.mappers) do
    starters[i] = function()
      self.mappers[one.namespace] = gateways.miniupnpd {
        host = one.host, lan = one.lan, ipv6 = one.ipv6, protocols = one.protocols,
        folder = self.folder .. "/" .. one.namespace, within = self.keeper:prefix(one.namespace),
      }
      return true
    end
  end
  task.all(starters)
end

-- Routers that translate IPv6 into IPv4, by their namespace.
local function start_nat64s(self)
  local starters = {}
  self.nat64s = {}
  for i, one in ipairs(self.plan.nat64s) do
    starters[i] = function()
      self.nat64s[one.namespace] = gateways.tayga {
        device = one.device, prefix = topology.NAT64_PREFIX, pool = topology.NAT64_POOL,
        folder = ("%s/%s"):format(self.folder, one.namespace), within = self.keeper:prefix(one.namespace),
      }
      return true
    end
  end
  task.all(starters)
end

-- What a resolver would say: the servers' names, and behind NAT64 the name by which its prefix is found
-- (RFC 7050).
local function write_names(self, fleet_plan)
  local names = fleet.names(fleet_plan)
  for host, one in pairs(self.plan.hosts) do
    local lines = table.move(names, 1, #names, 2, { "127.0.0.1 localhost" })
    if one.nat64 then lines[#lines + 1] = "64:ff9b::c000:aa ipv4only.arpa" end
    if lines[2] then
      local path = ("%s/hosts.%s"):format(self.folder, host)
      self.names[host] = scratch.write(path, table.concat(lines, "\n") .. "\n")
    end
  end
end

local function build(self, checked)
  local fleet_plan = fleet.plan(checked.servers, self.folder)
  self.plan = topology.plan(checked, fleet.addresses(fleet_plan))
  local said, reason, code = self.keeper:run(make_folders(self, fleet_plan) .. script.build(self.plan))
  if not said then return nil, "cannot build the lab: " .. reason, code end
  local ok
  ok, reason, code = delay.start(self)
  if not ok then return nil, reason, code end
  start_servers(self, fleet_plan)
  start_mappers(self)
  start_nat64s(self)
  write_names(self, fleet_plan)
  return true
end

local function open(checked)
  local self <close> = setmetatable({ folder = scratch.folder(), children = setmetatable({}, WEAK),
    names = {} }, Lab)
  local reason, code
  self.keeper, reason, code = keeper.new(self.folder, checked.rootless)
  if not self.keeper then return nil, reason, code end
  local ok
  ok, reason, code = build(self, checked)
  if not ok then return nil, reason, code end
  local opened = setmetatable({}, Lab)
  for key, value in pairs(self) do opened[key] = value end
  self.keeper = nil
  return opened
end

--- Builds a lab and waits until all of it works.
-- @tparam table wanted `hosts`: by name, each
--
-- - `nats`: 0 to 2 routers, the inner one first (none: a public address). Each has a `type` and `delta`:
--   words or numbers of @{p2pd.nat} (`delta`: "equal", for a symmetric NAT "random"); `value`, of an
--   independent or dependent delta (1); `unsolicited`: what becomes of a SYN that nobody asked for, "drop",
--   "rst" or "icmp"; `hairpin`: true when it turns packets for its own outside back in; `udp`: false when
--   it lets none through; `ports`: `{ from, to }` of an independent or random delta; `tcp`: a table of
--   type, delta, value and ports that differ for TCP; `port_mapping`: true, or of "igd,natpmp,pcp" the
--   protocols by which hosts behind it can have ports mapped; `nat64`: true when hosts behind it that have
--   IPv6 alone reach IPv4 through it
-- - or `firewall`: true, or what becomes of a SYN, for a public address that admits answers only
-- - `latency`, `jitter`: seconds one way between host and internet; `up`, `down` where they differ; `loss`:
--   0 to 1
-- - `udp`: false for a line without UDP; `ipv6`: true for a global IPv6 address beside the IPv4 one, with
--   NATs as stateful firewalls; `ipv4`: false for that alone
-- - or `interfaces`: a list of tables with the fields above but `ipv6`: the NICs eth0, eth1, ...
-- - or `lan`: the name of the host on whose LAN it is
--
-- `rootless`: true for a user namespace, as an ordinary user needs it, for root too.
--
-- `servers`: how many `brokers`, `stuns` (each with two addresses, RFC 5780), `ntps` and `turns` (none); with
-- a host that has IPv6 they have it too, and names for both, unless `ipv6` is false
-- @treturn[1] lab `settings`: the path of a settings file; `brokers`, `stuns`, `ntps`, `turns`: lists of
-- servers as in
-- @{p2pd.lab.servers}
-- @treturn[2] nil
-- @treturn[2] string why there can't be one
-- @treturn[2] string code
-- @raise "hosts.a.nats[1].type: no NAT type is called ..."
function lab.open(wanted)
  local checked, fault = description.check(wanted)
  if not checked then error("lab.open: " .. fault, 2) end
  return core.task.run(open, checked)
end

-- -- hosts

local function host_of(self, name)
  if not self.keeper then error("attempt to use a closed lab", 3) end
  return self.plan.hosts[name] or error(("the lab has no host %q"):format(tostring(name)), 3)
end

local function interface_of(self, name, interface)
  local host = host_of(self, name)
  for _, one in ipairs(host.interfaces) do
    if one.name == (interface or "eth0") then return one end
  end
  error(("the host %q has no interface %q"):format(name, tostring(interface)), 3)
end

--- A host's own address.
-- @tparam string name
-- @tparam[opt="eth0"] string interface
-- @tparam[opt="ipv4"] string family "ipv4" or "ipv6"
-- @treturn string or nil when it has none
function Lab:address(name, interface, family)
  local found = interface_of(self, name, interface)
  if family == "ipv6" then return found.ipv6 end
  return found.address
end

--- The IPv4 address that the internet sees.
-- @tparam string name
-- @tparam[opt="eth0"] string interface
-- @treturn string or nil when it has none
function Lab:external(name, interface)
  return interface_of(self, name, interface).external
end

--- What is between a host and the internet, in words.
-- @tparam string name
-- @tparam[opt="eth0"] string interface
-- @treturn string
function Lab:describe(name, interface)
  return words.describe(interface_of(self, name, interface).line.link.nats)
end

local function spawn(self, command)
  local child, reason, code = core.process.spawn(command)
  if child then self.children[child] = true end
  return child, reason, code
end

-- The names that a host knows are in a file that stands for /etc/hosts there.
local WITH_NAMES = { "unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"' }

local function prefix_of(self, name)
  local prefix = self.keeper:prefix(name)
  if not self.names[name] then return prefix end
  table.move(WITH_NAMES, 1, #WITH_NAMES, #prefix + 1, prefix)
  table.insert(prefix, self.names[name])
  return prefix
end

local function within(self, name, options)
  local prefix = prefix_of(self, name)
  local command = merge(options)
  table.move(options, 1, #options, #prefix + 1, command)
  table.move(prefix, 1, #prefix, 1, command)
  command.env = merge({ P2PD_SETTINGS = self.settings }, options.env)
  return command
end

--- Starts a program in a host. P2PD_SETTINGS names the lab's settings there.
-- @tparam string name
-- @tparam table options as for core.process.spawn
-- @treturn p2pd.process or nil, message, code
function Lab:spawn(name, options)
  host_of(self, name)
  return spawn(self, within(self, name, options))
end

local function read_all(stream, timeout)
  stream:settimeout(timeout)
  return stream:read "a" or ""
end

local function finish(child, timeout)
  local out, err = task.all { function() return read_all(child:stdout(), timeout) end,
    function() return read_all(child:stderr(), timeout) end }
  local how, status, code = child:wait(timeout)
  if not how then return nil, status, code end
  return { out = out, err = err, how = how, status = status }
end

--- Runs a program in a host to its end. Waits.
-- @tparam string name
-- @tparam table options as for core.process.spawn; its outputs are collected
-- @tparam[opt=30] number timeout seconds
-- @treturn[1] table `out`, `err`, `how` ("exit" or "signal"), `status`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: ETIMEDOUT when it went on for too long, and was ended
function Lab:run(name, options, timeout)
  host_of(self, name)
  local command = within(self, name, options)
  command.stdout, command.stderr = "pipe", "pipe"
  return core.task.run(function()
    local child <close>, reason, code = spawn(self, command)
    if not child then return nil, reason, code end
    return task.timeout(timeout or RUN_S, finish, child)
  end)
end

-- The executable's own path: what /proc/self is changes on the way into the host.
local function executable()
  local program = cli.program()
  if program ~= "/proc/self/exe" then return program end
  local link <close> = assert(io.popen "readlink /proc/$PPID/exe")
  return assert(link:read "l", "cannot find the executable")
end

--- Starts the p2pd executable in a host, with the lab's settings.
-- @tparam string name
-- @tparam table options as for core.process.spawn, without the program; its standard descriptors are pipes
-- @treturn p2pd.process or nil, message, code
function Lab:p2pd(name, options)
  host_of(self, name)
  local command = { stdin = "pipe", stdout = "pipe", stderr = "pipe", executable() }
  for key, value in pairs(options) do
    command[math.type(key) == "integer" and key + 1 or key] = value
  end
  return spawn(self, within(self, name, command))
end

local function quote(word)
  if word:find "^[%w%-_/.=:]+$" then return word end
  return "'" .. word:gsub("'", [['\'']]) .. "'"
end

--- A shell command line that enters a host from outside the lab, as another terminal can.
-- @tparam string name
-- @tparam[opt] table command what to run there; else a shell
-- @treturn string
function Lab:enter(name, command)
  if not self.plan[name] then host_of(self, name) end
  local line = { "env", "P2PD_SETTINGS=" .. self.settings }
  for _, word in ipairs(prefix_of(self, name)) do line[#line + 1] = word end
  for _, word in ipairs(command or { "sh" }) do line[#line + 1] = word end
  for i, word in ipairs(line) do line[i] = quote(word) end
  return table.concat(line, " ")
end

--- Every host with its addresses and how to enter it, and the settings file: for people.
-- @treturn string several lines
function Lab:report()
  local names, lines = {}, {}
  for name in pairs(self.plan.hosts) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    lines[#lines + 1] = ("%-9s %s, seen as %s (%s)"):format("host " .. name,
      self:address(name) or self:address(name, nil, "ipv6"),
      self:external(name) or "that", self:describe(name))
    lines[#lines + 1] = "          " .. self:enter(name)
  end
  lines[#lines + 1] = "settings  " .. self.settings
  return table.concat(lines, "\n")
end

-- -- links

-- The lines of a host's interfaces, or of the one that is named.
local function lines_of(self, name, interface)
  if interface then return { interface_of(self, name, interface).line } end
  local lines = {}
  for i, one in ipairs(host_of(self, name).interfaces) do lines[i] = one.line end
  return lines
end

--- Changes what a host's way to the internet is like, for packets that come from now on. Waits.
-- Hosts on one LAN share it.
-- @tparam string name
-- @tparam table changes any of `latency`, `up`, `down`, `jitter` (seconds) and `loss` (0 to 1)
-- @tparam[opt] string interface that one only, such as "eth1"
-- @treturn boolean true; or nil, message, code
function Lab:set_link(name, changes, interface)
  local lines = lines_of(self, name, interface)
  local fault
  for _, line in ipairs(lines) do
    local link
    link, fault = description.check_link(changes, line.link)
    if not link then error("set_link: " .. fault, 2) end
    for key, value in pairs(link) do line.link[key] = value end
  end
  return core.task.run(delay.apply, self, lines)
end

local CUT = "nft 'add element inet internet cut { LINES }'"
local MEND = "nft 'add element inet internet cut { LINES }; delete element inet internet cut { LINES }'"

local function switch(self, command, lines)
  local names = {}
  for i, line in ipairs(lines) do names[i] = line.net_side end
  local said, reason, code = core.task.run(self.keeper.run, self.keeper,
    (command:gsub("LINES", table.concat(names, ", "))))
  if not said then return nil, reason, code end
  return true
end

--- Cuts a host's way to the internet: packets vanish, and nobody is told. Waits.
-- @tparam string name
-- @tparam[opt] string interface that one only
-- @treturn boolean true; or nil, message, code
function Lab:cut(name, interface)
  return switch(self, CUT, lines_of(self, name, interface))
end

--- Mends what @{cut} has cut. Waits.
-- @tparam string name
-- @tparam[opt] string interface that one only
-- @treturn boolean true; or nil, message, code
function Lab:mend(name, interface)
  return switch(self, MEND, lines_of(self, name, interface))
end

local function line_behind_nat(self, name, interface)
  local line = interface_of(self, name, interface).line
  if not line.wan then error(("the host %q has no NAT"):format(name), 3) end
  return line
end

local function change(self, namespace)
  local said, reason, code = core.task.run(self.keeper.run, self.keeper, script.change(namespace))
  if not said then return nil, reason, code end
  return true
end

--- Gives the outermost router of a host's line another address, as providers do over night. Nobody behind it
-- is told; what it has translated until then is lost. Waits.
-- @tparam string name
-- @tparam[opt="eth0"] string interface
-- @treturn string the new address, as @{external} tells it; or nil, message, code
function Lab:renumber(name, interface)
  local line = line_behind_nat(self, name, interface)
  local ok, reason, code = change(self, topology.renumber(line))
  if not ok then return nil, reason, code end
  for _, host in pairs(self.plan.hosts) do
    for _, one in ipairs(host.interfaces) do
      if one.line == line and one.external then one.external = line.external end
    end
  end
  return line.external
end

--- Lets the outermost router of a host's line forget all that it has translated, as one that was switched off
-- and on. It keeps its address; nobody is told. Waits.
-- @tparam string name
-- @tparam[opt="eth0"] string interface
-- @treturn boolean true; or nil, message, code
function Lab:reboot(name, interface)
  return change(self, topology.reboot(line_behind_nat(self, name, interface)))
end

-- -- closing

--- The router that maps ports for a host, as in @{p2pd.lab.gateways}: `:stop()`, `:start()`, `:log()`.
-- @tparam string name
-- @tparam[opt=1] integer index of `nats`
-- @treturn server
function Lab:mapper(name, index)
  host_of(self, name)
  local namespace = ("%s.nat%d"):format(name, index or 1)
  return self.mappers[namespace] or error(("%s maps no ports"):format(namespace), 2)
end

local KINDS = { "brokers", "stuns", "ntps", "turns" }

local function close(self)
  local held = self.keeper
  if not held then return end
  self.keeper = nil
  for _, kind in ipairs(KINDS) do
    for _, server in ipairs(self[kind] or {}) do server:__close() end
  end
  for _, servers_of in ipairs { self.mappers or {}, self.nat64s or {} } do
    for _, server in pairs(servers_of) do server:__close() end
  end
  delay.stop(self)
  held:close()
  -- One that was still on its way into its host is not there to be killed with it.
  for child in pairs(self.children) do pcall(child.kill, child, "KILL") end -- raises for one that is closed
end

--- Ends everything in the lab and removes it; it can be called again. Waits, unless the task is being
-- cancelled: then the lab ends by itself soon after.
function Lab:close()
  local _, is_main = coroutine.running()
  if is_main then core.task.run(close, self) else close(self) end
end

Lab.__close = Lab.close

return lab
