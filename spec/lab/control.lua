--- The twin of every claim about a connection through NATs: without help there is none.
local agent = require "spec.lab.agent"
local assert = require "luassert"
local probe = require "spec.lab.probe"
local task = require "p2pd.task"

local control = {}

local PORT = 7007

-- Both listen; one knocks at the other's outside, at the very port. What is to be unreachable, and is asked.
local function attempts(l, from, to, outside, family)
  local ipv6 = family == "ipv6" and l:address(to, nil, family)
  local list = ipv6 and { { "over TCP", probe.knock, ipv6 }, { "over UDP", probe.ask, ipv6 } } or {
    { "over TCP", probe.knock, l:external(to) },
    { "over UDP", probe.ask, l:external(to) },
    { "by its private address", probe.knock, l:address(to) },
  }
  if not ipv6 and l:address(to) == l:external(to) then list[3] = nil end
  for _, one in ipairs(list) do
    one.run = function()
      local heard = one[2](outside, one[3], PORT)
      assert.is_nil(heard, ("%s reaches %s without help %s"):format(from, to, one[1]))
      return true
    end
  end
  return list
end

local function is_reachable(l, host)
  for _, interface in ipairs(l.plan.hosts[host].interfaces) do
    if #interface.line.link.nats > 0 then return false end
  end
  return true
end

--- Fails when one of two hosts reaches the other without help, over UDP or TCP, though both listen. A host
-- with a public address may be reached: then only the other way is checked.
-- @tparam lab l
-- @tparam string a
-- @tparam string b
-- @tparam[opt="ipv4"] string family by which of their addresses
function control.unreachable(l, a, b, family)
  local x <close> = probe.mirror(l, a, PORT)
  local y <close> = probe.mirror(l, b, PORT)
  local fns = {}
  for _, way in ipairs { { a, b, x, family }, { b, a, y, family } } do
    if not is_reachable(l, way[2]) then
      for _, attempt in ipairs(attempts(l, table.unpack(way))) do fns[#fns + 1] = attempt.run end
    end
  end
  task.all(fns)
end

--- Fails when two hosts that ought to reach each other do not: the twin of @{unreachable}.
function control.reachable(l, a, b, family)
  local x <close> = agent.start(l, a)
  local y <close> = probe.mirror(l, b, PORT)
  local ip = l:address(b, nil, family)
  assert.is_string((probe.knock(x, ip, PORT)), ("%s does not reach %s"):format(a, b))
  assert.is_string((probe.ask(x, ip, PORT)), ("%s does not reach %s by UDP"):format(a, b))
  assert(y)
end

return control
