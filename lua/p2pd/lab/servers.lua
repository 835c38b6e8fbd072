--- Real servers, as child processes: mosquitto, coturn and chronyd, for the demo, the lab and the specs.
-- They are on loopback, or on any address of a network namespace. A server is ready when it says so in its
-- log, and ends with the process that started it.
-- @module p2pd.lab.servers
local core = require "p2pd.core"
local list = require "p2pd.list"
local scratch = require "p2pd.lab.scratch"
local server = require "p2pd.lab.server"

local servers = {}

local CERTIFICATE_S = 10 -- that openssl may take

local function run_to_end(command)
  core.task.run(function()
    command.stdout, command.stderr = "null", "null"
    local child <close> = assert(core.process.spawn(command))
    local how, status = child:wait(CERTIFICATE_S)
    assert(how == "exit" and status == 0, command[1] .. " failed")
  end)
end

--- A key and a self-signed certificate for 127.0.0.1 and localhost.
-- @tparam string folder where they go
-- @tparam[opt] string ip for this address as well
-- @treturn string path of the certificate
-- @treturn string path of the key
function servers.certificate(folder, ip)
  local cert, key = folder .. "/cert.pem", folder .. "/key.pem"
  run_to_end {
    "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
    "-days", "2", "-subj", "/CN=localhost", "-addext",
    "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:" .. (ip or "127.0.0.1"), "-keyout", key, "-out", cert,
    env = { LD_PRELOAD = "" },
  }
  return cert, key
end

local mosquitto = { name = "mosquitto" }

