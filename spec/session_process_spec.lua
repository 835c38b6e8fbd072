-- What a process that ends leaves to its peer: no session that looks for a path to nobody.
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local task = helper.task

local ENDS = 5

local CODE = [[
  local node <close> = assert(p2pd.node { settings = %q, interfaces = { "lo" }, background = true })
  local pipe <close> = assert(node:connect(%q))
  pipe:write "hello\n"
  assert(pipe:read "l" == "hello")]]

describe("a process that ends", function()
  local world = loopback.new(setup, teardown)

  local function echo(node)
    for pipe in node:pipes() do
      local line = pipe:read "L"
      if line then pipe:write(line) end
      pipe:close()
    end
  end

  -- Each time the node learns at once that the session is over.
  local function check(node, start)
    local _ <close> = core.task.spawn(echo, node)
    for _ = 1, ENDS do
      local child <close> = start()
      child:stdin():write "hello\n"
      child:stdin():close()
      assert.equal(0, (commands.finish(child)))
      helper.wait_until(function() return #node:sessions() == 0 end)
    end
  end

  it("ends the sessions of its node", task(function()
    local node <close> = world:start()
    check(node, function() return helper.p2pd("-e", CODE:format(world.path, node.address)) end)
  end))

  it("does so as a command, too", task(function()
    local node <close> = world:start()
    check(node, function()
      return helper.p2pd("connect", "--settings", world.path, "--interface", "lo", node.address)
    end)
  end))
end)
