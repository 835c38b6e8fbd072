local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local task = helper.task

local GOAL_KB = 10e6 // 1024

describe("p2pd.cli.footprint", function()
  local world = loopback.new(setup, teardown, { stun = true })

  local function resident(pid)
    return tonumber(helper.read(("/proc/%d/status"):format(pid)):match "VmRSS:%s+(%d+) kB")
  end

  it("keeps p2pd node below its goal, and working", task(function()
    if os.getenv "P2PD_SAN" then return end
    local child <close> = helper.p2pd("node", "--echo", "--settings", world.path, "--interface", "lo")
    child:stdout():settimeout(10)
    local address = child:stdout():read "l":match "^address: (.*)"
    local before = resident(child:pid())
    helper.wait_until(function() return resident(child:pid()) < before * 0.8 end)
    assert.is_true(resident(child:pid()) < GOAL_KB)
    local node <close> = world:start()
    local pipe <close> = assert(node:connect(address))
    pipe:write "hello\n"
    assert.equal("hello", pipe:read "l")
  end))

  it("ends with the node", task(function()
    local footprint = require "p2pd.cli.footprint"
    local node = { closed = true, ready = function() return nil, "the node is closed", "EBADF" end }
    local child <close> = core.task.spawn(footprint.keep_small, node)
    child:join(5)
    assert.equal("done", child:status())
  end))
end)