function mosquitto:configure()
  local lines = {
    "user root", -- when started as root it stays so: a change of user would outlive the parent's death
    ("listener %d %s"):format(self.port, self.host),
    self.host6 and ("listener %d %s"):format(self.port, self.host6) or "",
    "allow_anonymous true",
    "log_type all",
  }
  if self.tls then
    local cert, key = servers.certificate(self.folder)
    self.ca = cert
    lines[#lines + 1] = ("certfile %s\nkeyfile %s"):format(cert, key)
  end
  lines[#lines + 1] = self.config
  local path = scratch.write(self.folder .. "/mosquitto.conf", table.concat(lines, "\n") .. "\n")
  self.command = { "mosquitto", "-c", path }
end

function mosquitto.is_ready(_, log)
  return log:find("mosquitto version %S+ running")
end

--- Starts an MQTT broker.
-- @tparam[opt] table options `host` (127.0.0.1), `host6` (none), `port`; `tls = true` (then `ca` of the
--  result is the certificate's path); `config`: further lines of its configuration; `folder` for its files;
--  `within`: a
--  command that it is started with, such as one that enters a network namespace
-- @treturn server `host`, `port`, `ca`; `:stop()`, `:start()`, `:close()`, `:log()`, `:signal()`
function servers.mosquitto(options)
  return server.start(mosquitto, options or {})
end

local coturn = { name = "coturn", user = "user", pass = "secret", realm = "p2pd.test" }

-- What an option adds to the configuration.
local function coturn_lines(self)
  local lines = { self.config }
  for _, ip in ipairs { self.host6, self.alt_host6 } do lines[#lines + 1] = "listening-ip=" .. ip end
  if self.host6 then lines[#lines + 1] = "relay-ip=" .. self.host6 end
  if self.tls then
    local cert, key = servers.certificate(self.folder, self.host)
    self.ca, self.tls_port, self.tls_alt_port = cert, scratch.free_port(), scratch.free_port()
    lines[#lines + 1] = ("cert=%s\npkey=%s"):format(cert, key)
    lines[#lines + 1] = ("tls-listening-port=%d\nalt-tls-listening-port=%d")
      :format(self.tls_port, self.tls_alt_port)
  end
  if self.no_udp then lines[#lines + 1] = "no-udp" end
  if self.no_tcp_relay then lines[#lines + 1] = "no-tcp-relay" end
  if self.no_udp_relay then lines[#lines + 1] = "no-udp-relay" end
  if self.quota then lines[#lines + 1] = "user-quota=" .. self.quota end
  if self.stale_nonce then lines[#lines + 1] = "stale-nonce=" .. self.stale_nonce end
  return table.concat(lines, "\n")
end

function coturn:configure()
  self.alt_host, self.alt_port = self.alt_host or "127.0.0.2", self.alt_port or scratch.free_port()
  local path = scratch.write(self.folder .. "/turnserver.conf", ([[
listening-ip=%s
listening-ip=%s
%s
listening-port=%d
alt-listening-port=%d
lt-cred-mech
realm=%s
user=%s:%s
allow-loopback-peers
verbose
simple-log
log-file=%s
pidfile=%s/pid
userdb=%s/userdb
%s
]]):format(self.host, self.alt_host, self.no_ipv4_relay and "" or "relay-ip=" .. self.host,
    self.port, self.alt_port, self.realm, self.user, self.pass, self.log_path,
    self.folder, self.folder, coturn_lines(self)))
  self.command = { "turnserver", "-c", path, "--no-dtls", "--no-cli", not self.tls and "--no-tls" or nil }
end

function coturn:turn(transport)
  return { host = self.hostname or self.host, port = transport == "tls" and self.tls_port or self.port,
    transport = transport or "udp", user = self.user, pass = self.pass, ca = self.ca }
end

function coturn:is_ready(log)
  for _, host in ipairs { self.host, self.alt_host, self.host6, self.alt_host6 } do
    for _, port in ipairs { self.port, self.alt_port } do
      local endpoint = (" listener opened on ?: %s:%d\n"):format(host:gsub("%.", "%%."), port)
      local udp = self.no_udp or log:find("UDP" .. endpoint)
      if not (udp and log:find("TCP" .. endpoint)) then return false end
    end
  end
  return true
end

--- Starts a STUN and TURN server with two addresses and two ports, so that it answers RFC 5780.
-- @tparam[opt] table options `port`, `alt_port`, `host` (127.0.0.1), `alt_host` (127.0.0.2), `host6`,
--  `alt_host6` (IPv6 addresses besides: none), `hostname` (what `:turn` calls it), `folder`, `within`;
--  `tls = true` (then `tls_port` and `ca` of the result are set); `no_udp`: listens on TCP only;
--  `no_tcp_relay`, `no_udp_relay`, `no_ipv4_relay`: what it does not allocate; `quota`: allocations of a
--  user; `stale_nonce`: seconds for which a nonce is good; `config`: further lines of its configuration
-- @treturn server `host`, `port`, `alt_host`, `alt_port`, `user`, `pass`, `realm`; `:stop()`,
--  `:start()`, `:close()`, `:log()`, `:signal()`; `:turn(transport)`: its entry in the settings' `turn` list
function servers.coturn(options)
  return server.start(coturn, options or {})
end

local tinyproxy = { name = "tinyproxy" }

function tinyproxy:configure()
  local lines = {
    "Port " .. self.port,
    "Listen " .. self.host,
    "LogLevel Info",
    "MaxClients 20",
    "Timeout 600",
    self.user and ("BasicAuth %s %s"):format(self.user, self.pass) or "",
    self.config,
  }
  local path = scratch.write(self.folder .. "/tinyproxy.conf", table.concat(lines, "\n") .. "\n")
  self.command = { "tinyproxy", "-d", "-c", path }
end

function tinyproxy.is_ready(_, log)
  return log:find "Accepting connections"
end

--- Starts an HTTP proxy, for CONNECT.
-- @tparam[opt] table options `host` (127.0.0.1), `port`; `user` and `pass`: what it asks for; `folder`,
--  `within`; `config`: further lines of its configuration
-- @treturn server
function servers.tinyproxy(options)
  return server.start(tinyproxy, options or {})
end

local chronyd = { name = "chronyd" }

-- Whoever enters a network namespace is root there.
local function user_of(self)
  if self.within then return "root" end
  local me <close> = assert(io.popen "LD_PRELOAD= id -un")
  return me:read "l"
end

-- -x: the machine's clock is not ours to set. -U: whoever runs it will do.
function chronyd:configure()
  local lines = {
    "local stratum 10",
    "allow all",
    "cmdport 0",
    "bindcmdaddress /",
    ("bindaddress %s"):format(self.host),
    self.host6 and ("bindaddress %s"):format(self.host6) or "",
    ("port %d"):format(self.port),
    ("pidfile %s/pid"):format(self.folder),
    self.config,
  }
  local path = scratch.write(self.folder .. "/chrony.conf", table.concat(lines, "\n") .. "\n")
  self.command = { "chronyd", "-x", "-d", "-U", "-u", user_of(self), "-f", path }
end

-- It does not say when its socket is open, so we look, in its own network namespace.
function chronyd:is_ready()
  local a, b, c, d = self.host:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  local sockets = {
    udp = (": %02X%02X%02X%02X:%04X 0+:0000 "):format(d, c, b, a, self.port),
    udp6 = self.host6 and (": %%x+:%04X 0+:0000 "):format(self.port),
  }
  for name, socket in pairs(sockets) do
    local open = scratch.read(("/proc/%d/net/%s"):format(self.child:pid(), name))
    if not open:find(socket) then return false end
  end
  return true
end

--- Starts an NTP server that serves this machine's time.
-- @tparam[opt] table options `port`, `host` (the IPv4 address to listen on), `host6` (an IPv6 address; it is
-- waited for only if it is given), `folder`, `within`; `config`: further lines of its configuration
-- @treturn server `host`, `host6`, `port`; `:stop()`, `:start()`, `:close()`, `:log()`, `:signal()`
function servers.chronyd(options)
  return server.start(chronyd, options or {})
end

local function broker_entry(broker)
  return { host = broker.hostname or broker.host, port = broker.port, tls = broker.tls or false,
    ca = broker.ca }
end

local function stun_entry(stun)
  return { host = stun.hostname or stun.host, port = stun.port, behaviour = stun.behaviour ~= false }
end

local function literal(value)
  if type(value) ~= "table" then return ("%q"):format(value) end
  local fields = {}
  for key, field in pairs(value) do
    fields[#fields + 1] = ("[%s] = %s"):format(literal(key), literal(field))
  end
  return "{ " .. table.concat(fields, ", ") .. " }"
end

--- Settings that name these servers and no other.
-- @tparam table given `brokers`, `stuns`: lists of servers, or of tables with host and port; `ntp`,
--  `turn`: entries of the settings as they are
-- @tparam[opt] string path of the file; else it is in a folder of its own
-- @treturn string path of the settings file
-- @treturn table the settings
function servers.settings(given, path)
  local settings = {
    mqtt = list.map(given.brokers or {}, broker_entry),
    stun = list.map(given.stuns or {}, stun_entry),
    ntp = given.ntp or {},
    turn = given.turn or {},
  }
  path = path or scratch.folder() .. "/settings.lua"
  return scratch.write(path, "return " .. literal(settings) .. "\n"), settings
end

--- Stops every server that runs.
-- @function close_all
servers.close_all = server.close_all

return servers
