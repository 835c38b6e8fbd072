--- What specs of core.punch share: plans, mappings, and hosts that answer no SYN.
local assert = require "luassert"
local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local task = require "p2pd.task"

local now = core.clock.monotonic

local punches = {}

punches.NEAR, punches.FAR = "127.0.0.2", "127.0.0.3"
punches.LONG_S = 10 -- until a deadline that is not meant to come

local NEAR, FAR, LONG_S = punches.NEAR, punches.FAR, punches.LONG_S

function punches.mapping(ip, port, remote_ip, remote_port, more)
  local m = { ip = ip, port = port, remote_ip = remote_ip, remote_port = remote_port }
  for key, value in pairs(more or {}) do m[key] = value end
  return m
end

function punches.plan(mappings, more)
  local p = { at = now(), deadline = now() + LONG_S, gap = 0.002, mappings = mappings }
  for key, value in pairs(more or {}) do p[key] = value end
  return p
end

function punches.listener_on(ip, port, backlog)
  return assert(core.tcp.listen { ip = ip, port = port, reuse_port = true, backlog = backlog })
end

--- As a NAT that drops what it did not ask for: a listener whose queue is full answers no SYN.
function punches.silence(ip, port)
  local listener = punches.listener_on(ip, port, 0)
  return task.hold(listener, assert(core.tcp.connect(ip, port, nil, 5)))
end

--- Two endpoints that answer no SYN unless they have sent one.
function punches.silent_pair(near_ip, far_ip)
  local near_port, far_port = helper.ports(2)
  local hold = task.hold(punches.silence(near_ip, near_port), punches.silence(far_ip, far_port))
  return hold, punches.mapping(near_ip, near_port, far_ip, far_port),
    punches.mapping(far_ip, far_port, near_ip, near_port)
end

--- A mapping to a port where nobody listens, and that endpoint.
function punches.refused()
  local near_port, far_port = helper.ports(2)
  return punches.mapping(NEAR, near_port, FAR, far_port), far_port
end

function punches.talk(near, far)
  assert(near:write "from near\n")
  assert(far:write "from far\n")
  assert.equal("from near", far:read "l")
  assert.equal("from far", near:read "l")
end

--- What the punch comes to when it has failed.
function punches.failure_of(punch)
  local stream, message, code = punch:wait()
  assert.is_nil(stream)
  return code, message
end

function punches.until_failed(punch, times)
  while punch:stats().failed < times do task.sleep(0.001) end
end

--- The local ports of all our sockets.
function punches.bound_ports()
  local ports = {}
  for name in lfs.dir "/proc/self/fd" do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target") or ""
    if target:find "^socket:" then
      local stream <close> = core.stream.fd(math.tointeger(name), false)
      local _, port = stream:getsockname()
      if math.type(port) == "integer" then ports[port] = true end
    end
  end
  return ports
end

return punches
