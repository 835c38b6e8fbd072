local brokers = require "p2pd.signal.brokers"
local core = require "p2pd.core"
local helper = require "spec.helper"
local id = require "p2pd.id"
local task = require "p2pd.task"

local WAIT = 10

describe("p2pd.signal.brokers", function()
  local broker

  setup(function() broker = helper.mosquitto {} end)
  teardown(helper.close_all)

  local function copy(from, to)
    while true do
      local data = from:recv()
      if not data or not to:write(data) then return to:shutdown() end
    end
  end

  -- A way to the broker by which only the n-th connection gets on, and those after it but one.
  local function gate(children, first, but)
    local listener = assert(core.tcp.listen { ip = "127.0.0.1" })
    local self = { count = 0, kept = task.hold(listener) }
    children:spawn(function()
      while true do
        local stream = listener:accept()
        if not stream then return end
        self.count = self.count + 1
        self.kept[#self.kept + 1] = stream
        self.kept.n = #self.kept
        if self.count >= first and self.count ~= but then
          local there = assert(core.tcp.connect("127.0.0.1", broker.port))
          self.kept[#self.kept + 1] = there
          self.kept.n = #self.kept
          children:spawn(copy, stream, there)
          children:spawn(copy, there, stream)
        end
      end
    end)
    local _, port = listener:getsockname()
    return self, { host = "127.0.0.1", port = port }
  end

  -- Joins the broker by such a way: what is to be closed, the way, the set and what was joined.
  local function join(first, on_message, but)
    local children = task.group()
    local way, server = gate(children, first, but)
    local set = brokers.new({ server }, id.new(), on_message or function() end)
    local owned = task.hold(set, way.kept, children)
    return owned, way, set, assert(set:join(0))
  end

  describe("urge()", function()
    it("tries fresh connections beside one that does not get on", helper.task(function()
      local came, got = task.condition(), nil
      local _ <close>, way, set, joined = join(3, function(payload)
        got = payload
        came:broadcast()
      end)
      local urge <close> = set:urge { joined }
      while joined.client:state() ~= "online" do set.changed:wait(WAIT) end
      assert.is_true(way.count >= 3)
      local other <close> = assert(core.mqtt.open { host = "127.0.0.1", port = broker.port })
      assert(other:wait_online(WAIT))
      assert(other:publish(set.topic, "hello", 10))
      while not got do came:wait(WAIT) end
      assert.equal("hello", got)
      assert.is_not_nil(urge)
    end))

    it("replaces one that is connected when nobody answers by it", helper.task(function()
      local _ <close>, _, set, joined = join(1)
      local first = joined.client
      assert(first:wait_online(WAIT))
      local urge <close> = set:urge { joined }
      while joined.client == first do set.changed:wait(WAIT) end
      assert.equal("online", joined.client:state())
      assert.equal("online", first:state()) -- what is on its way by it is still read
      assert.is_not_nil(urge)
    end))

    it("leaves off when nobody waits any more", helper.task(function()
      local _ <close>, way, set, joined = join(1000)
      do
        local _ <close> = set:urge { joined }
      end
      helper.wait_until(function() return not joined.is_hastened end)
      assert.equal(1, way.count)
    end))
  end)

  describe("doubt()", function()
    it("replaces what is online by a fresh connection, once at a time", helper.task(function()
      local _ <close>, way, set, joined = join(1)
      local first = joined.client
      assert(first:wait_online(WAIT))
      for _ = 1, 5 do set:doubt() end
      while joined.client == first do set.changed:wait(WAIT) end
      assert.same({ "online", "online", 2 }, { joined.client:state(), first:state(), way.count })
      helper.wait_until(function() return not joined.doubted end)
    end))

    it("tries once more a second later, beside one that is lost, too", helper.task(function()
      local _ <close>, way, set, joined = join(1, nil, 2)
      local first = joined.client
      assert(first:wait_online(WAIT))
      helper.wait_until(function()
        set:doubt()
        return joined.client ~= first
      end)
      assert.same({ "online", 3, 1 }, { joined.client:state(), way.count, joined.doubts })
    end))

    it("leaves alone what is not online", helper.task(function()
      local _ <close>, way, set, joined = join(1000)
      helper.wait_until(function() return way.count == 1 end)
      set:doubt()
      assert.is_nil(joined.doubted)
    end))
  end)
end)
