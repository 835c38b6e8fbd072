--- Bursts of probes from chosen local ports, which show what external ports a NAT gives them.
-- @module p2pd.nat.burst
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local delta = require "p2pd.nat.delta"
local exchange = require "p2pd.stun.exchange"
local nat = require "p2pd.nat"
local stun = require "p2pd.stun"
local task = require "p2pd.task"

local burst = {}

local ROUND_TRIPS = 2        -- of a probe over TCP: connect, ask
local LATE, SLACK = 1.25, 0.02 -- how much longer than it should a probe may take, and seconds of jitter
local PATIENCE = 0.15        -- seconds more, when what has come by then proves nothing
local MAX_BURSTS = 3         -- with one server
local PROOFS = 2             -- bursts that show the lack of a rule: what spoils one rarely spoils another
local LACKS = { [nat.DELTA_RANDOM] = true, [nat.DELTA_DEPENDENT] = true } -- what is left of a spoilt rule

-- -- one probe: our port, the external address, and what holds the mapping open

local function connect(options, target, port, timeout)
  local local_end = { ip = options.ip, port = port, interface = options.interface, reuse_port = port ~= nil }
  local stream, reason, code = core.tcp.connect(target.ip, target.port, local_end, timeout)
  if code ~= "EPERM" or not options.interface then return stream, reason, code end
  local_end.interface = nil -- without the privilege, the address has to do
  return core.tcp.connect(target.ip, target.port, local_end, timeout)
end

--- One probe over TCP. Waits.
-- @tparam table options `ip` (to bind), `interface` (or nil), `connected` (function(seconds), or nil: called
-- when there is a connection)
-- @tparam table target `ip`, `port`
-- @tparam ?integer port the local one; nil for any
-- @tparam number timeout seconds
-- @treturn[1] table `port` (ours), `ip` and `external` (our address and port as the server saw them), `rtt`,
-- `other` (the server's other address)
-- @treturn[1] stream which is the caller's to close
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function burst.tcp(options, target, port, timeout)
  local started = core.clock.monotonic()
  local stream, reason, code = connect(options, target, port, timeout)
  if not stream then return nil, reason, code end
  local held <close> = task.hold(stream)
  local rtt = core.clock.monotonic() - started
  if options.connected then options.connected(rtt) end
  local answer
  answer, reason, code = stun.query_tcp(stream, { timeout = math.max(0, timeout - rtt) })
  if not answer then return nil, reason, code end
  local _, own = stream:getsockname()
  return { port = own, ip = answer.ip, external = answer.port, rtt = rtt, other = answer.message.other },
    held:release()
end

--- One probe over UDP; see @{tcp}.
function burst.udp(options, target, port)
  local socket, reason, code = exchange.open { ip = options.ip, port = port, interface = options.interface }
  if not socket then return nil, reason, code end
  local held <close> = task.hold(socket)
  local answer, rtt, from = socket:ask(target)
  if not answer then return nil, rtt, from end
  local mapped = answer.mapped
  return { port = socket.port, ip = mapped.ip, external = mapped.port, rtt = rtt }, held:release()
end

-- -- many

local function drop(holder)
  if holder.abort then holder:abort() else holder:close() end
end

-- Sends probes in their order and waits until all are answered. Those that are late are not waited for once
-- there are enough. Mappings are held until then.
local function fire(probes, rtt, limit, is_enough)
  local holders <close> = setmetatable({}, { __close = function(self)
    for _, holder in pairs(self) do drop(holder) end
  end })
  local ended, pending = task.condition(), #probes
  local soon = deadline.after(limit:left(LATE * ROUND_TRIPS * rtt + SLACK))
  local last = deadline.after(limit:left(2 * soon:left() + PATIENCE))
  local children <close> = task.group()
  for _, probe in ipairs(probes) do
    children:spawn(function()
      local found, holder = probe.send(last:left())
      if found then
        probe.ip, probe.external = found.ip, found.external
        holders[#holders + 1] = holder
      end
      pending = pending - 1
      ended:signal()
    end)
  end
  while pending > 0 and not last:has_passed() and not (soon:has_passed() and is_enough()) do
    ended:wait(soon:has_passed() and last:left() or soon:left())
  end
  return probes
end

local function with(bursts, probes)
  local all = { table.unpack(bursts) }
  all[#all + 1] = probes
  return all
end

-- Do these show a rule, or often enough that there is none?
local function is_conclusive(bursts)
  local kind = delta.infer(bursts)
  return kind ~= nil and (not LACKS[kind] or #bursts >= PROOFS)
end

-- A burst on its way, in a task of its own.
local function start(group, delay, fire_all)
  local probes = {}
  return { probes = probes, task = group:spawn(function()
    task.sleep(delay)
    return fire_all(probes)
  end) }
end

--- Bursts of probes to one server until they show a rule, three at most. Waits about two round trips for
-- each.
-- @tparam function send @{tcp} or @{udp}
-- @tparam table options see @{tcp}; `is_eager`: the second burst does not wait for the end of the first one
-- @tparam table target `ip`, `port`
-- @tparam number rtt seconds, to the server
-- @tparam deadline limit of all
-- @treturn {table,...} bursts, as @{delta.infer} takes them
function burst.run(send, options, target, rtt, limit)
  local bursts, ahead = {}, nil
  local group <close> = task.group()
  local function fire_all(probes)
    for i, port in ipairs(delta.plan()) do
      probes[i] = { port = port, send = function(timeout) return send(options, target, port, timeout) end }
    end
    return fire(probes, rtt, limit, function() return delta.infer(with(bursts, probes)) ~= nil end)
  end
  repeat
    local current = ahead or start(group, 0, fire_all)
    ahead = options.is_eager and #bursts == 0 and start(group, rtt, fire_all) or nil
    current.task:join()
    bursts = with(bursts, current.probes)
  until is_conclusive(bursts) or #bursts == MAX_BURSTS or limit:has_passed()
  return bursts
end

--- Connections from one local port to several servers. Waits about two round trips.
-- @tparam table options see @{tcp}
-- @tparam {table,...} targets
-- @tparam number rtt seconds
-- @tparam deadline limit of all
-- @treturn {table,...} those that answered, as @{nat.mapping} takes them
function burst.shared(options, targets, rtt, limit)
  local reserved <close> = core.tcp.listen { ip = options.ip, reuse_port = true }
  if not reserved then return {} end
  local _, port = reserved:getsockname()
  local probes = {}
  for i, target in ipairs(targets) do
    probes[i] = { send = function(timeout) return burst.tcp(options, target, port, timeout) end }
  end
  local function seen()
    local list = {}
    for i, target in ipairs(targets) do
      local mapped = { ip = probes[i].ip, port = probes[i].external }
      if mapped.port then list[#list + 1] = { ip = target.ip, port = target.port, mapped = mapped } end
    end
    return list
  end
  fire(probes, rtt, limit, function() return nat.is_conclusive(seen()) end)
  return seen()
end

return burst
