local clock = require "p2pd.clock"
local core = require "p2pd.core"
local helper = require "spec.helper"
local ntp_servers = require "spec.ntp_servers"
local p2pd = require "p2pd"
local task = require "p2pd.task"
local wait_until = helper.wait_until

local QUICK = { count = 3, spacing = 0.002, spacing_max = 0.002, timeout = 0.05 }

describe("p2pd.clock", function()
  teardown(helper.close_all)

  describe("monotonic()", function()
    it("never goes back", function()
      local last = clock.monotonic()
      for _ = 1, 1000 do
        local now = clock.monotonic()
        assert.is_true(now >= last)
        last = now
      end
    end)
  end)

  describe("now()", function()
    it("is in seconds since 1970, with fractions", function()
      local before = os.time()
      local now = clock.now()
      assert.equal("float", math.type(now))
      assert.is_true(now >= before and now < os.time() + 1)
    end)

    it("is the system's clock, with its skew, before a measurement", function()
      local skewed = clock.new { skew = 1000 }
      assert.near(core.clock.realtime() + 1000, skewed:now(), 1)
      assert.same({ offset = 0, bound = math.huge, source = "system", servers = 0 }, skewed:offset())
    end)

    it("goes on with the monotonic clock after one", helper.task(function()
      local server <close> = helper.chronyd()
      local measured = clock.new()
      assert(measured:measure({ server }, QUICK))
      local last = measured:now()
      for _ = 1, 1000 do
        local now = measured:now()
        assert.is_true(now >= last)
        last = now
      end
    end))
  end)

  describe("to_monotonic()", function()
    it("says when a network time is", function()
      local before = clock.monotonic()
      local instant = clock.to_monotonic(clock.now())
      assert.is_true(instant >= before - 1e-5 and instant <= clock.monotonic() + 1e-5)
      assert.near(clock.to_monotonic(1e9) + 5, clock.to_monotonic(1e9 + 5), 1)
    end)

    it("follows a correction", helper.task(function()
      local server <close> = helper.chronyd()
      local skewed = clock.new { skew = 500 }
      assert(skewed:measure({ server }, QUICK))
      assert.near(clock.monotonic(), skewed:to_monotonic(core.clock.realtime()), 0.2)
    end))
  end)

  describe("measure()", function()
    it("corrects a skewed clock to within its bound", helper.task(function()
      local server <close> = helper.chronyd()
      local other <close> = helper.chronyd()
      for _, skew in ipairs { -0.5, -0.05, 0, 0.05, 0.5, 86400 } do
        local skewed = clock.new { skew = skew }
        local found = assert(skewed:measure({ server, other }, QUICK))
        assert.equal("ntp", found.source)
        assert.equal(2, found.servers)
        assert.is_true(math.abs(found.offset + skew) <= found.bound + 1e-5)
        assert.is_true(math.abs(skewed:now() - core.clock.realtime()) <= found.bound + 1e-3)
      end
    end))

    it("leaves the clock as it is when nobody answers", helper.task(function()
      local mute <close> = ntp_servers.new(function() end)
      local skewed = clock.new { skew = 3 }
      local found, message, code = skewed:measure({ mute }, QUICK)
      assert.is_nil(found)
      assert.matches("timed out", message)
      assert.equal("ETIMEDOUT", code)
      assert.equal("system", skewed:offset().source)
    end))

    it("is less sure as time passes", helper.task(function()
      local server <close> = ntp_servers.ahead(0)
      local measured = clock.new()
      assert(measured:measure({ server }, QUICK))
      local first = measured:offset()
      task.sleep(0.01)
      local second = measured:offset()
      assert.is_true(second.bound > first.bound and second.age > first.age)
    end))
  end)

  describe("start()", function()
    it("measures in the background", helper.task(function()
      local server <close> = helper.chronyd()
      local skewed = clock.new { skew = 0.5 }
      local _ <close> = skewed:start { server }
      assert.equal("system", skewed:offset().source)
      wait_until(function() return skewed:offset().source == "ntp" end)
      assert.near(-0.5, skewed:offset().offset, 0.1)
    end))

    it("uses the first good answer and does not wait for dead servers", helper.task(function()
      local server <close> = helper.chronyd()
      local mute <close> = ntp_servers.new(function() end)
      local started = clock.new()
      local _ <close> = started:start { mute, server }
      wait_until(function() return started:offset().source == "ntp" end)
      assert.is_true(mute.asked < 3)
    end))

    it("asks once for all that use the same servers", helper.task(function()
      local server <close> = ntp_servers.ahead(0)
      local started = clock.new()
      local first <close> = started:start { server }
      local second <close> = started:start { { host = server.host, port = server.port } }
      wait_until(function() return server.asked > 0 end)
      first:close()
      first:close()
      assert.is_not_nil(next(started.refreshers))
      second:close()
      assert.is_nil(next(started.refreshers))
    end))

    it("asks again soon when nobody has answered", helper.task(function()
      local silent = true
      local server <close> = ntp_servers.new(function(request)
        return not silent and ntp_servers.answer(request) or nil
      end)
      local started = clock.new()
      local _ <close> = started:start { server }
      wait_until(function() return server.asked >= 1 end)
      silent = false
      wait_until(function() return started:offset().source == "ntp" end)
    end))

    it("measures anew when the machine has slept", helper.task(function()
      local server <close> = ntp_servers.ahead(0)
      local started = clock.new()
      local _ <close> = started:start { server }
      wait_until(function() return started:offset().source == "ntp" end)
      started.slept = started.slept - 3600 -- as if it had slept since
      started:now()
      assert.is_true(started.slept > -3600)
      local asked = server.asked
      wait_until(function() return server.asked > asked end)
    end))

    -- A clock that is kept up every few milliseconds, until the server has been asked so often.
    local function keep_up(times, seconds_ahead)
      local server <close> = ntp_servers.new(function(request, n)
        return ntp_servers.answer(request, nil, seconds_ahead(n))
      end)
      local started = clock.new { poll_min = 0.005, poll_max = 0.01, burst = QUICK }
      local _ <close> = started:start { server }
      wait_until(function() return server.asked > times end)
      return started
    end

    it("asks again and again, once each time", helper.task(function()
      local started = keep_up(3 + 5, function() return 0 end)
      assert.is_true(started:offset().bound < 1)
    end))

    it("follows a correction of the server", helper.task(function()
      local started = keep_up(3 + 3, function(n) return n > 3 and 30 or 0 end)
      assert.near(30, started:offset().offset, 1)
    end))

    it("without servers does nothing", helper.task(function()
      local idle = clock.new()
      local handle <close> = idle:start {}
      assert.equal("system", idle:offset().source)
      handle:close()
    end))

    it("is what a node does for as long as it lives", helper.task(function()
      local server <close> = helper.chronyd()
      local broker <close> = helper.mosquitto()
      local ntp = { { host = server.host, port = server.port } }
      local _, settings = helper.settings { brokers = { broker }, ntp = ntp }
      local node <close> = assert(p2pd.node { settings = settings, interfaces = { "lo" } })
      wait_until(function() return clock.offset().source == "ntp" end)
      assert.is_true(math.abs(clock.now() - core.clock.realtime()) <= clock.offset().bound + 1e-3)
      node:close()
    end))
  end)

  describe("P2PD_SKEW", function()
    local function offset_of(skew)
      local child <close> = helper.p2pd {
        env = { P2PD_SKEW = skew, P2PD_LOG = "warn", PATH = os.getenv "PATH" },
        "-e", "print(require 'p2pd.clock'.now() - require 'p2pd.core'.clock.realtime())",
      }
      local output, complaint = child:stdout():read "a", child:stderr():read "a"
      return tonumber(output), complaint
    end

    it("shifts the system's clock", helper.task(function()
      assert.near(-250, (offset_of "-250"), 1)
      assert.near(0.5, (offset_of "0.5"), 0.1)
    end))

    it("is complained about when it is no number", helper.task(function()
      local offset, complaint = offset_of "soon"
      assert.near(0, offset, 0.1)
      assert.matches('P2PD_SKEW is no number of seconds: "soon"', complaint, 1, true)
    end))
  end)
end)
