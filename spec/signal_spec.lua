local core = require "p2pd.core"
local helper = require "spec.helper"
local id = require "p2pd.id"
local message = require "p2pd.signal.message"
local mqtt = require "spec.mqtt"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local brokers = require "p2pd.signal.brokers"
local task = helper.task

local WAIT = 8 -- seconds that an event on loopback may take, back-off included

local function start(settings)
  return assert(p2pd.node { settings = settings, interfaces = { "lo" } })
end

local function is_online(node, offset)
  for _, broker in ipairs(node:stats().signalling.brokers) do
    if broker.offset == offset then return broker.state == "online" end
  end
end

local function wait_online(node, ...)
  for _, offset in ipairs { ... } do
    local deadline = core.clock.monotonic() + WAIT
    while not is_online(node, offset) do
      assert(node.signal.brokers.changed:wait(deadline - core.clock.monotonic()))
    end
  end
end

describe("p2pd.signal", function()
  local first, second, settings, level

  setup(function()
    level = core.log.level()
    core.log.level "error"
    first, second = helper.mosquitto {}, helper.mosquitto {}
    settings = select(2, helper.settings { brokers = { first, second } })
  end)

  teardown(function()
    core.log.level(level)
    helper.close_all()
  end)

  local function one_broker() return select(2, helper.settings { brokers = { first } }) end

  describe("request()", function()
    it("brings any bytes back", task(function()
      local alice <close> = start(settings)
      local bob <close> = start(settings)
      local bytes = "\0\r\n\xff{}\"" .. ("x"):rep(6000)
      local data, seconds = alice:echo(bob.address, bytes)
      assert.equal(bytes, data)
      assert.is_true(seconds > 0)
    end))

    it("asks for the present address", task(function()
      local alice <close> = start(settings)
      local bob <close> = start(settings)
      assert.equal(bob.address, alice:get_address(bob.address))
    end))

    it("goes on by the other broker when one is gone, and by the first when that is back", task(function()
      local alice <close> = start(settings)
      local bob <close> = start(settings)
      wait_online(alice, 0, 1)
      wait_online(bob, 0, 1)
      local address = bob.address
      first:stop()
      assert.equal("by the second", alice:echo(address, "by the second"))
      first:start()
      wait_online(alice, 0)
      wait_online(bob, 0)
      second:stop()
      assert.equal("by the first", alice:echo(address, "by the first"))
      second:start()
    end))

    it("goes on by the next broker when one is silent", task(function()
      local alice <close> = start(settings)
      local bob <close> = start(settings)
      wait_online(alice, 0, 1)
      wait_online(bob, 0, 1)
      local address = bob.address:gsub("^[%d,]+", "0,1")
      first:signal "STOP"
      local data = alice:echo(address, "hello", 4)
      first:signal "CONT"
      assert.equal("hello", data)
      assert.is_true(alice:stats().signalling.sent >= 2)
    end))

    it("joins a broker that only the peer uses", task(function()
      local _, many = helper.settings { brokers = { first, first, first, second } }
      local _, other = helper.settings { brokers = { second } }
      local alice <close> = start(many)
      local bob <close> = start(other)
      assert.equal("hello", alice:echo(bob.address:gsub("^0", "3"), "hello"))
    end))

    it("goes by a broker that takes it, however large", task(function()
      local small <close> = helper.mosquitto { config = "max_packet_size 2000\n" }
      local both = select(2, helper.settings { brokers = { small, first } })
      local alice <close> = start(both)
      local bob <close> = start(both)
      local bytes = ("x"):rep(3000)
      assert.equal(bytes, alice:echo(bob.address, bytes))
    end))

    it("goes by a proxy and a client certificate, as the settings say", task(function()
      local proxy <close> = helper.tinyproxy {}
      local strict <close> = helper.mosquitto { tls = true,
        config = "require_certificate true\ncafile cert.pem" }
      local _, all = helper.settings { brokers = { strict } }
      local entry = all.mqtt[1]
      entry.cert, entry.key = strict.ca, strict.folder .. "/key.pem"
      entry.proxy = ("http://%s:%d"):format(proxy.host, proxy.port)
      local alice <close> = start(all)
      local bob <close> = start(all)
      assert.equal("hello", alice:echo(bob.address, "hello"))
      assert.matches("CONNECT", proxy:log(), 1, true)
    end))

    it("says that it is too large for every broker", task(function()
      local small <close> = helper.mosquitto { config = "max_packet_size 2000\n" }
      local only = select(2, helper.settings { brokers = { small } })
      local alice <close> = start(only)
      local bob <close> = start(only)
      local ok, reason, code = alice:echo(bob.address, ("x"):rep(3000))
      assert.is_nil(ok)
      assert.matches("takes no packet over 2000 bytes", reason)
      assert.equal("EMSGSIZE", code)
    end))

    it("says that a peer does not answer", task(function()
      local alice <close> = start(settings)
      local nobody = alice.address:gsub("%w+$", nodes.new_id())
      local data, reason, code = alice:echo(nobody, "hello", 0.1)
      assert.is_nil(data)
      assert.equal("the peer does not answer", reason)
      assert.equal("ETIMEDOUT", code)
    end))

    it("says that the peer's brokers are dead", task(function()
      local dead = { host = "127.0.0.1", port = helper.free_port() }
      local _, both = helper.settings { brokers = { first, dead } }
      local alice <close> = start(both)
      local nobody = alice.address:gsub("^[%d,]+", "1"):gsub("%w+$", nodes.new_id())
      assert.equal("ENOTCONN", select(3, alice:echo(nobody, "hello", 0.1)))
    end))

    it("ends when the node is closed", task(function()
      local alice <close> = start(settings)
      local nobody = alice.address:gsub("%w+$", nodes.new_id())
      local asking <close> = p2pd.spawn(alice.echo, alice, nobody, "hello")
      p2pd.sleep(0)
      alice:close()
      assert.equal("EBADF", select(3, asking:join(1)))
    end))

    it("takes an answer of the right type from the right peer only", task(function()
      local alice <close> = start(one_broker())
      local peer <close> = core.mqtt.open { host = first.host, port = first.port }
      local bob, eve = nodes.new(), nodes.new()
      peer:subscribe(bob.id)
      assert(peer:wait_online(WAIT))
      local asking <close> = p2pd.spawn(alice.echo, alice, alice.address:gsub("%w+$", bob.id), "hello")
      local _, payload = peer:receive(WAIT)
      local request = nodes.open(bob, payload)
      local function answer(kind, from, data)
        assert(peer:publish(alice.id, nodes.seal(from, alice.id, {
          type = kind, id = id.new(), from = from.id, to = alice.id,
          address = alice.address:gsub("%w+$", from.id), time = p2pd.clock.now(), ttl = 60, re = request.id,
          data = data,
        })))
      end
      answer("RETURN_ADDR", bob)
      answer("ECHO_REPLY", eve, message.to_hex "a stranger's")
      answer("ECHO_REPLY", bob, message.to_hex "the peer's")
      assert.equal("the peer's", (asking:join(WAIT)))
      assert.equal(2, alice:stats().signalling["wrong answer"])
    end))
  end)

  describe("start()", function()
    it("goes on without brokers, says so, and recovers when one returns", task(function()
      local port = helper.free_port()
      local path, alone = helper.settings { brokers = { { host = "127.0.0.1", port = port } } }
      local child <close> = helper.p2pd("node", "--settings", path, "--interface", "lo")
      child:stdout():settimeout(WAIT)
      child:stderr():settimeout(WAIT)
      local address = assert(child:stdout():read "l"):match "^address: (.*)"
      local said
      repeat said = assert(child:stderr():read "l") until said:find "no broker answers"
      assert.matches("127.0.0.1:" .. port .. ": ", said, 1, true)
      local broker <close> = helper.mosquitto { port = port }
      assert.equal(port, broker.port)
      local alice <close> = start(alone)
      assert.equal("hello", alice:echo(address, "hello"))
    end))

    it("counts a broker whose ca file is missing as dead", task(function()
      local _, both = helper.settings { brokers = { first, first } }
      both.mqtt[2].tls, both.mqtt[2].ca = true, "/no/such/file"
      local alice <close> = start(both)
      local bob <close> = start(one_broker())
      assert.matches("^0,1%-", alice.address)
      assert.equal("hello", alice:echo(bob.address, "hello"))
    end))

    it("does not advertise a broker that refuses our topic", task(function()
      local picky <close> = mqtt.picky_broker "nothing"
      local alice <close> = start(select(2, helper.settings { brokers = { picky, first, picky, first } }))
      helper.wait_until(function() return alice.address:match "^1,3%-" or alice.address:match "^3,1%-" end)
      local bob <close> = start(select(2, helper.settings { brokers = { picky, first } }))
      assert.equal("hello", bob:echo(alice.address:gsub("^[13,]+", "1", 1), "hello"))
    end))

    it("does not wait for a silent broker when another answers", task(function()
      first:signal "STOP"
      local started = core.clock.monotonic()
      local alice <close> = start(settings)
      first:signal "CONT"
      assert.equal("1", alice.address:match "^%d")
      assert.is_true(core.clock.monotonic() - started < brokers.START_WAIT)
    end))
  end)

  describe("deliver()", function()
    -- A raw client in the role of a peer, beside a node.
    local function with_stranger(fn)
      return task(function()
        local node <close> = start(one_broker())
        local stranger <close> = core.mqtt.open { host = first.host, port = first.port }
        local me = nodes.new()
        stranger:subscribe(me.id)
        assert(stranger:wait_online(WAIT))
        local function compose(fields)
          local m = {
            type = "ECHO", id = id.new(), from = me.id, to = node.id, time = p2pd.clock.now(), ttl = 60,
            address = node.address:gsub("%w+$", me.id), data = "00",
          }
          for key, value in pairs(fields or {}) do m[key] = value end
          return nodes.seal(me, node.id, m), m
        end
        local function receive(timeout)
          local _, payload = stranger:receive(timeout)
          return payload and nodes.open(me, payload)
        end
        fn(node, stranger, compose, receive)
      end)
    end

    -- Publishes bad payloads, then a good one: one broker keeps their order, so only the good one's answer
    -- may come first.
    local function check_dropped(reason, make)
      return with_stranger(function(node, stranger, compose, receive)
        local bad = make(compose, node)
        for _, payload in ipairs(bad) do assert(stranger:publish(node.id, payload)) end
        assert(stranger:publish(node.id, (compose { data = "c0ffee" })))
        assert.equal("c0ffee", receive(WAIT).data)
        assert.is_nil((receive(0)))
        local counts = node:stats().signalling
        assert.equal(#bad, counts[reason])
        assert.equal(#bad + 1, counts.received)
        assert.equal(1, counts.sent)
      end)
    end

    it("drops random bytes", check_dropped("garbage", function()
      local list = { "", "\0", "\2", ("["):rep(16000), '"text"', "null", "7", "\xff\xfe{}" }
      for i = 1, 50 do list[#list + 1] = "\1" .. core.random.bytes(i * 5) end
      return list
    end))

    it("drops what is cut off, goes on, or is made up", check_dropped("forged", function(compose)
      local whole = compose()
      return { whole:sub(1, -2), whole:sub(1, #whole // 2), whole .. "x", whole .. whole, whole:sub(1, 60),
        "\2" .. core.random.bytes(200) }
    end))

    it("drops what differs in one bit", check_dropped("forged", function(compose)
      local list = {}
      for _, at in ipairs { 2, 9, 18, 49, 50, 90, 97, 98, 150, -1, -16, -17 } do
        local whole = compose()
        local place = at > 0 and at or #whole + 1 + at
        list[#list + 1] = whole:sub(1, place - 1) .. string.char(whole:byte(place) ~ 1)
          .. whole:sub(place + 1)
      end
      return list
    end))

    it("drops what was sealed for another node", check_dropped("forged", function(compose, node)
      local _, m = compose()
      return { nodes.seal(nodes.new(), nodes.new_id(), m), nodes.seal(node, nodes.new_id(), m) }
    end))

    it("drops what claims to be of another sender", check_dropped("sender", function(compose, node)
      local _, m = compose()
      return { nodes.seal(nodes.new(), node.id, m) }
    end))

    it("drops what is not sealed", check_dropped("not sealed", function(compose)
      local _, m = compose()
      local foreign = m.address:gsub("%w+$", "zmUGXPOFxUBuToh")
      local plain = message.encode(m)
      m.from, m.address = "zmUGXPOFxUBuToh", foreign
      return { plain, message.encode(m), "{" }
    end))

    it("drops what is huge", check_dropped("too long", function(compose)
      return { compose() .. ("x"):rep(16384), ("x"):rep(20000) }
    end))

    -- What is dropped for its time alone is answered: the sender cannot know what is wrong.
    local function check_untimely(reason, words, times)
      return with_stranger(function(node, stranger, compose, receive)
        for _, time in ipairs(times) do
          local payload, m = compose { time = time }
          assert(stranger:publish(node.id, payload))
          local answer = receive(WAIT)
          assert.same({ "REFUSED", m.id }, { answer.type, answer.re })
          assert.matches("one of the two clocks is wrong", answer.reason)
          assert.matches(words, answer.reason)
        end
        assert.equal(#times, node:stats().signalling[reason])
      end)
    end

    it("tells who is late by his clock", check_untimely("expired", " s ago", { -1e300, os.time() - 100 }))

    it("tells who is ahead by his clock", check_untimely("ahead of time", " s ahead",
      { 1e300, os.time() + 1000 }))

    it("answers no answer that is late", with_stranger(function(node, stranger, compose, receive)
      assert(stranger:publish(node.id, (compose { time = 1, re = id.new() })))
      assert(stranger:publish(node.id, (compose { data = "c0ffee" })))
      assert.equal("c0ffee", receive(WAIT).data)
      assert.is_nil((receive(0)))
    end))

    it("answers only so many", with_stranger(function(node, stranger, compose, receive)
      for _ = 1, 50 do assert(stranger:publish(node.id, (compose { time = 1 }))) end
      assert(stranger:publish(node.id, (compose { data = "c0ffee" })))
      local n = 0
      while receive(WAIT).type == "REFUSED" do n = n + 1 end
      assert.is_true(n >= 20 and n < 30)
    end))

    it("names the clock in a dial's error", task(function()
      local path, alone = helper.settings { brokers = { first } }
      local child <close> = helper.p2pd { "node", "--settings", path, "--interface", "lo",
        env = { P2PD_SKEW = "3600", P2PD_LOG = "warn" } }
      child:stdout():settimeout(WAIT)
      child:stderr():settimeout(WAIT)
      local address = assert(child:stdout():read "l"):match "^address: (.*)"
      local alice <close> = start(alone)
      local pipe, reason = alice:connect(address, { strategies = { "reverse" }, timeout = WAIT })
      assert.is_nil(pipe)
      assert.matches("one of the two clocks is wrong: .* from 3600 s ago, and no NTP server", reason)
      local said
      repeat said = assert(child:stderr():read "l") until said:find "clock"
      assert.matches("a message of " .. alice.id .. " was dropped: one of the two clocks is wrong", said)
    end))

    it("drops what is for another node", check_dropped("not for us", function(compose)
      return { (compose { to = id.new() }) }
    end))

    it("drops what lies about its sender", check_dropped("sender", function(compose, node)
      return { (compose { address = node.address }), (compose { address = "0" }) }
    end))

    it("drops fields of a wrong kind", check_dropped("fields", function(compose)
      local bad = { { data = 7 }, { data = "0g" }, { id = {} }, { from = "a b" }, { ttl = 0 }, { ttl = 1e9 },
        { time = "now" }, { address = {} }, { token = "12" }, { insecure = 1 } }
      for i, fields in ipairs(bad) do bad[i] = compose(fields) end
      return bad
    end))

    it("drops another version and unknown types", with_stranger(function(node, stranger, compose)
      local _, m = compose()
      local text = message.encode(m):gsub('"v":2', '"v":1')
      stranger:publish(node.id, nodes.seal(nodes.new(), node.id, text))
      stranger:publish(node.id, (compose { type = "SHUTDOWN" }))
      stranger:publish(node.id, (compose { type = {} }))
      stranger:publish(node.id, (compose { type = "KNOCK", pipe = "pipe1" }))
      stranger:publish(node.id, (compose()))
      assert(stranger:receive(WAIT))
      local counts = node:stats().signalling
      assert.same({ 1, 2, 1, 2 }, { counts.version, counts.type, counts.fields, counts.sent })
    end))

    it("answers a copy of a message once", with_stranger(function(node, stranger, compose, receive)
      local payload = compose()
      for _ = 1, 3 do assert(stranger:publish(node.id, payload)) end
      assert(stranger:publish(node.id, (compose { data = "c0ffee" })))
      assert(receive(WAIT))
      assert.equal("c0ffee", receive(WAIT).data)
      assert.equal(2, node:stats().signalling.duplicate)
    end))

    it("lets answers to nothing fall", with_stranger(function(node, stranger, compose)
      stranger:publish(node.id, (compose { type = "ECHO_REPLY", re = id.new() }))
      stranger:publish(node.id, (compose { type = "REFUSED", pipe = id.new(), reason = "", re = id.new() }))
      stranger:publish(node.id, (compose()))
      assert(stranger:receive(WAIT))
      assert.equal(2, node:stats().signalling.late)
    end))
  end)
end)
