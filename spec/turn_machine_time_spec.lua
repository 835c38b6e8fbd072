local core = require "p2pd.core"
local server = require "spec.turn_server"

local allocated, kinds, waits = server.allocated, server.kinds, server.waits
local PEER = { ip = "192.0.2.9", port = 7000 }

describe("core.turn", function()
  describe("time", function()
    -- What goes out, as { instant, name }, with everything answered, until `stop`.
    local function run(client, stop)
      local log, now = {}, 0
      while now <= stop do
        local action, value = client:poll(now)
        if action == "wait" then
          now = math.max(now, value)
        else
          local m = core.stun.decode(value, server.key())
          local name = ({ binding = "binding", [4] = "refresh", [8] = "permit", [9] = "bind" })[m.method]
          log[#log + 1] = { now, name }
          client:feed(server.success(m, { lifetime = 600, key = m.method ~= "binding" and server.key() }), 0,
            now)
        end
      end
      return log
    end

    local function instants(log, name)
      local list = {}
      for _, entry in ipairs(log) do
        if entry[2] == name then list[#list + 1] = entry[1] end
      end
      return list
    end

    it("renews the allocation a minute before its end", function()
      assert.same({ 540, 1080 }, instants(run(allocated(), 1100), "refresh"))
    end)

    it("renews permissions and channels before 5 minutes have passed", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:bind(PEER.ip, PEER.port)
      local log = run(client, 500)
      assert.same({ 0, 240, 480 }, instants(log, "permit"))
      assert.same({ 0, 240, 480 }, instants(log, "bind"))
      assert.same({ "permitted", "bound" }, kinds(client))
    end)

    it("is never silent for more than 25 s", function()
      local last = 0
      for _, entry in ipairs(run(allocated(), 300)) do
        assert.is_true(entry[1] - last <= 25)
        last = entry[1]
      end
    end)

    it("tells when the server has died", function()
      local client = allocated()
      local now = 0
      while now < math.huge do
        local action, value = client:poll(now)
        if action == "wait" then now = value end
      end
      local event = client:event()
      assert.same({ "lost", "ETIMEDOUT" }, { event.kind, event.code })
      assert.equal("ENOTCONN", select(3, client:permit(PEER.ip)))
      assert.equal("ENOTCONN", select(3, client:wrap("x", PEER.ip, PEER.port)))
    end)

    it("tells when the server has forgotten the allocation", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:feed(server.refuse(server.take(client, 0), 437), 0, 0)
      local event = client:event()
      assert.same({ "lost", 437 }, { event.kind, event.number })
    end)

    it("takes an error in answer to a keep-alive as a sign of life", function()
      local client = allocated()
      local request = server.take(client, 25)
      assert.equal("binding", request.name)
      client:feed(server.refuse(request, 401), 0, 25)
      assert.is_nil(client:event())
      assert.equal(50, waits(client, 25))
    end)

    it("never makes a loop of a lifetime of 0", function()
      local client = server.client()
      server.allocate(client, { lifetime = 0 })
      assert.equal(1, waits(client, 0))
    end)
  end)

  describe("close()", function()
    it("gives the allocation back", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:close()
      local request = server.take(client, 0)
      assert.same({ "refresh", 0, true }, { request.name, request.lifetime, request.integrity })
      client:feed(server.success(request, { lifetime = 0 }), 0, 0)
      assert.same({ "closed" }, kinds(client))
      assert.equal(math.huge, waits(client, 1000))
    end)

    it("follows a stale nonce", function()
      local client = allocated()
      client:close()
      client:feed(server.challenge(server.take(client, 0), 438, "fresh"), 0, 0)
      assert.equal("fresh", server.take(client, 0).nonce)
    end)

    it("asks a dead server a few times, and is over in 1.5 s", function()
      local client = allocated()
      client:close()
      local sent, now = 0, 0
      repeat
        local action, value = client:poll(now)
        if action == "send" then sent = sent + 1 else now = value end
        assert.is_true(now == math.huge or now <= 1.5 + 1e-9)
      until now == math.huge
      assert.equal(3, sent)
      assert.same({ "closed" }, kinds(client))
    end)

    -- A client that has asked for an allocation, and is closed before it hears anything.
    local function closed_unheard()
      local client = server.challenged()
      server.take(client, 0)
      client:close()
      return client
    end

    it("gives back what may have been granted unheard", function()
      local client = closed_unheard()
      assert.equal("refresh", server.take(client, 0).name)
    end)

    it("asks again when the server heard of that before it heard of the allocation", function()
      local client = closed_unheard()
      client:feed(server.refuse(server.take(client, 0), 437), 0, 0)
      assert.same({}, kinds(client))
      local again = server.take(client, 0.2)
      client:feed(server.success(again, { lifetime = 0 }), 0, 0.2)
      assert.same({ "closed" }, kinds(client))
    end)

    it("takes the second word for it that there is no allocation", function()
      local client = closed_unheard()
      client:feed(server.refuse(server.take(client, 0), 437), 0, 0)
      client:feed(server.refuse(server.take(client, 0.2), 437), 0, 0.2)
      assert.same({ "closed" }, kinds(client))
    end)

    it("has nothing to give back before that", function()
      local client = server.client()
      server.take(client, 0)
      client:close()
      assert.same({ "closed" }, kinds(client))
      client:close()
      assert.equal(math.huge, waits(client, 0))
    end)
  end)
end)
