--- The machine of a mux, in virtual time (spec/native/mux_machine.c).
local machine = require "spec.mux_machine"

local DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
local SYN, ACK, FIN, RST = 1, 2, 4, 8
local FIRST, BACKLOG = 256 * 1024, 256
local PIECE = ("x"):rep(64 * 1024)

local function frame(kind, flags, stream, length, data)
  return string.pack(">I1I1I2I4I4", 0, kind, flags, stream, length) .. (data or "")
end

-- The frames in these bytes, without their data.
local function frames(bytes)
  local found, at = {}, 1
  while at <= #bytes do
    local _, kind, flags, stream, length = string.unpack(">I1I1I2I4I4", bytes, at)
    found[#found + 1] = { kind, flags, stream, length }
    at = at + 12 + (kind == DATA and length or 0)
  end
  return found
end

local function pair(options)
  options = options or {}
  options.client = true
  local a = machine.new(options)
  options.client = false
  local b = machine.new(options)
  return setmetatable({}, { __close = function()
    a:close()
    b:close()
  end }), a, b
end

local function open_both(a, b)
  local number = assert(a:open())
  b:feed(a:poll(), 0)
  assert(b:accept() == number)
  a:feed(b:poll(), 0)
  return number
end

-- Until neither has anything to send.
local function settle(a, b)
  repeat
    local to_b, to_a = a:poll(), b:poll()
    b:feed(to_b, 0)
    a:feed(to_a, 0)
  until to_b == "" and to_a == ""
end

-- A bulk transfer from a to b over a path of `rate` bytes a millisecond, for so many milliseconds: bytes
-- read, and the largest window. A reader takes `takes` bytes a millisecond (all).
local function transfer(options, rate, milliseconds, takes)
  local _ <close>, a, b = pair(options)
  local number = open_both(a, b)
  local delay, forth, back = options.delay, {}, {}
  local read = 0
  for now = 1, milliseconds do
    repeat
      local taken = a:write(number, PIECE)
      local writer = a:writer()
    until not taken and not writer
    forth[now + delay], back[now + delay] = a:poll(rate), b:poll()
    b:feed(forth[now] or "", now / 1000)
    a:feed(back[now] or "", now / 1000)
    read = read + #(b:read(number, takes or 1 << 20, now / 1000) or "")
  end
  assert.is_nil(a:error())
  assert.is_nil(b:error())
  return read, b:window(number)
end

describe("the machine of a mux", function()
  describe("its windows", function()
    it("grow until they hold what is on its way", function()
      local rate, milliseconds = 32768, 6000 -- a rate that large frames fill
      local read, window = transfer({ delay = 50, rtt = 0.1 }, rate, milliseconds)
      assert.is_true(window >= rate * 100 and window <= 8 * rate * 100, "window " .. window)
      assert.is_true(read > 0.85 * rate * milliseconds, read / rate / milliseconds)
    end)

    it("stay as they are on a short path", function()
      assert.equal(FIRST, select(2, transfer({ delay = 1, rtt = 0.002 }, 20000, 1000)))
    end)

    it("stay as they are when it is the reader who is slow", function()
      assert.equal(FIRST, select(2, transfer({ delay = 50, rtt = 0.1 }, 20000, 2000, 500)))
    end)

    it("grow to window_max, and no further", function()
      local _, window = transfer({ delay = 50, rtt = 0.1, window_max = 4 * FIRST }, 20000, 2000)
      assert.equal(4 * FIRST, window)
    end)

    it("grow within half of memory_max", function()
      local _, window = transfer({ delay = 50, rtt = 0.1, memory_max = 4 * FIRST }, 20000, 2000)
      assert.equal(2 * FIRST, window)
    end)

    it("grow by what a ping has told when the carrier knows no round trip", function()
      local _, window = transfer({ delay = 50 }, 20000, 2000)
      assert.is_true(window > FIRST)
    end)

    it("count what has not come yet of a frame", function()
      local _ <close>, a, b = pair { rtt = 0.001 }
      local number = open_both(a, b)
      b:feed(frame(DATA, 0, number, FIRST, ("x"):rep(200000)), 0)
      assert.equal(150000, #b:read(number, 150000, 0))
      assert.same({ { WINDOW, 0, number, 150000 } }, frames(b:poll()))
      b:feed(("x"):rep(FIRST - 200000) .. frame(DATA, 0, number, 150000, ("x"):rep(150000)), 0)
      assert.equal(1000, #b:read(number, 1000, 0))
      assert.equal("", b:poll())
      b:feed(frame(DATA, 0, number, 1, "x"), 0)
      assert.same({ "the peer breaks the protocol: more bytes than its window", "EPROTO" }, { b:error() })
      assert.same({ { GO_AWAY, 0, 0, 1 } }, frames(b:poll()))
    end)
  end)

  describe("taking turns", function()
    local function lengths(a)
      local found = {}
      for _, f in ipairs(frames(a:poll())) do
        if f[1] == DATA then found[#found + 1] = f[3] .. ":" .. f[4] end
      end
      return found
    end

    it("sends large frames while nobody else waits", function()
      local _ <close>, a, b = pair()
      local number = open_both(a, b)
      a:write(number, PIECE)
      assert.same({ number .. ":65524" }, lengths(a))
    end)

    it("gives each a frame of 16 KiB in turn", function()
      local _ <close>, a, b = pair()
      local numbers = { open_both(a, b), open_both(a, b), open_both(a, b) }
      a:write(numbers[1], PIECE)
      for _, number in ipairs(numbers) do assert.equal("EAGAIN", select(3, a:write(number, PIECE))) end
      lengths(a)
      local order = {}
      for _ = 1, 6 do
        local writer = a:writer()
        a:write(writer, PIECE)
        a:write(writer, PIECE)
        order[#order + 1] = table.concat(lengths(a), " ")
      end
      assert.same({ "1:16372", "3:16372", "5:16372", "1:16372", "3:16372", "5:16372" }, order)
    end)

    it("lets one whose window is used up wait for the grant, and not for the others", function()
      local _ <close>, a, b = pair()
      local full, other = open_both(a, b), open_both(a, b)
      repeat
        local taken = a:write(full, PIECE)
        b:feed(a:poll(), 0)
      until not taken
      assert.is_nil(a:writer())
      assert.equal(5, a:write(other, "quick"))
    end)
  end)

  describe("opening", function()
    it("tells no more than the peer's backlog holds", function()
      local _ <close>, a, b = pair { backlog = 1000 }
      for _ = 1, BACKLOG + 3 do a:open() end
      local told = a:poll()
      assert.equal(BACKLOG, #frames(told))
      local untold = 2 * BACKLOG + 1
      assert.equal("EAGAIN", select(3, a:write(untold, "x")))
      a:shutdown(untold)
      a:free(untold + 2)
      b:feed(told, 0)
      b:accept()
      b:accept()
      a:feed(b:poll(), 0)
      assert.same({ { WINDOW, SYN | FIN, untold, 0 }, { WINDOW, SYN, untold + 4, 0 } }, frames(a:poll()))
    end)

    it("gives up one of which the peer has not heard without a word", function()
      local a <close> = machine.new { client = true }
      for _ = 1, BACKLOG + 1 do a:open() end
      a:poll()
      a:free(2 * BACKLOG + 1)
      assert.equal("", a:poll())
    end)

    it("takes numbers that come out of order", function()
      local b <close> = machine.new { client = false }
      b:feed(frame(WINDOW, SYN, 3, 0) .. frame(WINDOW, SYN, 1, 0), 0)
      assert.same({ 3, 1 }, { b:accept(), b:accept() })
    end)

    it("refuses 10,000 beyond its backlog, and lives", function()
      local b <close> = machine.new { client = false }
      local refused = 0
      for i = 0, 9999 do
        b:feed(frame(WINDOW, SYN, 2 * i + 1, 0), 0)
        if i % 100 == 99 then
          for _, f in ipairs(frames(b:poll())) do refused = refused + (f[2] == RST and 1 or 0) end
        end
      end
      assert.equal(10000 - BACKLOG, refused)
      assert.same({ BACKLOG, refused }, { b:info().streams, b:info().refused })
      assert.is_nil(b:error())
    end)

    it("refuses any beyond streams_max", function()
      local b <close> = machine.new { client = false, streams_max = 1 }
      b:feed(frame(WINDOW, SYN, 1, 0) .. frame(WINDOW, SYN, 3, 0), 0)
      b:accept()
      assert.same({ { WINDOW, RST, 3, 0 }, { WINDOW, ACK, 1, 0 } }, frames(b:poll()))
    end)

    it("refuses all after going away", function()
      local b <close> = machine.new { client = false }
      b:go_away()
      b:feed(frame(WINDOW, SYN, 1, 0), 0)
      assert.same({ { GO_AWAY, 0, 0, 0 }, { WINDOW, RST, 1, 0 } }, frames(b:poll()))
      assert.equal("EPIPE", select(3, b:open()))
    end)
  end)

  describe("bounded by", function()
    it("the answers that a peer does not read", function()
      local b <close> = machine.new { client = false }
      for i = 1, 22000 do b:feed(frame(PING, SYN, 0, i), 0) end
      assert.same({ "the peer breaks the protocol: it asks, and does not read the answers", "EPROTO" },
        { b:error() })
    end)

    it("nothing, for a peer that reads them", function()
      local b <close> = machine.new { client = false }
      for i = 1, 100000 do
        b:feed(frame(PING, SYN, 0, i), 0)
        if i % 100 == 0 then b:poll(1100) end
      end
      assert.is_nil(b:error())
    end)

    it("the streams whose peer never ends them", function()
      local a <close> = machine.new { client = true }
      local resets = 0
      for i = 0, 1999 do
        local number = a:open()
        a:shutdown(number)
        a:free(number)
        a:feed(frame(WINDOW, ACK, number, 0), 0)
        for _, f in ipairs(frames(a:poll())) do
          if f[2] == RST then
            assert.equal(2 * (i - 1024) + 1, f[3])
            resets = resets + 1
          end
        end
      end
      assert.equal(2000 - 1024, resets)
    end)

    it("memory_max: the fullest stream is reset, and what comes for it is dropped", function()
      local b <close> = machine.new { client = false, memory_max = FIRST }
      b:feed(frame(DATA, SYN, 1, 200000, ("x"):rep(200000)), 0)
      b:feed(frame(DATA, SYN, 3, 60000, ("x"):rep(60000)), 0)
      local one, three = b:accept(), b:accept()
      b:feed(frame(DATA, 0, 3, 10000, ("x"):rep(10000)), 0)
      assert.equal("ENOBUFS", select(3, b:read(one, 1, 0)))
      b:feed(frame(DATA, 0, 1, 100, ("x"):rep(100)), 0)
      assert.equal("ENOBUFS", select(3, b:read(one, 1, 0)))
      assert.equal(70000, #b:read(three, 1 << 20, 0))
    end)
  end)

  it("knows no frame of the peer's after the end", function()
    local b <close> = machine.new { client = false }
    b:feed(frame(GO_AWAY, 0, 0, 2) .. frame(WINDOW, SYN, 1, 0), 0)
    assert.same({ "the peer has an internal error", "ECONNRESET" }, { b:error() })
    assert.is_nil(b:accept())
  end)

  it("says what is wrong when the peer says that we break the protocol", function()
    local b <close> = machine.new { client = false }
    b:feed(frame(GO_AWAY, 0, 0, 1), 0)
    assert.same({ "the peer says that we break the protocol", "EPROTO" }, { b:error() })
  end)

  -- Every order of five acts on one stream, from when it is opened on.
  describe("in every state", function()
    local ACTS = {
      function(w) if w.near then w.a:write(1, "near") end end,
      function(w) if w.near then w.a:shutdown(1) end end,
      function(w) if w.near then w.a:reset(1) end end,
      function(w)
        if w.near then w.a:free(1) end
        w.near = false
      end,
      function(w) w.far = w.far or w.b:accept() end,
      function(w) if w.far then w.b:write(1, "far") end end,
      function(w) if w.far then w.b:shutdown(1) end end,
      function(w) if w.far then w.b:read(1, 10, 0) end end,
      function(w)
        if w.far then w.b:free(1) end
        w.far = nil
      end,
      function(w) w.b:feed(w.a:poll(), 0) end,
      function(w) w.a:feed(w.b:poll(), 0) end,
      function(w) w.a:feed(w.b:poll(7), 0) end,
    }

    local function play(order)
      local _ <close>, a, b = pair()
      local w = { a = a, b = b, near = a:open() }
      for _, act in ipairs(order) do ACTS[act](w) end
      settle(a, b)
      w.far = w.far or b:accept()
      if w.near then a:free(1) end
      if w.far then b:free(1) end
      settle(a, b)
      local broken = a:error() or b:error()
      if broken then return broken end
      local left = a:info().streams + b:info().streams + b:info().peers_streams
      return left > 0 and left .. " streams are left" or nil
    end

    local function each(depth, order)
      if depth == 0 then return play(order) end
      for act in ipairs(ACTS) do
        order[depth] = act
        local wrong = each(depth - 1, order)
        if wrong then return wrong end
      end
    end

    it("a stream can be written, shut, reset and given up", function()
      local order = {}
      local wrong = each(4, order)
      assert.is_nil(wrong, wrong and wrong .. ": " .. table.concat(order, " "))
    end)
  end)

  -- -- random histories

  local function pattern(number, from, position, count)
    local bytes = {}
    for i = position, position + count - 1 do bytes[#bytes + 1] = (i * 7 + number + from * 100) & 255 end
    return string.char(table.unpack(bytes))
  end

  -- One side's streams: how far each is, { written, read, total }.
  local function act(random, side, from)
    local numbers = {}
    for number in pairs(side.streams) do numbers[#numbers + 1] = number end
    table.sort(numbers)
    local number = numbers[random(math.max(#numbers, 1))]
    if not number then return end
    local s = side.streams[number]
    local left = s.total - s.written
    if left > 0 then
      local taken = side.machine:write(number, pattern(number, from, s.written, math.min(left, random(3000))))
      s.written = s.written + (taken or 0)
    elseif not s.shut then
      s.shut = true
      side.machine:shutdown(number)
    end
    local data, reason = side.machine:read(number, random(4000), side.now)
    if data then
      assert(data == pattern(number, 1 - from, s.read, #data), "other bytes than were written")
      s.read = s.read + #data
    elseif not reason and not s.ended then
      s.ended = true
    end
  end

  local function history(seed)
    math.randomseed(seed)
    local random = math.random
    local sides = { [0] = { streams = {} }, { streams = {} } }
    local _ <close>, a, b = pair { rtt = 0.01 }
    sides[0].machine, sides[1].machine = a, b
    local plan, opened = {}, 0
    local to_open = random(6)
    for _ = 1, 20000 do
      local from = random(0, 1)
      local side, other = sides[from], sides[1 - from]
      side.now = (side.now or 0) + 0.001
      if opened < to_open and random(20) == 1 then
        opened = opened + 1
        local number = side.machine:open()
        plan[number] = { random(0, 40000), random(0, 40000) }
        side.streams[number] = { written = 0, read = 0, total = plan[number][1] }
      end
      local accepted = side.machine:accept()
      if accepted then side.streams[accepted] = { written = 0, read = 0, total = plan[accepted][2] } end
      if random(3) == 1 then
        other.machine:feed(side.machine:poll(random(8000)), side.now)
      else
        act(random, side, from)
      end
      side.machine:writer()
      assert(not side.machine:error(), side.machine:error())
    end
    for number in pairs(plan) do
      for from = 0, 1 do
        local s, peer = sides[from].streams[number], sides[1 - from].streams[number]
        assert(s.ended and s.read == peer.total, ("%d: %d bytes of %d"):format(number, s.read, peer.total))
      end
    end
  end

  it("delivers everything, in random histories", function()
    for seed = 1, 20 do
      local ok, why = pcall(history, seed)
      assert.is_true(ok, ("seed %d: %s"):format(seed, why))
    end
  end)
end)
