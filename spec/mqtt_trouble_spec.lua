local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"

local WAIT, online, to = mqtt.WAIT, mqtt.online, mqtt.to
local subscriber, exchange = mqtt.subscriber, mqtt.exchange

local function wait_for(client, state)
  local seen = client:state()
  while seen ~= state do seen = assert(client:wait_change(seen, WAIT)) end
end

-- A broker that knows MQTT 3.1.1 only: it refuses a CONNECT of version 5 and passes others on.
local function pass(from, into)
  for data in function() return from:recv() end do into:write(data) end
  into:shutdown()
end

local function serve_gate(accepted, broker, refusal)
  local stream <close> = accepted
  local connect = stream:recv()
  if not connect then return end -- a client only looks whether somebody is there
  if connect:byte(9) == 5 then
    stream:write(refusal)
    return
  end
  local inner <close> = assert(core.tcp.connect(broker.host, broker.port))
  inner:write(connect)
  local _ <close> = core.task.spawn(pass, inner, stream)
  pass(stream, inner)
end

local function gate(broker, refusal)
  return mqtt.serve(function(accepted) serve_gate(accepted, broker, refusal) end)
end

describe("p2pd.mqtt", function()
  local first

  setup(function() first = helper.mosquitto {} end)
  teardown(helper.close_all)

  describe("wait_online()", function()
    it("reports a refused connection at once", helper.task(function()
      local port = helper.free_port()
      local client <close> = core.mqtt.open { host = "127.0.0.1", port = port }
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      local expected = ("mqtt 127.0.0.1 port %d: TCP connect: Connection refused"):format(port)
      assert.equal(expected, message)
      assert.equal("ECONNREFUSED", code)
      assert.same({ "offline", "TCP connect: Connection refused" }, { client:state() })
    end))

    it("reports a name that does not resolve, and no other client waits", helper.task(function()
      local lost <close> = core.mqtt.open { host = "broker.invalid" }
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/dns")
      assert.equal("hi", select(2, exchange(a, b, "spec/dns", "hi")))
      if lost:state() == "connecting" then lost:wait_change("connecting", WAIT) end
      assert.matches("broker.invalid", select(2, lost:state()))
    end))

    it("reports a broker that accepts and says nothing", helper.task(function()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      local silent = { host = "127.0.0.1", port = port, connect_timeout = 0.2 }
      local client <close> = core.mqtt.open(silent)
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      assert.matches("does not answer in time", message)
      assert.equal("ETIMEDOUT", code)
    end))

    it("times out", helper.task(function()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      local client <close> = core.mqtt.open { host = "127.0.0.1", port = port }
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { client:wait_online(0.05) })
    end))

    it("reports a wrong password", helper.task(function()
      local broker <close> = helper.mosquitto { config = "password_file /dev/null\n" }
      local client <close> = core.mqtt.open(to(broker, { user = "someone", pass = "wrong" }))
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      assert.matches("the broker refused CONNECT: Not authorized", message)
      assert.equal("EACCES", code)
    end))
  end)

  describe("the connection", function()
    it("is made by IPv6 as well", helper.task(function()
      local broker <close> = helper.mosquitto { host = "::1" }
      local a <close> = online(to(broker))
      local b <close> = subscriber(broker, "spec/family")
      assert.equal("six", select(2, exchange(a, b, "spec/family", "six")))
    end))

    it("goes to the broker, whatever proxies the environment names", helper.task(function()
      local script = [[
        local core = require "p2pd.core"
        core.task.run(function()
          local client <close> = core.mqtt.open { host = "127.0.0.1", port = %d }
          assert(client:wait_online(5))
        end)
      ]]
      local proxy = "http://127.0.0.1:" .. helper.free_port()
      local child <close> = assert(core.process.spawn {
        "lua5.4", "-e", script:format(first.port),
        env = { LUA_CPATH = package.cpath, http_proxy = proxy, https_proxy = proxy },
      })
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
    end))

    it("knows its ends", helper.task(function()
      local client <close> = online(to(first))
      local ip, port = client:getsockname()
      assert.same({ "127.0.0.1", true }, { ip, port > 0 })
      assert.same({ "127.0.0.1", first.port }, { client:getpeername() })
      local lost <close> = core.mqtt.open { host = "broker.invalid" }
      assert.equal("ENOTCONN", select(3, lost:getsockname()))
    end))

    it("is given up when the network is another one, and made anew with its topics", helper.task(function()
      local a <close> = online(to(first))
      local b <close> = subscriber(first, "spec/moved")
      local _, before = b:getsockname()
      assert(b:reconnect "the local address is gone")
      assert.same({ "connecting", "the local address is gone" }, { b:state() })
      assert(b:wait_online(WAIT))
      assert.not_equal(before, select(2, b:getsockname()))
      assert.equal("there", select(2, exchange(a, b, "spec/moved", "there")))
    end))

    it("is tried at once, whatever the pause, when that is asked for", helper.task(function()
      local port = helper.free_port()
      local client <close> = core.mqtt.open { host = "127.0.0.1", port = port }
      for _ = 1, 3 do client:wait_online(WAIT) end
      wait_for(client, "offline")
      client:reconnect "now"
      assert.equal("connecting", (client:state()))
      client:close()
      assert.equal("EBADF", select(3, client:reconnect "now"))
    end))

    it("says why it ended", helper.task(function()
      local broker <close> = helper.mosquitto {}
      local client <close> = online(to(broker))
      broker:stop()
      wait_for(client, "offline")
      assert.equal("the broker closed the connection", select(2, client:state()))
    end))

    it("ends when the broker has gone silent", helper.task(function()
      local broker <close> = helper.mosquitto {}
      local client <close> = online(to(broker, { keepalive = 1 }))
      broker:signal "STOP"
      wait_for(client, "offline")
      assert.matches("the broker does not answer", select(2, client:state()))
      broker:signal "CONT"
    end))

    it("comes back with its topics when the broker was restarted", helper.task(function()
      local broker <close> = helper.mosquitto {}
      local a <close> = online(to(broker))
      local b <close> = subscriber(broker, "spec/back")
      broker:stop()
      wait_for(a, "offline")
      wait_for(b, "offline")
      broker:start()
      wait_for(a, "online")
      wait_for(b, "online")
      assert(b:wait_online(WAIT))
      assert.equal("again", select(2, exchange(a, b, "spec/back", "again")))
      assert.equal(1, b:stats().reconnects)
    end))

    it("comes when the broker starts after the client", helper.task(function()
      local port = helper.free_port()
      local client <close> = core.mqtt.open { host = "127.0.0.1", port = port }
      client:subscribe "spec/late"
      assert.is_nil((client:wait_online(WAIT)))
      local broker <close> = helper.mosquitto { port = port }
      wait_for(client, "online")
      assert(client:wait_online(WAIT))
      local a <close> = online(to(broker))
      assert.equal("late", select(2, exchange(a, client, "spec/late", "late")))
    end))

    for name, refusal in pairs {
      ["CONNACK 1"] = "\x20\x02\0\1", ["CONNACK 0x84"] = "\x20\3\0\x84\0", ["a close"] = "",
    } do
      it("falls back to MQTT 3.1.1 after " .. name, helper.task(function()
        local old <close> = gate(first, refusal)
        local a <close> = online(to(first))
        local b <close> = subscriber(old, "spec/old")
        assert.equal(4, b:stats().protocol)
        assert.equal("to 3.1.1", select(2, exchange(a, b, "spec/old", "to 3.1.1")))
        a:subscribe "spec/new"
        assert(a:wait_online(WAIT))
        assert.equal("from 3.1.1", select(2, exchange(b, a, "spec/new", "from 3.1.1")))
      end))
    end
  end)
end)
