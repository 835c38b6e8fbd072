local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"

local WAIT, online, exchange = mqtt.WAIT, mqtt.online, mqtt.exchange

describe("p2pd.mqtt", function()
  describe("TLS", function()
    local secure

    setup(function()
      local other = helper.free_port()
      local lines = "listener %d 127.0.0.2\ncertfile cert.pem\nkeyfile key.pem"
      secure = helper.mosquitto { tls = true, config = lines:format(other), other = other }
    end)
    teardown(helper.close_all)

    it("verifies the broker with the ca file", helper.task(function()
      for _, host in ipairs { "localhost", "127.0.0.1" } do
        local options = { host = host, port = secure.port, tls = true, ca = secure.ca }
        local a <close> = online(options)
        local b <close> = online(options, function(client) client:subscribe "spec/tls" end)
        assert.equal("sealed", select(2, exchange(a, b, "spec/tls", "sealed")))
      end
    end))

    local function refused(options)
      local client <close> = core.mqtt.open(options)
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      assert.equal("EPROTO", code)
      return message
    end

    it("refuses a certificate of another ca", helper.task(function()
      local ca = helper.certificate(helper.scratch())
      local message = refused { host = "localhost", port = secure.port, tls = true, ca = ca }
      assert.matches("TLS handshake: certificate verify failed", message)
    end))

    it("refuses a certificate that the system does not know", helper.task(function()
      local message = refused { host = "localhost", port = secure.port, tls = true }
      assert.matches("TLS handshake: certificate verify failed", message)
    end))

    it("refuses a certificate for another host", helper.task(function()
      local options = { host = "127.0.0.2", port = secure.other, tls = true, ca = secure.ca }
      local message = refused(options)
      assert.matches("certificate is not for 127.0.0.2", message)
    end))

    it("tells a broker that closes from one with a wrong certificate", helper.task(function()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      local _ <close> = core.task.spawn(function()
        while true do
          local stream <close> = assert(listener:accept())
          stream:recv()
        end
      end)
      local message = refused { host = "127.0.0.1", port = port, tls = true }
      assert.matches("TLS handshake: unexpected eof", message)
    end))
  end)
end)
