-- A node where netlink sockets are denied.
local core = require "p2pd.core"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local task = helper.task

local WAIT = 15
local DENY = helper.scratch() .. "/no_netlink"

local can, why = lab.is_possible()

local function compile()
  local child <close> = assert(core.process.spawn { os.getenv "CC" or "cc", "-D_GNU_SOURCE", "-o", DENY,
    "spec/regress/no_netlink.c" })
  return select(2, child:wait(WAIT)) == 0
end

describe("without netlink", function()
  setup(function() helper.in_task(function() assert.is_true(compile()) end) end)
  teardown(helper.close_all)

  local LIST = [[
    local found = {}
    for _, netif in ipairs(assert(require "p2pd.core".netif.list())) do
      if netif.ipv4[1] then
        print(netif.name, netif.up, netif.loopback, netif.ipv4[1].ip, netif.ipv4[1].prefix, netif.default4)
      end
    end]]

  it("interfaces are listed all the same", task(function()
    local function list(...)
      local command = { ... }
      table.move({ os.getenv "P2PD_EXE", "-e", LIST }, 1, 3, #command + 1, command)
      command.stdout = "pipe"
      local child <close> = assert(core.process.spawn(command))
      child:stdout():settimeout(WAIT)
      return child:stdout():read "a"
    end
    local expected = list()
    assert.matches("lo\ttrue\ttrue\t127.0.0.1\t8\tfalse", expected)
    assert.equal(expected, list(DENY))
  end))

  if not can then
    pending("a change is noticed: needs namespaces: " .. why)
    return
  end

  it("a change of the address is noticed", task(function()
    local l <close> = assert(lab.open { hosts = { a = {} }, servers = { brokers = 1, stuns = 1 } })
    local node <close> = assert(l:spawn("a", { DENY, os.getenv "P2PD_EXE", "node", stdout = "pipe" }))
    node:stdout():settimeout(WAIT)
    assert.matches(l:address "a", node:stdout():read "l", 1, true)
    local new = l:address "a":gsub("%d+$", "99")
    local moved = l:run("a", { "sh", "-ec", ("ip addr flush dev eth0; ip addr add %s/24 dev eth0; "
      .. "ip route add default via %s"):format(new, (new:gsub("%d+$", "1"))) })
    assert.equal(0, moved.status)
    local line
    repeat line = assert(node:stdout():read "l") until line:find(new, 1, true)
    assert.matches("^address: ", line)
  end))
end)
