local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"

local WAIT, online, to = mqtt.WAIT, mqtt.online, mqtt.to
local subscriber, exchange = mqtt.subscriber, mqtt.exchange

-- A variable byte integer (MQTT 5 section 1.5.5) below 16384.
local function length(n)
  return n < 128 and string.char(n) or string.char(n % 128 + 128, n // 128)
end

-- CONNACK of MQTT 5 with a reason and properties.
local function connack(reason, properties)
  properties = properties or ""
  local body = string.pack(">BB", 0, reason) .. length(#properties) .. properties
  return "\x20" .. length(#body) .. body
end

local function reference(text)
  return string.pack(">B s2", 0x1c, text)
end

-- A broker that gives each connection the next of some answers to CONNECT; `heard` is what follows it.
local function pretender(answers)
  local self = { host = "127.0.0.1", connects = {}, heard = "", changed = core.task.condition() }
  local listener = assert(core.tcp.listen { ip = self.host })
  local function serve(accepted, answer)
    local stream <close> = accepted
    table.insert(self.connects, (stream:recv()))
    self.changed:broadcast()
    if not answer then return stream:recv() end
    stream:write(answer)
    for data in function() return stream:recv() end do
      self.heard = self.heard .. data
      self.changed:broadcast()
    end
  end
  local task = core.task.spawn(function()
    for i = 1, math.huge do
      local stream = assert(listener:accept())
      core.task.spawn(serve, stream, answers[math.min(i, #answers)])
    end
  end)
  self.port = select(2, listener:getsockname())
  return setmetatable(self, { __close = function() task:cancel() listener:close() end })
end

local function wait_until(broker, condition)
  while not condition() do assert(broker.changed:wait(WAIT)) end
end

describe("p2pd.mqtt", function()
  teardown(helper.close_all)

  describe("a broker's wishes", function()
    it("keep the connection alive as often as the broker asks for", helper.task(function()
      local broker <close> = pretender { connack(0, "\x13\0\1") }
      local client <close> = online(to(broker))
      wait_until(broker, function() return broker.heard:find("\xc0\0\xc0\0", 1, true) end)
      assert.equal("online", (client:state()))
    end))

    it("limit the size of packets", helper.task(function()
      local broker <close> = helper.mosquitto { config = "max_packet_size 1000\n" }
      local a <close> = online(to(broker))
      local b <close> = subscriber(broker, "spec/size")
      local sent, message, code = a:publish("spec/size", ("x"):rep(1000))
      assert.is_nil(sent)
      assert.equal(("mqtt 127.0.0.1 port %d takes no packet over 1000 bytes"):format(broker.port), message)
      assert.equal("EMSGSIZE", code)
      local fits = ("x"):rep(980)
      assert.equal(fits, select(2, exchange(a, b, "spec/size", fits)))
    end))

    it("lead to another broker, once", helper.task(function()
      local real <close> = helper.mosquitto {}
      local place = ("%s:%d other.example:1"):format(real.host, real.port)
      local broker <close> = pretender { connack(0x9c, reference(place)) }
      local client <close> = online(to(broker))
      assert.equal("online", (client:state()))
    end))

    it("lead to no third broker", helper.task(function()
      local third <close> = helper.mosquitto {}
      local second <close> = pretender { connack(0x9d, reference(third.host .. ":" .. third.port)) }
      local first <close> = pretender { connack(0x9c, reference(second.host .. ":" .. second.port)) }
      local client <close> = core.mqtt.open(to(first))
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      assert.matches("Server moved", message)
      assert.equal("ECONNREFUSED", code)
    end))

    for _, text in ipairs {
      "", "a b:c", "[::1", "x:0", "x:70000", "x:1x", "[::1]1", ("x"):rep(300), "a;b",
    } do
      it(("lead nowhere when the reference is '%.10s'"):format(text), helper.task(function()
        local broker <close> = pretender { connack(0x9c, reference(text)) }
        local client <close> = core.mqtt.open(to(broker))
        assert.is_nil((client:wait_online(WAIT)))
        assert.equal(1, #broker.connects)
      end))
    end

    it("are no wishes when they make no sense", helper.task(function()
      local broker <close> = pretender { connack(0, "\x13\0\1\x7f") }
      local client <close> = core.mqtt.open(to(broker))
      client:wait_online(0.2)
      assert.equal("", broker.heard)
    end))
  end)

  describe("a broker that says nothing to MQTT 5", function()
    it("is asked by 3.1.1", helper.task(function()
      local broker <close> = pretender { false, "\x20\2\0\0" }
      local client <close> = online(to(broker, { connect_timeout = 0.2 }))
      assert.equal(4, client:stats().protocol)
      assert.equal(2, #broker.connects)
    end))
  end)

  describe("a session that is taken over", function()
    it("is not taken back at once", helper.task(function()
      local broker <close> = pretender { connack(0) .. "\xe0\2\x8e\0" }
      local client <close> = core.mqtt.open(to(broker))
      while client:state() ~= "offline" do assert(client:wait_change(client:state(), WAIT)) end
      assert.matches("taken over", select(2, client:state()))
      assert.is_nil((client:wait_change("offline", 1)))
    end))
  end)

  describe("a topic that the broker refuses", function()
    local broker

    setup(function()
      broker = mqtt.picky_broker "open/#"
    end)

    it("is a failure", helper.task(function()
      local client <close> = core.mqtt.open(to(broker))
      client:subscribe "closed/x"
      local ok, message, code = client:wait_online(WAIT)
      assert.is_nil(ok)
      assert.matches("the broker refuses topic 'closed/x'", message)
      assert.equal("EACCES", code)
      assert.equal("refused", (client:state()))
      assert.equal("ENOTCONN", select(3, client:publish("open/x", "y")))
    end))

    it("is no hope while the answer is not there", helper.task(function()
      local refuser <close> = pretender { false, "\x20\2\0\0" }
      local client <close> = core.mqtt.open(to(refuser, { connect_timeout = 0.2 }))
      client:subscribe "t"
      wait_until(refuser, function() return refuser.heard ~= "" end)
      assert.equal("online", (client:state()))
    end))
  end)
end)
