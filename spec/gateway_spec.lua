local core = require "p2pd.core"
local gateways = require "spec.gateways"
local helper = require "spec.helper"

local GATEWAY = "127.5.3.51"

-- A NAT-PMP server that answers each request with what a function makes of it.
local function natpmp_server(answer)
  local socket = assert(core.udp.bind { ip = GATEWAY, port = 5351 })
  local server = core.task.spawn(function()
    while true do
      local request, ip, port = socket:recvfrom()
      local data = request and answer(request)
      if data then socket:sendto(data, ip, port) end
    end
  end)
  return setmetatable({}, { __close = function()
    server:cancel()
    socket:close()
  end })
end

describe("p2pd.core.gateway", function()
  describe("natpmp()", function()
    it("asks for the external address", helper.task(function()
      local _ <close> = natpmp_server(function(request)
        return request == "\0\0" and (">BBHI4BBBB"):pack(0, 128, 0, 77, 203, 0, 113, 9)
      end)
      assert.same({ ip = "203.0.113.9", epoch = 77 }, core.gateway.natpmp { gateway = GATEWAY })
    end))

    it("asks for a TCP mapping", helper.task(function()
      local asked
      local _ <close> = natpmp_server(function(request)
        asked = request
        return (">BBHI4HHI4"):pack(0, 130, 0, 77, 5555, 6666, 1800)
      end)
      assert.same({ port = 6666, lifetime = 1800, epoch = 77 }, core.gateway.natpmp { gateway = GATEWAY,
        internal_port = 5555, external_port = 5556, lifetime = 3600 })
      assert.equal((">BBHHHI4"):pack(0, 2, 0, 5555, 5556, 3600), asked)
    end))

    it("names refusals", helper.task(function()
      local _ <close> = natpmp_server(function() return (">BBHI4I4"):pack(0, 128, 2, 77, 0) end)
      local answer, reason, code = core.gateway.natpmp { gateway = GATEWAY }
      assert.same({ nil, "not authorized", "EACCES" }, { answer, reason, code })
    end))

    it("takes no answer to another question, and no garbage", helper.task(function()
      local data = (">BBHI4HHI4"):pack(0, 130, 0, 77, 1, 2, 1800)
      local _ <close> = natpmp_server(function() return data end)
      assert.equal("EBADMSG", (select(3, core.gateway.natpmp { gateway = GATEWAY })))
      assert.equal("EBADMSG", (select(3, core.gateway.natpmp { gateway = GATEWAY, internal_port = 5,
        lifetime = 1 })))
      for _, garbage in ipairs { "", "\0", "\0\128", "\0\128\0\0\0\0\0\0\203", ("\xff"):rep(500) } do
        data = garbage
        assert.is_nil((core.gateway.natpmp { gateway = GATEWAY, timeout = 0.1 }))
      end
    end))

    it("waits until its time is up", helper.task(function()
      local _ <close> = natpmp_server(function() end)
      local answer, reason, code = core.gateway.natpmp { gateway = GATEWAY, timeout = 0.3 }
      assert.same({ nil, "no answer", "ETIMEDOUT" }, { answer, reason, code })
    end))

    it("says when nobody listens", helper.task(function()
      assert.equal("ECONNREFUSED", (select(3, core.gateway.natpmp { gateway = GATEWAY })))
    end))

    it("can be left", helper.task(function()
      local _ <close> = natpmp_server(function() end)
      local asking = core.task.spawn(core.gateway.natpmp, { gateway = GATEWAY, timeout = 0.2 })
      core.task.sleep(0)
      asking:cancel()
      assert.equal("cancelled", asking:status())
    end))

    it("raises for what is no question", function()
      assert.has_error(function() core.gateway.natpmp { gateway = "nobody" } end)
      assert.has_error(function() core.gateway.natpmp { gateway = "::1" } end)
      assert.has_error(function() core.gateway.natpmp { gateway = GATEWAY, timeout = 0 } end)
    end)
  end)

  describe("igd_description()", function()
    it("finds the WAN connection", helper.task(function()
      local found = core.gateway.igd_description(gateways.description(2))
      assert.same({ type = "urn:schemas-upnp-org:service:WANIPConnection:2", control = "/control" },
        found.first)
      assert.is_nil(found.firewall)
    end))

    it("finds nothing in other text", helper.task(function()
      for _, text in ipairs { "", "<", "<a", "\0\0", "<root>", ("<a>"):rep(20000), ("x"):rep(65536) } do
        assert.same({ url_base = "" }, core.gateway.igd_description(text))
      end
    end))

    it("takes no more than 64 KiB", helper.task(function()
      assert.equal("EMSGSIZE", (select(3, core.gateway.igd_description(("x"):rep(65537)))))
    end))
  end)

  describe("igd_reply()", function()
    it("finds results", helper.task(function()
      local text = gateways.reply("X", { NewReservedPort = 5556 })
      assert.equal("5556", core.gateway.igd_reply(text).NewReservedPort)
    end))

    it("finds a fault", helper.task(function()
      local found = core.gateway.igd_reply(gateways.fault(718, "ConflictInMappingEntry"))
      assert.same({ "718", "ConflictInMappingEntry" }, { found.errorCode, found.errorDescription })
    end))

    it("bounds what it takes over", helper.task(function()
      local many = {}
      for i = 1, 1000 do many[i] = ("<n%d>%s</n%d>"):format(i, ("v"):rep(500), i) end
      local found, n = core.gateway.igd_reply(table.concat(many):sub(1, 65000)), 0
      for _, value in pairs(found) do
        n = n + 1
        assert.is_true(#value < 128)
      end
      assert.equal(32, n)
    end))
  end)
end)
