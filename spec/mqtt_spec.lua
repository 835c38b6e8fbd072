local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"

local WAIT, online, to = mqtt.WAIT, mqtt.online, mqtt.to
local subscriber, exchange = mqtt.subscriber, mqtt.exchange

describe("p2pd.mqtt", function()
  local first, second

  setup(function() first, second = helper.mosquitto {}, helper.mosquitto {} end)
  teardown(helper.close_all)

  describe("open()", function()
    it("connects to a broker by MQTT 5", helper.task(function()
      local client <close> = online(to(first))
      assert.equal("online", (client:state()))
      assert.equal(5, client:stats().protocol)
    end))

    it("shows host, port and state", helper.task(function()
      local client <close> = online(to(first))
      assert.equal(("mqtt client 127.0.0.1 port %d (online)"):format(first.port), tostring(client))
    end))

    it("refuses options that make no sense", function()
      local open = core.mqtt.open
      assert.error_matches(function() open {} end, "option 'host' expected")
      assert.error_matches(function() open { host = "a b" } end, "not a host name")
      assert.error_matches(function() open { host = "a", port = 65536 } end, "'port'")
      assert.error_matches(function() open { host = "a", port = 0 } end, "'port'")
      assert.error_matches(function() open { host = "a", keepalive = 0 } end, "'keepalive'")
      assert.error_matches(function() open { host = "a", connect_timeout = 0 } end,
        "'connect_timeout'")
      assert.error_matches(function() open { host = "a", pass = "x" } end, "needs option 'user'")
      assert.error_matches(function() open { host = "a", user = "a\0b" } end, "'user'")
    end)

    it("names a ca file that is not there", function()
      local client, message, code = core.mqtt.open { host = "a", tls = true, ca = "/nowhere" }
      assert.is_nil(client)
      assert.equal("ca file '/nowhere': No such file or directory", message)
      assert.equal("ENOENT", code)
    end)
  end)

  describe("publish() and receive()", function()
    it("pass a message from client to client", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/one")
      assert.same({ "spec/one", "hello" }, { exchange(a, b, "spec/one", "hello") })
    end))

    it("pass binary and empty payloads", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/+")
      assert.same({ "spec/two", "\0\255\0" }, { exchange(a, b, "spec/two", "\0\255\0") })
      assert.same({ "spec/two", "" }, { exchange(a, b, "spec/two", "") })
    end))

    it("keep the order of messages", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/order")
      for i = 1, 200 do assert(a:publish("spec/order", tostring(i))) end
      for i = 1, 200 do assert.equal(tostring(i), select(2, b:receive(WAIT))) end
      assert.equal(200, b:stats().received)
      assert.equal(200, a:stats().sent)
    end))

    it("serve two brokers at once", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/x")
      local c <close> = online(to(second))
      local d <close> = subscriber(second, "spec/x")
      assert.equal("by 1", select(2, exchange(a, b, "spec/x", "by 1")))
      assert.equal("by 2", select(2, exchange(c, d, "spec/x", "by 2")))
    end))

    it("give no client its own message (MQTT 5)", helper.task(function()
      local a <close> = subscriber(first, "spec/own")
      local b <close> = subscriber(first, "spec/own")
      exchange(a, b, "spec/own", "mine")
      exchange(b, a, "spec/own", "yours")
      assert.same({ 1, 1 }, { a:stats().received, b:stats().received })
    end))

    it("pass an expiry interval on", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/expiry")
      assert(a:publish("spec/expiry", "soon", 60))
      assert.equal("soon", select(2, b:receive(WAIT)))
    end))

    it("end what is published before a close", helper.task(function()
      local b <close> = subscriber(first, "spec/last")
      local a = online(to(first))
      assert(a:publish("spec/last", "words"))
      a:close()
      assert.equal("words", select(2, b:receive(WAIT)))
    end))

    it("wait for a broker that pauses, and send everything", helper.task(function()
      local broker <close> = helper.mosquitto {}
      local a <close> = online(to(broker))
      local b <close> = subscriber(broker, "spec/end")
      broker:signal "STOP"
      local sent = 0 -- as much as every buffer on the way holds, and a full queue
      while a:publish("spec/pause", ("x"):rep(60000)) do sent = sent + 1 end
      broker:signal "CONT"
      helper.wait_until(function() return a:stats().sent == sent end)
      assert.equal("end", select(2, exchange(a, b, "spec/end", "end")))
      assert.equal(0, a:stats().dropped)
    end))

    it("refuse a payload over 64 KiB", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/big")
      local largest = ("x"):rep(65536)
      assert.equal(largest, select(2, exchange(a, b, "spec/big", largest)))
      local sent, message, code = a:publish("spec/big", largest .. "x")
      assert.is_nil(sent)
      assert.matches("65536", message)
      assert.equal("EMSGSIZE", code)
    end))

    it("refuse to publish while offline", helper.task(function()
      local client <close> = core.mqtt.open { host = "127.0.0.1", port = helper.free_port() }
      local sent, message, code = client:publish("spec/x", "y")
      assert.is_nil(sent)
      assert.matches("is connecting$", message)
      assert.equal("ENOTCONN", code)
    end))

    it("refuse topics that are none", helper.task(function()
      local client <close> = core.mqtt.open(to(first))
      assert.error_matches(function() client:publish("", "x") end, "topic")
      assert.error_matches(function() client:publish("a/#", "x") end, "wildcard")
      assert.error_matches(function() client:publish("a\0b", "x") end, "NUL")
      assert.error_matches(function() client:subscribe "" end, "topic")
      assert.error_matches(function() client:publish("a", "x", -1) end, "seconds")
    end))

    it("time out", helper.task(function()
      local client <close> = online(to(first))
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { client:receive(0.01) })
    end))

    it("drop and count what nobody receives", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/flood")
      local last <close> = subscriber(first, "spec/flood/end")
      for _ = 1, 6 do
        for _ = 1, 100 do assert(a:publish("spec/flood", "drop")) end
        exchange(a, last, "spec/flood/end", "")
      end
      b:subscribe "spec/flood/acknowledged" -- the broker's answer comes behind the messages
      assert(b:wait_online(WAIT))
      local stats = b:stats()
      assert.equal(512, stats.received)
      assert.equal(88, stats.dropped)
    end))

    it("drop and count incoming payloads over 64 KiB", helper.task(function()
      local b <close> = subscriber(first, "spec/huge")
      local a <close> = online(to(first))
      local child <close> = assert(core.process.spawn {
        stdin = "pipe", "mosquitto_pub", "-h", first.host, "-p", tostring(first.port),
        "-t", "spec/huge", "-s",
      })
      local stdin <close> = child:stdin()
      stdin:write(("x"):rep(65537))
      stdin:close()
      child:wait(WAIT)
      assert.equal("after", select(2, exchange(a, b, "spec/huge", "after")))
      assert.equal(1, b:stats().dropped)
    end))
  end)
end)
