local core = require "p2pd.core"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local in_task = helper.task

describe("p2pd.core.tls", function()
  describe("authority()", function()
    local secure

    setup(function()
      local other = helper.free_port()
      local lines = "listener %d 127.0.0.2\ncertfile cert.pem\nkeyfile key.pem"
      secure = helper.mosquitto { tls = true, config = lines:format(other), other = other }
    end)
    teardown(helper.close_all)

    local function shake(ca, name, ip, port)
      local stream <close> = assert(core.tcp.connect(ip or "127.0.0.1", port or secure.port))
      local ok, message, code = core.tls.client(stream, assert(core.tls.authority(ca)), name, 10)
      if ok then return ok, message, stream:stats().tls.protocol end
      return ok, message, code
    end

    it("makes a context that accepts a server by its name or address", in_task(function()
      for _, name in ipairs { "localhost", "127.0.0.1" } do
        assert.same({ true, name, "TLSv1.3" }, { shake(secure.ca, name) })
      end
    end))

    it("refuses another name", in_task(function()
      local ok, message, code = shake(secure.ca, "broker.example.org")
      assert.same({ nil, "EACCES" }, { ok, code })
      assert.matches("TLS with broker.example.org: the server's certificate is not good: hostname mismatch",
        message)
      ok, message, code = shake(secure.ca, "127.0.0.2", "127.0.0.2", secure.other)
      assert.same({ nil, "EACCES" }, { ok, code })
      assert.matches("IP address mismatch", message)
    end))

    it("refuses what no authority of its vouches for", in_task(function()
      local other = helper.certificate(helper.scratch())
      assert.same({ "EACCES", "EACCES" },
        { select(3, shake(other, "localhost")), select(3, shake(nil, "localhost")) })
    end))

    it("needs certificates", function()
      local context, message, code = core.tls.authority "/nonexistent/ca.pem"
      assert.same({ nil, "ENOENT" }, { context, code })
      assert.matches("/nonexistent/ca.pem", message)
    end)

    it("is for clients, and for names", in_task(function()
      local stream <close> = assert(core.tcp.connect("127.0.0.1", secure.port))
      local context = assert(core.tls.authority(secure.ca))
      assert.has_error(function() core.tls.server(stream, context, "localhost") end)
      for _, name in ipairs { "", "a\0b", ("x"):rep(254) } do
        assert.has_error(function() core.tls.client(stream, context, name) end)
      end
      local alice = nodes.new(("a"):rep(32))
      assert.has_error(function() core.tls.client(stream, alice.context, "localhost") end)
    end))

    it("hears what is no TLS", in_task(function()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      local _ <close> = core.task.spawn(function()
        local stream <close> = assert(listener:accept())
        stream:write "220 hello\r\n"
        stream:read "l"
      end)
      assert.equal("EPROTO", select(3, shake(secure.ca, "localhost", "127.0.0.1", port)))
    end))
  end)
end)
