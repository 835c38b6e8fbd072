local core = require "p2pd.core"
local helper = require "spec.helper"
local links = require "spec.links"
local lossy = require "spec.lossy"
local streams = require "spec.streams"
local task = require "p2pd.task"

local function settle()
  while core.stream.lingering() > 0 do task.sleep(0.005) end
end

describe("core.reliable", function()
  describe("new()", function()
    it("opens with its peer", helper.task(function()
      local _ <close>, near, far = links.pair()
      assert.is_true(near:open(5))
      assert.is_true(far:open(5))
      local info = near:info()
      assert.equal("open", info.state)
      assert.equal(1196, info.mtu)
      assert.is_true(info.rtt > 0)
      assert.matches("^reliable link %(open%)", tostring(near))
    end))

    it("says that nobody is there", helper.task(function()
      local near, far = links.carriers()
      local _ <close> = far
      local link <close> = core.reliable.new { id = "x", role = "dialer", carrier = near, silence = 0.2 }
      assert.equal("ETIMEDOUT", select(3, link:open(0.01)))
      local ok, message, code = link:open(5)
      assert.is_nil(ok)
      assert.equal("open: the peer has not answered for 0.2 s", message)
      assert.equal("ETIMEDOUT", code)
    end))

    it("does not take another link's peer for its own", helper.task(function()
      local near, far = links.carriers()
      local one <close> = core.reliable.new { id = "one", role = "dialer", carrier = near }
      local two <close> = core.reliable.new { id = "two", role = "answerer", carrier = far }
      assert.equal("ETIMEDOUT", select(3, one:open(0.05)))
      assert.is_true(two:info().refused > 0)
    end))

    it("raises for what is no carrier, or a closed one", helper.task(function()
      local near, far = links.carriers()
      local _ <close> = far
      near:close()
      local options = { id = "x", role = "dialer", carrier = near }
      assert.error_matches(function() core.reliable.new(options) end, "closed")
      options.carrier = nil
      assert.error_matches(function() core.reliable.new(options) end, "p2pd.datagrams expected")
    end))

    it("raises for options that make no sense", helper.task(function()
      local near, far = links.carriers()
      local _ <close> = far
      local function refuses(options, reason)
        assert.error_matches(function() core.reliable.new(options) end, reason)
      end
      refuses({ id = "x", carrier = near }, "'role'")
      refuses({ id = "x", role = "both", carrier = near }, "'role'")
      refuses({ role = "dialer", carrier = near }, "'id'")
      refuses({ id = "x", role = "dialer", mtu = 100, carrier = near }, "'mtu'")
      refuses({ id = "x", role = "dialer", mtu = 9000, carrier = near }, "'mtu'")
      refuses({ id = "x", role = "dialer", silence = 0, carrier = near }, "'silence'")
      refuses("x", "table expected")
      near:close()
    end))

    it("tells the peer when it is closed before it is a stream", helper.task(function()
      local _ <close>, near, far = links.pair()
      assert(near:open(5))
      assert(far:open(5))
      near:close()
      local stream <close> = far:stream()
      local data, message, code = stream:read "l"
      assert.is_nil(data)
      assert.equal("read: the peer has given up: the link was closed", message)
      assert.equal("ECONNRESET", code)
      settle()
    end))

    it("runs over whatever a script carries", helper.task(function()
      local ends = { { core.datagrams.pair() }, { core.datagrams.pair() } }
      local _ <close> = task.hold(ends[1][2], ends[2][2])
      local carriers = task.group()
      local _ <close> = carriers
      for i = 1, 2 do
        carriers:spawn(function()
          for datagram in function() return (ends[i][2]:receive()) end do ends[3 - i][2]:send(datagram) end
        end)
      end
      local one = core.reliable.new { id = "carried", role = "dialer", carrier = ends[1][1] }
      local two = core.reliable.new { id = "carried", role = "answerer", carrier = ends[2][1] }
      local near, far = one:stream(), two:stream()
      assert(near:write "over a script\n")
      assert.equal("over a script", far:read "l")
      near:close()
      assert.is_nil((far:read "l"))
      far:close()
      settle()
    end))

    it("takes the carrier, which is closed for others", helper.task(function()
      local near, far = links.carriers()
      local _ <close> = far
      local link <close> = core.reliable.new { id = "x", role = "dialer", carrier = near }
      assert.equal("EBADF", select(3, near:send "x"))
      link:close()
      link:close()
      assert.equal("EBADF", select(3, link:open()))
      assert.equal("EBADF", select(3, link:stream()))
      assert.equal("EBADF", select(3, link:info()))
      assert.matches("closed", tostring(link))
    end))

    it("is closed under a task that waits", helper.task(function()
      local near, far = links.carriers()
      local _ <close> = far
      local link <close> = core.reliable.new { id = "x", role = "dialer", carrier = near }
      local waiting = task.spawn(function() return link:open() end)
      task.sleep(0)
      link:close()
      assert.equal("EBADF", select(3, waiting:join(5)))
    end))
  end)

  describe("a stream", function()
    it("carries bytes both ways, and their ends", helper.task(function()
      local _ <close>, near, far = links.streams()
      local there, back = lossy.noise(3000000, 1), lossy.noise(2000001, 2)
      local function speak(stream, data)
        return task.spawn(function()
          assert(stream:write(data))
          assert(stream:shutdown())
        end)
      end
      local a, b = speak(near, there), speak(far, back)
      local reading = task.spawn(function() return near:read "a" end)
      assert.is_true(far:read "a" == there)
      assert.is_true(reading:join(10) == back)
      a:join()
      b:join()
    end))

    it("answers lines, and knows the round trip", helper.task(function()
      local _ <close>, near, far = links.streams()
      for i = 1, 50 do
        assert(near:write(("ping %d\n"):format(i)))
        assert.equal("ping " .. i, far:read "l")
        assert(far:write "pong\n")
        assert.equal("pong", near:read "l")
      end
      assert.is_true(near:stats().rtt > 0)
    end))

    it("may be one before the peer is there", helper.task(function()
      local near, far = links.carriers()
      local one = core.reliable.new { id = "early", role = "dialer", carrier = near }
      local stream <close> = one:stream()
      assert(stream:write "early\n")
      local two = core.reliable.new { id = "early", role = "answerer", carrier = far }
      local other <close> = two:stream()
      assert.equal("early", other:read "l")
    end))

    it("brings everything although it is closed at once", helper.task(function()
      local held <close>, near, far = links.streams()
      local data = lossy.noise(200000)
      local writing = task.spawn(function()
        assert(near:write(data))
        near:close()
      end)
      assert.is_true(far:read "a" == data)
      writing:join()
      far:close()
      settle()
      assert.equal("EBADF", select(3, held[1]:read()))
    end))

    it("resets who writes to one that is closed", helper.task(function()
      local _ <close>, near, far = links.streams()
      near:close()
      assert.is_nil(far:read "l")
      local ok, message, code
      repeat
        ok, message, code = far:write "is anybody there?"
        task.sleep(0)
      until not ok
      assert.equal("ECONNRESET", code)
      assert.matches("^write: the peer has given up: the link was closed", message)
    end))

    it("tells the reader that the peer has broken off", helper.task(function()
      local _ <close>, near, far = links.streams()
      assert(near:write "half a li")
      assert.equal("half", far:read(4))
      near:abort()
      local data, message, code = far:read "l"
      assert.is_nil(data)
      assert.equal("read: the peer has given up: the link was closed", message)
      assert.equal("ECONNRESET", code)
    end))

    it("keeps no more than 256 KiB for a reader that stalls", helper.task(function()
      local _ <close>, near, far = links.streams()
      local taken = 0
      near:settimeout(0.1)
      repeat
        local ok, _, _, some = near:write(("x"):rep(100000))
        taken = taken + (ok and 100000 or some)
      until not ok
      assert.is_true(taken <= 256 * 1024)
      assert.is_true(taken > 192 * 1024)
      near:shutdown()
      assert.equal(taken, streams.swallow(far))
    end))

    it("has no descriptor to give, and no address", helper.task(function()
      local _ <close>, near = links.streams()
      assert.equal("EOPNOTSUPP", select(3, near:detach()))
      assert.is_nil((near:getsockname()))
      assert.is_nil((near:getpeername()))
    end))

    it("closes both ends at once and leaves nothing", helper.task(function()
      for _ = 1, 20 do
        local _ <close>, near, far = links.streams()
        near:write "x"
        near:close()
        far:close()
      end
      settle()
    end))

    it("lives under TLS", helper.task(function()
      local _ <close>, near, far = links.streams()
      local alice, bob = core.keys.generate(), core.keys.generate()
      local server = task.spawn(function()
        return core.tls.server(far, core.tls.context(bob), alice:id(), 5)
      end)
      assert(core.tls.client(near, core.tls.context(alice), bob:id(), 5))
      assert(server:join(5))
      local data = lossy.noise(1000000)
      local writing = task.spawn(function()
        assert(near:write(data))
        assert(near:shutdown())
      end)
      assert.is_true(far:read "a" == data)
      writing:join()
      assert(far:write "thanks")
      far:close()
      assert.equal("thanks", near:read "a")
      assert.equal("TLSv1.3", near:stats().tls.protocol)
      assert.equal(1196, near:stats().link.mtu)
      assert.is_true(near:stats().rtt > 0)
    end))
  end)
end)
