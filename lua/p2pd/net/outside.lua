--- One light question to the outside: does a STUN server still see the address that we tell peers? A router
-- that its provider has given another one says nothing to the hosts behind it.
-- @module p2pd.net.outside
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local stun = require "p2pd.stun"
local task = require "p2pd.task"

local outside = {}

outside.TIMEOUT = 2 -- seconds for one route

local FIRST_S = 0.6     -- that one server alone is asked for
local SERVERS_MAX = 4
local UDP = { rto = 0.2, rc = 3 }

local function over_udp(binding, targets, timeout)
  local socket <close>, reason, code = core.udp.bind(binding)
  if not socket then return nil, reason, code end
  local answer
  answer, reason, code = stun.query(socket, targets, { timeout = timeout, rto = UDP.rto, rc = UDP.rc })
  if not answer then return nil, reason, code end
  return answer.ip
end

local over_tcp
function over_tcp(binding, target, timeout)
  local stream <close>, reason, code = core.tcp.connect(target.ip, target.port, binding, timeout)
  if not stream and code == "EPERM" and binding.interface then -- the address has to do
    return over_tcp({ ip = binding.ip }, target, timeout)
  end
  if not stream then return nil, reason, code end
  local answer
  answer, reason, code = stun.query_tcp(stream, { timeout = timeout })
  if not answer then return nil, reason, code end
  return answer.ip
end

local function ask_rest(binding, targets, first, is_tcp, timeout)
  local questions = {}
  for i = 1, math.min(#targets, SERVERS_MAX) do
    local target = targets[(first + i - 1) % #targets + 1]
    questions[#questions + 1] = function()
      if is_tcp then return over_tcp(binding, target, timeout) end
      return over_udp(binding, { target }, timeout)
    end
  end
  return task.race(questions)
end

--- Asks one server, and others only when it is silent. Waits.
-- @tparam table route of ours
-- @tparam {table,...} targets servers, `ip` and `port`
-- @tparam integer turn which of them is asked first
-- @tparam[opt] table options `interface` (to bind to), `is_tcp` (true where UDP is blocked)
-- @treturn string our address as it is seen; or nil, message, code
function outside.ask(route, targets, turn, options)
  if not targets[1] then return nil, "no STUN server to ask", "ENOENT" end
  options = options or {}
  local binding = { ip = route.nic, interface = options.interface }
  local limit, first = deadline.after(outside.TIMEOUT), turn % #targets + 1
  local ip, reason, code
  if options.is_tcp then
    ip, reason, code = over_tcp(binding, targets[first], FIRST_S)
  else
    ip, reason, code = over_udp(binding, { targets[first] }, FIRST_S)
  end
  if ip then return ip end
  if #targets == 1 and limit:has_passed() then return nil, reason, code end
  return ask_rest(binding, targets, first, options.is_tcp, limit:left())
end

return outside
