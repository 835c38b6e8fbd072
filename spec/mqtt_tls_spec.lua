local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"

local WAIT, online, exchange = mqtt.WAIT, mqtt.online, mqtt.exchange

local function output(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

-- How a process ends that goes online with the system's authorities, as its environment names them.
local function in_child(env, port)
  local script = [[
    local core = require "p2pd.core"
    core.task.run(function()
      local client <close> = core.mqtt.open { host = "localhost", port = %d, tls = true }
      assert(client:wait_online(5))
    end)
  ]]
  env.LUA_CPATH = package.cpath
  local child <close> = assert(core.process.spawn {
    "lua5.4", "-e", script:format(port), env = env, stderr = "null",
  })
  return child:wait(WAIT)
end

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

    local function refused(options, expected)
      local client <close> = core.mqtt.open(options)
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      assert.equal(expected or "EACCES", code)
      return message
    end

    it("refuses a certificate of another ca", helper.task(function()
      local ca = helper.certificate(helper.scratch())
      local message = refused { host = "localhost", port = secure.port, tls = true, ca = ca }
      assert.matches("TLS: the server's certificate is not good: self%-signed certificate", message)
    end))

    it("refuses a certificate that the system does not know", helper.task(function()
      local message = refused { host = "localhost", port = secure.port, tls = true }
      assert.matches("TLS: the server's certificate is not good: self%-signed certificate", message)
    end))

    it("refuses a certificate for another host", helper.task(function()
      local options = { host = "127.0.0.2", port = secure.other, tls = true, ca = secure.ca }
      local message = refused(options)
      assert.matches("TLS: the server's certificate is not good: IP address mismatch", message)
    end))

    it("reports that the broker wants a certificate of ours", helper.task(function()
      local lines = "require_certificate true\ncafile cert.pem\n"
      local broker <close> = helper.mosquitto { tls = true, config = lines }
      local client <close> = core.mqtt.open { host = "127.0.0.1", port = broker.port, tls = true,
        ca = broker.ca }
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      -- The broker's alert comes after the handshake, and may be lost with the connection that it ends.
      assert.is_true(code == "ECONNRESET" or
        code == "EACCES" and message:find "wants a client certificate" ~= nil)
    end))

    it("trusts the system's certificates, from a folder or a file", helper.task(function()
      local folder = helper.scratch()
      local name = output("openssl x509 -noout -hash -in " .. secure.ca):gsub("%s+", "") .. ".0"
      assert(os.execute(("cp %s %s/%s"):format(secure.ca, folder, name)))
      for variable, value in pairs { SSL_CERT_DIR = folder, SSL_CERT_FILE = secure.ca } do
        assert.same({ "exit", 0 }, { in_child({ [variable] = value }, secure.port) })
      end
      assert.same({ "exit", 1 }, { in_child({}, secure.port) })
    end))

    it("ends what is published before a close", helper.task(function()
      local options = { host = "127.0.0.1", port = secure.port, tls = true, ca = secure.ca }
      local b <close> = online(options, function(client) client:subscribe "spec/last" end)
      local a = online(options)
      for i = 1, 20 do assert(a:publish("spec/last", tostring(i))) end
      a:close()
      for i = 1, 20 do assert.equal(tostring(i), select(2, b:receive(WAIT))) end
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
      local message = refused({ host = "127.0.0.1", port = port, tls = true }, "ECONNRESET")
      assert.matches("TLS: the peer hung up in the TLS handshake", message)
    end))
  end)
end)
