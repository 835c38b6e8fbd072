-- p2pd chat among three, as processes: what one says reaches who has no pipe to him.
local commands = require "spec.commands"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local task, wait_for = helper.task, commands.wait_for

local WAIT = 10

describe("p2pd chat, of three", function()
  local world = loopback.new(setup, teardown)
  local folder

  before_each(function() folder = helper.scratch() end)

  local function join(nick, ...)
    return commands.limit(helper.p2pd { env = { XDG_CONFIG_HOME = folder, XDG_DATA_HOME = folder }, "chat",
      "--settings", world.path, "--interface", "lo", "--nick", nick, ... })
  end

  -- Those who called alice, and know each other by her.
  local function gather(fn)
    return task(function()
      local alice <close> = join "alice"
      local address = wait_for(alice:stdout(), "^address: (.*)$")
      local bob <close> = join("bob", address)
      local bobs = wait_for(bob:stdout(), "^address: (.*)$")
      wait_for(bob:stdout(), "^%* (alice)~.... is here %(direct%)$")
      local carol <close> = join("carol", address)
      wait_for(carol:stdout(), "^%* (bob)~.... is here %(by alice~....%)$")
      wait_for(bob:stdout(), "^%* (carol)~.... is here %(by alice~....%)$")
      fn(alice, bob, carol, address, bobs)
    end)
  end

  local function next_said(one)
    return wait_for(one:stdout(), "^([^*].*)$")
  end

  it("brings lines to who has no pipe to their author, and says by whom", gather(function(alice, bob, carol)
    bob:stdin():write "hi all\n"
    wait_for(alice:stdout(), "^bob~....: (hi all)$")
    wait_for(carol:stdout(), "^bob~.... %(by alice~....%): (hi all)$")
    carol:stdin():write "bell\a\n/who\n"
    wait_for(bob:stdout(), "^carol~.... %(by alice~....%): (bell%?)$")
    wait_for(carol:stdout(), "^%* here: (carol, alice~...., bob~.... %(by alice~....%))$")
    bob:stdin():write "/name Bob\n"
    wait_for(carol:stdout(), "^%* bob~.... is now (Bob)~....$")
    bob:stdin():write "/quit\n"
    wait_for(carol:stdout(), "^%* (Bob)~.... has left$")
    alice:stdin():write "/quit\n"
    wait_for(carol:stdout(), "^%* (alice)~.... has left$")
    assert.same({ "exit", 0 }, { alice:wait(WAIT) })
  end))

  it("says who is out of reach when the one between has left", gather(function(alice, _, carol)
    alice:kill "INT"
    wait_for(carol:stdout(), "^%* (bob)~.... has left: out of reach without alice~....$")
  end))

  it("brings lines once where everybody has a pipe to everybody", gather(function(_, bob, _, address, bobs)
    local dave <close> = join("dave", address, bobs)
    for _ = 1, 2 do wait_for(dave:stdout(), "^%* (%a+)~.... is here %(direct%)$") end
    wait_for(bob:stdout(), "^%* (dave)~.... is here %(direct%)$")
    bob:stdin():write "one\ntwo\n"
    assert.matches("^bob~....: one$", next_said(dave))
    assert.matches("^bob~....: two$", next_said(dave))
  end))
end)
