local lossy = require "spec.lossy"
local reliable_machine = require "spec.reliable_machine"

-- Carries `data` from the dialer to the answerer; fails unless it arrives as it was.
local function carry(world, data, most)
  local write, read = lossy.writer(world.dialer, data), lossy.reader(world.answerer)
  world:run(function()
    write()
    return (read())
  end, most)
  assert.is_true(select(2, read()) == data, "what came is not what was sent")
end

-- Both ways at once.
local function exchange(world, there, back, most)
  local writers = { lossy.writer(world.dialer, there), lossy.writer(world.answerer, back) }
  local readers = { lossy.reader(world.answerer), lossy.reader(world.dialer) }
  world:run(function()
    for _, write in ipairs(writers) do write() end
    local done = true
    for _, read in ipairs(readers) do done = read() and done end
    return done
  end, most)
  assert.is_true(select(2, readers[1]()) == there, "what came to the answerer is not what was sent")
  assert.is_true(select(2, readers[2]()) == back, "what came to the dialer is not what was sent")
end

-- Both have ended: they go away.
local function part(world)
  world.dialer:leave(world.now)
  world.answerer:leave(world.now)
  world:run(function()
    return world.dialer:info().state == "gone" and world.answerer:info().state == "gone"
  end, 15)
end

local function failure(machine)
  local data, message, code = machine:read()
  assert.is_nil(data)
  return message, code
end

