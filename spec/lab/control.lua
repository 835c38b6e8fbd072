--- The twin of every claim about a connection through NATs: without help there is none.
local agent = require "spec.lab.agent"
local assert = require "luassert"
local probe = require "spec.lab.probe"

local control = {}

local PORT = 7007

-- Both listen; one knocks at the other's outside, at the very port.
local function check_one_way(l, from, to, outside)
  local text = ("%s reaches %s without help"):format(from, to)
  assert.is_nil((probe.knock(outside, l:external(to), PORT)), text .. " over TCP")
  assert.is_nil((probe.ask(outside, l:external(to), PORT)), text .. " over UDP")
  if l:address(to) ~= l:external(to) then
    assert.is_nil((probe.knock(outside, l:address(to), PORT)), text .. ", and by its private address")
  end
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
function control.unreachable(l, a, b)
  local x <close> = probe.mirror(l, a, PORT)
  local y <close> = probe.mirror(l, b, PORT)
  if not is_reachable(l, b) then check_one_way(l, a, b, x) end
  if not is_reachable(l, a) then check_one_way(l, b, a, y) end
end

--- Fails when two hosts that ought to reach each other do not: the twin of @{unreachable}.
function control.reachable(l, a, b)
  local x <close> = agent.start(l, a)
  local y <close> = probe.mirror(l, b, PORT)
  assert.matches("^%d", (probe.knock(x, l:address(b), PORT)), ("%s does not reach %s"):format(a, b))
  assert.matches("^%d", (probe.ask(x, l:address(b), PORT)), ("%s does not reach %s by UDP"):format(a, b))
  assert(y)
end

return control
