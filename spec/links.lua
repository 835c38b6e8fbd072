--- Two ends of a reliable link over UDP on loopback.
local core = require "p2pd.core"
local task = require "p2pd.task"

local links = {}

local ids = 0

--- Two carriers that talk to each other.
-- @treturn p2pd.datagrams
-- @treturn p2pd.datagrams
function links.carriers()
  local a = assert(core.udp.bind { ip = "127.0.0.1" })
  local b = assert(core.udp.bind { ip = "127.0.0.1" })
  local ip, port = a:getsockname()
  local near = assert(a:datagrams(b:getsockname()))
  return near, assert(b:datagrams(ip, port))
end

--- `local _ <close>, near, far = links.pair()`
-- @tparam[opt] table options of both, besides `id`, `role` and `carrier`
-- @return owns and closes both
-- @treturn p2pd.reliable.link the dialer's
-- @treturn p2pd.reliable.link the answerer's
function links.pair(options)
  local near, far = links.carriers()
  ids = ids + 1
  local function make(role, carrier)
    local all = { id = "links " .. ids, role = role, carrier = carrier }
    for key, value in pairs(options or {}) do all[key] = value end
    return core.reliable.new(all)
  end
  local a, b = make("dialer", near), make("answerer", far)
  return task.hold(a, b), a, b
end

--- The same as open streams.
function links.streams(options)
  local held <close>, near, far = links.pair(options)
  assert(near:open(5))
  assert(far:open(5))
  local a, b = near:stream(), far:stream()
  held:release()
  return task.hold(a, b), a, b
end

return links