describe("a reliable link", function()
  describe("opens", function()
    it("in one round trip and a half, whoever begins", function()
      local world <close> = lossy.world { delay = 0.02 }
      world:open()
      assert.is_true(world.now <= 1000.061)
      assert.is_true(math.abs(world.dialer:info().rtt - 0.04) < 0.001)
    end)

    it("when the other one comes seconds later", function()
      local world <close> = lossy.world { back = { is_down = function(now) return now < 1003 end } }
      world:open()
      assert.is_true(world.now < 1004.2)
    end)

    it("through 30 % loss", function()
      for seed = 1, 20 do
        local world <close> = lossy.world { seed = seed, loss = 0.3, double = 0.2 }
        world:open()
      end
    end)

    it("with nobody: fails after the silence that was set", function()
      local world <close> = lossy.world { loss = 1, link = { silence = 5 } }
      world:run(function() return world.dialer:info().state == "failed" end, 6)
      local message, code = failure(world.dialer)
      assert.equal("read: the peer has not answered for 5 s", message)
      assert.equal("ETIMEDOUT", code)
      assert.equal("ETIMEDOUT", select(3, world.dialer:write "x"))
      assert.equal("ETIMEDOUT", select(3, world.dialer:shutdown()))
    end)

    it("takes nothing before, but remembers the end", function()
      local world <close> = lossy.world {}
      assert.equal(0, world.dialer:write "early")
      world.dialer:shutdown()
      world:run(function() return select("#", world.answerer:read()) == 0 end)
    end)
  end)

  describe("carries a stream", function()
    local TROUBLE = {
      ["without trouble"] = {},
      ["through 1 % loss"] = { loss = 0.01 },
      ["through 20 % loss"] = { loss = 0.2 },
      ["through duplication"] = { double = 0.3 },
      ["through reordering"] = { jitter = 0.03, reorders = true },
      ["through jitter"] = { jitter = 0.05 },
      ["through all of it"] = { loss = 0.1, double = 0.1, jitter = 0.03, reorders = true },
      ["through a short queue"] = { rate = 1.25e6, room = 10000 },
      ["on a very short way"] = { delay = 0.0001 },
      ["on a very long way"] = { delay = 1, loss = 0.01 },
      ["that drops acknowledgements"] = { back = { loss = 0.5 } },
    }
    for name, options in pairs(TROUBLE) do
      it(name, function()
        local world <close> = lossy.world(options)
        exchange(world:open(), lossy.noise(300000, 1), lossy.noise(200001, 2), 300)
        part(world)
      end)
    end

    it("through all of it, whatever happens when", function()
      for seed = 1, 30 do
        local world <close> = lossy.world {
          seed = seed, loss = 0.2, double = 0.1, jitter = 0.03, reorders = true, delay = 0.005,
        }
        exchange(world:open(), lossy.noise(20000, seed), lossy.noise(10001, seed + 1), 300)
        part(world)
      end
    end)

    it("over an outage of 10 s, and is quick again", function()
      local function is_down(now) return now > 1000.5 and now < 1010.5 end
      local world <close> = lossy.world { is_down = is_down }
      carry(world:open(), lossy.noise(4000000), 14)
    end)

    it("quickly, though much is lost on a very short way", function()
      local world <close> = lossy.world { delay = 0.0001, loss = 0.02 }
      world:open()
      local began = world.now
      carry(world, lossy.noise(8000000))
      assert.is_true(world.now - began < 4)
    end)

    it("in little pieces, at once", function()
      local world <close> = lossy.world {}
      world:open()
      for i = 1, 100 do
        local line = ("line %d\n"):format(i)
        assert.equal(#line, world.dialer:write(line))
        local sent = world.now
        world:run(function() return world.answerer:read() == line end)
        assert.is_true(world.now - sent < 0.0201)
      end
    end)

    it("and falls to what the path takes", function()
      for _, mtu in ipairs { 1100, 600 } do
        local world <close> = lossy.world { mtu = mtu }
        carry(world:open(), lossy.noise(100000))
        assert.equal(508, world.dialer:info().mtu)
      end
      local world <close> = lossy.world { mtu = 1300, link = { mtu = 1500 } }
      carry(world:open(), lossy.noise(100000))
      assert.equal(1196, world.dialer:info().mtu)
    end)

    it("with datagrams that are no longer than was set", function()
      local world <close> = lossy.world { mtu = 700, link = { mtu = 700 } }
      carry(world:open(), lossy.noise(100000))
      assert.equal(0, world.there.dropped + world.back.dropped)
    end)

    it("and fills a line of 10 Mbit/s, losing under 1 % by itself", function()
      for _, queue_s in ipairs { 0.02, 0.04, 0.1 } do
        local world <close> = lossy.world { rate = 1.25e6, room = queue_s * 1.25e6 }
        world:open()
        local began = world.now
        carry(world, lossy.noise(4000000), 10)
        assert.is_true(4000000 / (world.now - began) > 0.9 * 1.25e6)
        assert.is_true(world.there.overrun < 0.01 * world.there.carried)
      end
    end)
  end)

  describe("is not confused", function()
    it("by garbage, strangers and what comes twice", function()
      local world <close> = lossy.world { loss = 0.05 }
      world:open()
      local stranger <close> = reliable_machine.new { id = "another", role = "dialer", now = world.now }
      local random, seen = lossy.generator(3), {}
      local carry_on = world.there.carry
      function world.there:carry(datagram)
        carry_on(self, datagram)
        seen[#seen + 1] = datagram
        local cut = math.floor(random() * #datagram)
        for _, other in ipairs {
          datagram:sub(1, cut), ("x"):rep(cut), "", stranger:poll(world.now) or "",
          seen[1 + math.floor(random() * #seen)], seen[1],
        } do world:schedule(world.now + random(), other, self.to) end
        world:schedule(world.now + random(), datagram, world.dialer) -- its own, sent back
      end
      exchange(world, lossy.noise(300000), lossy.noise(100000), 60)
      assert.is_true(world.answerer:info().refused > 100)
      assert.is_true(world.dialer:info().refused > 100)
      part(world)
    end)

    it("by bits that flip in what it does not carry for others", function()
      local world <close> = lossy.world {}
      world:open()
      world.dialer:write "hello"
      local datagram = world.dialer:poll(world.now)
      for i = 1, 16 do -- the header; beyond it UDP's checksum and TLS have to do
        local bit = string.char(datagram:byte(i) ~ 0x80)
        local flipped = datagram:sub(1, i - 1) .. bit .. datagram:sub(i + 1)
        world.answerer:feed(flipped, world.now)
      end
      world.answerer:feed(datagram, world.now)
      assert.equal("hello", world.answerer:read())
      assert.equal("EAGAIN", select(3, world.answerer:read()))
    end)

    it("by acknowledgements of what was never sent", function()
      local world <close> = lossy.world {}
      world:open()
      local liar <close> = reliable_machine.new { id = "link", role = "dialer", now = world.now }
      for _ = 1, 5 do liar:feed(assert(world.answerer:poll(world.now + 20) or ""), world.now) end
      assert.equal("open", world.answerer:info().state)
    end)

    it("by a flag that no version has", function()
      local world <close> = lossy.world {}
      local datagram = world.dialer:poll(world.now)
      local flagged = datagram:sub(1, 1) .. string.char(datagram:byte(2) | 0x40) .. datagram:sub(3)
      assert.equal("EBADMSG", select(3, world.answerer:feed(flagged, world.now)))
    end)
  end)

  describe("and a reader that stalls", function()
    local WINDOW = 192 * 1024

    it("holds one window, in all", function()
      local world <close> = lossy.world {}
      world:open()
      local taken = 0
      for _ = 1, 1000 do
        taken = taken + world.dialer:write(("x"):rep(65536))
        world:wait(0.01)
      end
      assert.equal(WINDOW, taken)
      assert.equal(0, world.dialer:info().unacked)
    end)

    -- Writes while nobody reads, until nothing more is taken.
    local function fill(world, write, seconds)
      world:run(function()
        write()
        return world.dialer:info().unacked == 0 and world.dialer:write "x" == 0
      end, seconds)
    end

    local function empty(world, write, read, seconds)
      world:run(function()
        write()
        return (read())
      end, seconds)
    end

    it("goes on when the reader does, though the news of it is lost", function()
      for seed = 1, 10 do
        local world <close> = lossy.world { seed = seed, loss = 0.3 }
        world:open()
        local data = lossy.noise(400000)
        local write, read = lossy.writer(world.dialer, data), lossy.reader(world.answerer)
        fill(world, write, 200)
        empty(world, write, read, 200)
        assert.is_true(select(2, read()) == data)
      end
    end)

    it("goes on when the news of it was in data, and that was lost, and came again", function()
      local dark = false
      local world <close> = lossy.world { back = { is_down = function() return dark end } }
      world:open()
      local data = lossy.noise(300000)
      local write, read = lossy.writer(world.dialer, data), lossy.reader(world.answerer)
      fill(world, write, 20)
      dark = true
      world.answerer:write "first"
      read()
      world:flush()
      dark = false
      for i = 1, 4 do
        world.answerer:write(tostring(i))
        world:wait(0.001)
      end
      empty(world, write, read, 1)
      assert.is_true(select(2, read()) == data)
      assert.equal("first1234", world.dialer:read())
    end)

    it("is asked now and then whether there is room by now", function()
      local world <close> = lossy.world {}
      world:open()
      for _ = 1, 10 do
        world.dialer:write(("x"):rep(65536))
        world:wait(0.1)
      end
      local before = world.there.carried
      world:wait(60)
      local asked = world.there.carried - before
      assert.is_true(asked >= 25 and asked <= 40, asked .. " datagrams in a minute")
      assert.equal("open", world.dialer:info().state)
    end)

    it("lives for hours", function()
      local world <close> = lossy.world {}
      world:open()
      assert.equal(5, world.dialer:write "hello")
      world:wait(7200)
      assert.equal("open", world.dialer:info().state)
      assert.equal("hello", world.answerer:read())
      assert.is_true(world.there.carried + world.back.carried < 4 * 7200 / 15 + 20)
    end)
  end)

  describe("ends", function()
    it("one half, and the other one lives", function()
      local world <close> = lossy.world { loss = 0.1 }
      world:open()
      carry(world, lossy.noise(30000))
      assert.equal("EPIPE", select(3, world.dialer:write "more"))
      world:wait(100)
      local read = lossy.reader(world.dialer)
      local write = lossy.writer(world.answerer, lossy.noise(50000, 9))
      world:run(function()
        write()
        return (read())
      end)
      assert.is_true(select(2, read()) == lossy.noise(50000, 9))
      part(world)
    end)

    it("not because we have slept", function()
      for _, data in ipairs { "", "before" } do
        local world <close> = lossy.world {}
        world:open()
        world.dialer:write(data)
        world:flush()
        world.now = world.now + 40 -- and nobody has looked at what came meanwhile
        world.dialer:write "after"
        world:wait(1)
        assert.equal("open", world.dialer:info().state)
        assert.equal(data .. "after", world.answerer:read())
      end
    end)

    it("both at once", function()
      for seed = 1, 20 do
        local world <close> = lossy.world { seed = seed, loss = seed > 1 and 0.3 or 0 }
        world:open()
        world.dialer:shutdown()
        world.answerer:shutdown()
        world:run(function()
          return select("#", world.answerer:read()) == 0 and select("#", world.dialer:read()) == 0
        end)
        part(world)
      end
    end)

    it("soon: no longer than its last acknowledgement may be asked for", function()
      local world <close> = lossy.world { delay = 0.0005 }
      exchange(world:open(), "there", "back")
      local ended = world.now
      part(world)
      assert.is_true(world.now - ended < 0.6)
    end)

    it("with a clear error when one leaves in the middle, after all that came in order", function()
      local world <close> = lossy.world {}
      world:open()
      world.dialer:write "some"
      world.answerer:write "lost"
      world:wait(1)
      world.dialer:leave(world.now)
      world:run(function() return world.answerer:info().state == "failed" end, 1)
      assert.equal("some", world.answerer:read())
      local message, code = failure(world.answerer)
      assert.equal("read: the peer has given up: the link was closed", message)
      assert.equal("ECONNRESET", code)
      assert.equal("ECONNRESET", select(3, world.answerer:write "x"))
      world:run(function() return world.dialer:info().state == "gone" end, 2)
      world.answerer:leave(world.now)
      world:flush()
      assert.equal("gone", world.answerer:info().state)
    end)

    it("the same when the word of it is lost at first", function()
      local world <close> = lossy.world { is_down = function(now) return now > 1001 and now < 1001.2 end }
      world:open()
      world:wait(1001.05 - world.now)
      world.dialer:leave(world.now)
      world:run(function() return world.answerer:info().state == "failed" end, 1)
      assert.equal("ECONNRESET", select(2, failure(world.answerer)))
    end)

    it("with a clear error when the peer dies, whether it was spoken to or not", function()
      for _, data in ipairs { "are you there?", "" } do
        local world <close> = lossy.world { is_down = function(now) return now > 1001 end }
        world:open()
        world:wait(1.5)
        world.dialer:write(data)
        world:run(function() return world.dialer:info().state == "failed" end, 46)
        local message, code = failure(world.dialer)
        assert.equal("read: the peer vanished: silent for 30 s", message)
        assert.equal("ETIMEDOUT", code)
      end
    end)
  end)
end)
