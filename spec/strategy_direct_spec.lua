local core = require "p2pd.core"
local dials = require "p2pd.dial"
local direct = require "p2pd.strategy.direct"
local helper = require "spec.helper"
local task = helper.task

local function route(fields)
  local result = { name = "eth7", nic = "192.168.1.2", external = "203.0.113.1", prefix = 24 }
  for key, value in pairs(fields or {}) do result[key] = value end
  return result
end

local function record(fields)
  local result = { external = "198.51.100.1", internal = "10.0.0.5", port = 4000 }
  for key, value in pairs(fields or {}) do result[key] = value end
  return result
end

local NODE = { id = "me", routes = {}, strategies = { direct }, settings = {} }

-- What is connected is taken.
local function connect_to(pair, verify)
  return direct.connect(NODE, "you", pair, verify or function(stream) return stream end)
end

describe("p2pd.strategy.direct", function()
  describe("connect(): the endpoints", function()
    local calls, connect

    before_each(function()
      calls = {}
      connect = stub(core.tcp, "connect", function(ip, port, options)
        calls[#calls + 1] = { ip, port, options and options.ip }
        return nil, "refused", "ECONNREFUSED"
      end)
    end)

    after_each(function() connect:revert() end)

    local function check(pair, expected)
      return task(function()
        pair.route.family = pair.family
        pair.who = { typed = setmetatable({}, { __index = function() return true end }) }
        local stream, _, code = connect_to(pair)
        assert.is_nil(stream)
        assert.equal("ECONNREFUSED", code)
        assert.same(expected, calls)
      end)
    end

    it("elsewhere: the external address", check(
      { family = "ipv4", route = route(), remote = record() },
      { { "198.51.100.1", 4000, "192.168.1.2" } }))

    it("on our LAN: the internal address too", check(
      { family = "ipv4", route = route(), remote = record { internal = "192.168.1.77" } },
      { { "192.168.1.77", 4000, "192.168.1.2" }, { "198.51.100.1", 4000, "192.168.1.2" } }))

    it("in a narrower subnet: the external address alone", check(
      { family = "ipv4", route = route { prefix = 30 }, remote = record { internal = "192.168.1.77" } },
      { { "198.51.100.1", 4000, "192.168.1.2" } }))

    it("behind our own router: the internal address too", check(
      { family = "ipv4", route = route(), remote = record { external = "203.0.113.1" } },
      { { "10.0.0.5", 4000, "192.168.1.2" }, { "203.0.113.1", 4000, "192.168.1.2" } }))

    it("without a NAT: one address, once", check(
      { family = "ipv4", route = route(), remote = record { internal = "198.51.100.1" } },
      { { "198.51.100.1", 4000, "192.168.1.2" } }))

    it("on our machine: from whatever address the kernel takes", check(
      { family = "ipv4", route = route { nic = "127.0.0.1", external = "127.0.0.1", prefix = 8,
        loopback = true },
        remote = record { external = "127.0.0.1", internal = "127.0.0.1" } },
      { { "127.0.0.1", 4000 } }))

    it("on our IPv6 link: the link-local address with our interface as its scope", check(
      { family = "ipv6", route = route { nic = "2001:db8::2", external = "2001:db8::2", prefix = 64 },
        remote = record { external = "2001:db8::5", internal = "fe80::5" } },
      { { "fe80::5%eth7", 4000, "2001:db8::2" }, { "2001:db8::5", 4000, "2001:db8::2" } }))

    describe("that are our own", function()
      local pair = { family = "ipv4", remote = record { internal = "192.168.1.2" }, who = { typed = {
        ["192.168.1.2"] = true, ["198.51.100.1"] = true } } }
      local own = route { family = "ipv4", port = 4000 }
      local node = { id = "me", routes = { own } }

      it("are left out", task(function()
        pair.route = own
        direct.connect(node, "you", pair, function() end)
        assert.same({ { "198.51.100.1", 4000, "192.168.1.2" } }, calls)
      end))

      it("count when another node of this machine is meant, or we", task(function()
        pair.route = own
        direct.connect(node, "me", pair, function() end)
        assert.equal(2, #calls)
        pair.remote.port = 4001
        direct.connect(node, "you", pair, function() end)
        assert.equal(4, #calls)
      end))
    end)

    it("on another IPv6 link: never the link-local address", check(
      { family = "ipv6", route = route { nic = "2001:db8::2", external = "2001:db8::2", prefix = 64 },
        remote = record { external = "2001:db8:1::5", internal = "fe80::5" } },
      { { "2001:db8:1::5", 4000, "2001:db8::2" } }))
  end)

  local route_of_lo = { name = "lo", nic = "127.0.0.1", external = "127.0.0.1", prefix = 8, family = "ipv4",
    loopback = true }

  local function to(port)
    return { family = "ipv4", route = route_of_lo,
      remote = { external = "127.0.0.1", internal = "127.0.0.1", port = port } }
  end

  it("says that the connection is refused", task(function()
    local stream, reason, code = connect_to(to(helper.free_port()))
    assert.is_nil(stream)
    assert.matches("refused", reason)
    assert.equal("ECONNREFUSED", code)
  end))

  it("takes the first endpoint that accepts", task(function()
    local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    local pair = to(select(2, listener:getsockname()))
    pair.remote.internal = "127.0.0.3"
    local stream <close> = assert(connect_to(pair))
    assert.equal("127.0.0.1", (stream:getpeername()))
  end))

  it("leaves one that accepts for one at which the peer is, whatever that one does", task(function()
    for _, silent in ipairs { true, false } do
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local pair = to(select(2, listener:getsockname()))
      local neighbour <close> = assert(core.tcp.listen { ip = "127.0.0.3", port = pair.remote.port })
      pair.remote.internal = "127.0.0.3"
      local stream <close> = assert(connect_to(pair, function(stream)
        if stream:getpeername() == "127.0.0.1" then return stream end
        local _ <close> = stream
        if silent then core.task.sleep(60) end
        return nil, "the peer hung up in the TLS handshake", "ECONNRESET"
      end))
      assert.equal("127.0.0.1", (stream:getpeername()))
      assert.is_not_nil(neighbour)
    end
  end))

  describe("dial(), insecure", function()
    -- Dials a listener that answers as it is told; what dial() returns, and the line that came.
    local function dial_one_who_says(answer)
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local dial = dials.new(NODE, { node_id = "you" },
        { secure = false })
      local line
      local peer <close> = core.task.spawn(function()
        local stream <close> = listener:accept()
        line = stream:read "l"
        stream:write(answer(dial))
        stream:shutdown()
        stream:read "l"
      end)
      local results = table.pack(direct.dial(dial, to(select(2, listener:getsockname()))))
      if results[1] then results[1]:close() end
      assert.equal("P2PD/1 dial " .. dial.pipe_id .. " me you", line)
      assert(peer)
      return table.unpack(results, 1, results.n)
    end

    local function check_refused(answer, reason, code)
      return task(function()
        local stream, why, which = dial_one_who_says(function() return answer end)
        assert.is_nil(stream)
        assert.equal(reason, why)
        assert.equal(code, which)
      end)
    end

    it("gives a stream whose peer is ready", task(function()
      local stream = dial_one_who_says(function(dial) return "P2PD/1 ready " .. dial.pipe_id .. " you\n" end)
      assert.equal("p2pd.stream", getmetatable(stream).__name)
    end))

    it("refuses another node", task(function()
      local _, reason = dial_one_who_says(function(dial)
        return "P2PD/1 ready " .. dial.pipe_id .. " some\27[2Jone\n"
      end)
      assert.equal("another node answered: some?[2Jone", reason)
    end))

    it("refuses another pipe", check_refused("P2PD/1 ready x you\n", "an unexpected answer", "EPROTO"))
    it("refuses who is no peer", check_refused("220 smtp\r\n", "not a p2pd peer", "EPROTO"))
    it("refuses half an answer", check_refused("P2PD/1 ready", "the peer hung up", "ECONNRESET"))
    it("hands on why the peer refuses",
      check_refused("P2PD/1 refused too busy\n", "refused by the peer: too busy", "EACCES"))
  end)
end)
