--- Nodes in the hosts of a lab, and dials between them.
local agent = require "spec.lab.agent"

local peers = {}
peers.__index = peers

local START = [[
  local options, nats, skew = ...
  local getenv = os.getenv
  os.getenv = function(name) return name == "P2PD_SKEW" and tostring(skew or 0) or getenv(name) end
  core.log.level(getenv "P2PD_LOG" or "error")
  options.settings = options.settings or getenv "P2PD_SETTINGS"
  local node = assert(require "p2pd".node(options))
  for i, known in ipairs(nats or {}) do
    for _, route in ipairs(node.routes) do
      if route.family == "ipv4" and route.interface == i - 1 then route.nat = known end
    end
  end
  state.node = node
  state.accepting = task.spawn(function()
    for pipe in node:pipes() do
      task.spawn(function()
        local pipe <close> = pipe
        local line = pipe:read "L"
        while line and pipe:write(line) do line = pipe:read "L" end
      end)
    end
  end)
  return node.address
]]

-- As if NTP were blocked and the system's clock wrong.
local SKEW = [[
  local skew = ...
  local clock = require "p2pd.clock"
  state.clock = state.clock or { now = clock.now, to_monotonic = clock.to_monotonic, offset = clock.offset }
  for name, fn in pairs(state.clock) do clock[name] = fn end
  if skew == 0 then return end
  function clock.now() return state.clock.now() + skew end
  function clock.to_monotonic(t) return state.clock.to_monotonic(t - skew) end
  function clock.offset() return { offset = 0, bound = math.huge, source = "system", servers = 0 } end
]]

local WAIT_FOR_TIME = [[
  local clock = require "p2pd.clock"
  local deadline = core.clock.monotonic() + 5
  while clock.offset().source == "system" and core.clock.monotonic() < deadline do task.sleep(0.02) end
  return clock.offset().source
]]

local END_SESSIONS = [[
  for _, session in ipairs(state.node:sessions()) do session:close() end
]]

local DIAL = [[
  local address, options = ...
  local started = core.clock.monotonic()
  local pipe, err = state.node:connect(address, options)
  local seconds = core.clock.monotonic() - started
  if not pipe then return { ok = false, seconds = seconds, reason = tostring(err) } end
  local held <close> = task.hold(pipe)
  pipe:settimeout(5)
  assert(pipe:write "ping\n")
  local line = pipe:read "l"
  local info = pipe:info()
  return { ok = line == "ping", seconds = seconds, strategy = pipe.strategy,
    reason = line ~= "ping" and "no echo" or nil, mine = info["local"], theirs = info.remote }
]]

-- Who measures punching dials more often than strangers may.
local LIMITS = { birthdays_of_strangers = 1e6, birthdays_to_target = 1e6 }

--- Starts a node in a host.
-- @tparam lab l
-- @tparam string host
-- @tparam[opt] table options `node` (of p2pd.node), `nats` (what its interfaces are to say of their NATs),
-- `skew` (seconds)
function peers.start(l, host, options)
  options = options or {}
  local self = setmetatable({ agent = agent.start(l, host) }, peers)
  local given = { limits = LIMITS }
  for key, value in pairs(options.node or {}) do given[key] = value end
  self.address = self.agent:call(START, given, options.nats, options.skew)
  return self
end

--- Dials by punching alone; `ok`, `seconds`, `reason`.
function peers:dial(other, options)
  local wanted = { strategies = { "punch" }, timeout = 10 }
  for key, value in pairs(options or {}) do wanted[key] = value end
  return self.agent:call(DIAL, other.address, wanted)
end

--- Ends its sessions, so that its next dial is one.
function peers:end_sessions() return self.agent:call(END_SESSIONS) end

--- Waits until the node has network time.
function peers:wait_for_time() return self.agent:call(WAIT_FOR_TIME) end

--- From now on its clock is wrong by so many seconds, and it knows no better; 0 mends it.
function peers:set_skew(seconds) self.agent:call(SKEW, seconds) end

--- Runs a chunk there, see spec.lab.agent.
function peers:call(...) return self.agent:call(...) end

function peers:close() self.agent:close() end

peers.__close = peers.close

return peers
