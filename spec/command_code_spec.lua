-- Commands that are given a code instead of an address: listen --code, connect, ping and forward.
local commands = require "spec.commands"
local helper = require "spec.helper"
local json = require "dkjson"
local task, finish, wait_for, wrong = helper.task, commands.finish, commands.wait_for, commands.wrong

describe("the command", function()
  local CODE = commands.CODE
  local world = commands.world(setup, teardown, before_each)

  describe("--code", function()
    it("of listen lets in who types it in connect, and nobody else", task(function()
      local child <close> = world:spawn("listen", "--code", "--json")
      local address = json.decode(child:stderr():read "l").address
      local code = json.decode(child:stderr():read "l").code
      local eve <close> = world:spawn("connect", address)
      local status, _, err = finish(eve)
      assert.equal(1, status)
      assert.matches("refused by the peer: not allowed", err)
      local guest <close> = world:spawn("connect", "-v", " " .. code:upper() .. "\n")
      assert.matches("^p2pd: connected to %w+ by %a+$", guest:stderr():read "l")
      guest:stdin():write "by code\n"
      assert.equal("by code", child:stdout():read "l")
      child:stdin():write "and back\n"
      assert.equal("and back", guest:stdout():read "l")
      guest:stdin():close()
      child:stdin():close()
      assert.equal(0, (finish(child)))
      assert.equal(0, (finish(guest)))
    end))

    it("ends the command when a wrong one was tried, and says so on both sides", task(function()
      local child <close> = world:spawn("listen", "--code")
      local status, _, err = world:run("connect", wrong(wait_for(child:stderr(), "p2pd connect " .. CODE)))
      assert.equal(1, status)
      assert.matches("the code is wrong", err)
      status, _, err = finish(child)
      assert.equal(1, status)
      assert.matches("somebody tried a wrong code", err)
    end))

    it("does not end it when others are let in", task(function()
      local alice <close> = world:start()
      local child <close> = world:spawn("listen", "--code", "--allow", alice.id)
      local address = wait_for(child:stderr(), "address: (.*)$")
      assert.equal(1, (world:run("connect", wrong(wait_for(child:stderr(), "p2pd connect " .. CODE)))))
      wait_for(child:stderr(), "(somebody tried a wrong code)")
      local pipe <close> = assert(alice:connect(address))
      pipe:write "hello\n"
      assert.equal("hello", child:stdout():read "l")
    end))

    it("fails without a broker, and for what is none", task(function()
      local nobody = helper.settings { brokers = { { host = "127.0.0.1", port = helper.free_port() } } }
      local child <close> = helper.p2pd("listen", "--settings", nobody, "--interface", "lo", "--code")
      local status, _, err = finish(child)
      assert.equal(1, status)
      assert.matches("broker", err)
      for _, command in ipairs { "connect", "ping" } do
        assert.matches('is it "amber"%?', select(3, world:run(command, "4-ambre-canoe-violin")))
      end
      assert.matches('is it "amber"%?', select(3, world:run("forward", "0", "4-ambre-canoe-violin")))
      local _, _, said = world:run("listen", "--allow", "4-amber-canoe-violin")
      assert.matches("is a code: it tells nobody's id", said)
    end))
  end)
end)
