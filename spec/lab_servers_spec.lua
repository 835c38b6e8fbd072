local core = require "p2pd.core"
local helper = require "spec.helper"

describe("p2pd.lab.servers", function()
  teardown(helper.close_all)

  describe("chronyd()", function()
    local function ask(server)
      local socket <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      assert(socket:sendto("\x23" .. ("\0"):rep(47), server.host, server.port))
      return (socket:recvfrom(5))
    end

    it("starts a server that answers, stops it and starts it again", helper.task(function()
      local server = helper.chronyd()
      assert.equal(48, #ask(server))
      server:stop()
      assert.is_nil(ask(server))
      server:start()
      assert.equal(48, #ask(server))
      server:close()
    end))

    it("takes further lines of its configuration", helper.task(function()
      local server <close> = helper.chronyd { config = "local stratum 7" }
      assert.equal(7, ask(server):byte(2))
    end))
  end)
end)
