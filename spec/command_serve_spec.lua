-- The command serve: what it tells when it starts (spec/http*_spec.lua have what is served).
local address = require "p2pd.address"
local commands = require "spec.commands"
local helper = require "spec.helper"
local task = helper.task

describe("the command", function()
  local world = commands.world(setup, teardown, before_each)

  describe("serve", function()
    it("tells its URL with the token, the token's file and its address", task(function()
      local folder = helper.scratch()
      local child <close> = world:spawn("serve", "--http", "127.0.0.1:0",
        { env = { XDG_RUNTIME_DIR = folder } })
      local port, token = child:stdout():read "l":match "^http://127%.0%.0%.1:(%d+)/#(%x+)$"
      local file = ("%s/p2pd/http-%s.token"):format(folder, port)
      assert.equal("token: " .. file, child:stdout():read "l")
      assert.equal(token .. "\n", helper.read(file))
      assert(address.parse(child:stdout():read "l":match "^address: (.*)"))
      commands.check_interrupted(child)
      assert.is_nil(io.open(file))
    end))

    it("has the user's token, and tells neither it nor a file", task(function()
      local file = helper.scratch() .. "/token"
      helper.write(file, "0123456789abcdef")
      os.execute("chmod 600 " .. file)
      local child <close> = world:spawn("serve", "--http", "127.0.0.1:0", "--token-file", file)
      assert.matches("^http://127%.0%.0%.1:%d+/$", child:stdout():read "l")
      assert.matches("^address: ", child:stdout():read "l")
    end))

    it("says what is wrong before it starts", task(function()
      local status, out, err = world:run("serve", "--http", "0.0.0.0:0")
      assert.same({ 2, "", "p2pd: others can reach 0.0.0.0: --token-file is needed\n" }, { status, out, err })
      status, out, err = world:run("serve", "--token-file", "/no/such")
      assert.same({ 1, "" }, { status, out })
      assert.matches("/no/such", err)
      status, out, err = world:run("serve", "--http", "localhost")
      assert.same({ 2, "" }, { status, out })
      assert.matches("localhost is no IP:PORT", err)
    end))
  end)
end)
