local courses = require "spec.courses"
local history = require "spec.session_history"
local sessions = require "spec.sessions"

local HISTORIES = tonumber(os.getenv "P2PD_SESSION_HISTORIES") or 1000

-- -- frames, made by hand

local function frame(type, flags, body)
  return string.pack(">BBs2", type, flags, body)
end

local function hello(path, received, limit, version, flags)
  return frame(1, flags or 0, string.pack(">Bxxx I4 I8 I8", version or 1, path, received, limit))
end

local function start(position) return frame(3, 0, string.pack(">I8", position)) end
local function data(position, bytes, flags)
  return frame(2, flags or 0, string.pack(">I8", position) .. bytes)
end
local function ack(position, limit) return frame(5, 0, string.pack(">I8I8", position, limit or 1 << 20)) end

local Alone = {}
Alone.__index = Alone

function Alone:feed(...)
  self.machine:feed(1, table.concat { ... }, self.now)
end

function Alone:events()
  return courses.events(self.machine)
end

function Alone:__close()
  self.machine:close()
end

-- The initiator alone; the spec plays the peer on path 1.
local function alone(options)
  local world = courses.world(options)
  world:flush()
  world[2]:close()
  return setmetatable({ machine = world[1], now = world.now }, Alone)
end

-- Writes it all, as far as the first side's path takes it.
local function write_all(world, bytes)
  local taken = 0
  repeat
    local n = world[1]:write(bytes:sub(taken + 1))
    taken = taken + n
    world:flush()
  until n == 0 or taken == #bytes
  assert.equal(#bytes, taken)
end

-- What the bytes of a peer come to: the path's end or the session's, and why.
local function fate(...)
  local side <close> = alone()
  side:feed(...)
  local types, reasons = side:events()
  return types, reasons.ended or reasons.down
end

local function both_ended(world)
  return function()
    world:read(1)
    world:read(2)
    return world[1]:info().state == "ended" and world[2]:info().state == "ended"
  end
end

describe("a session", function()
  it("loses, duplicates and reorders nothing, whatever happens to its paths", function()
    local counts = assert(history.run(1, HISTORIES))
    assert.is_true(counts.breaks > HISTORIES / 2 and counts.moves > HISTORIES and counts.lost > HISTORIES / 2)
  end)

  describe("on one path", function()
    it("carries both ways, and ends for both when both halves have ended", function()
      local world <close> = courses.world()
      world:carry(sessions.noise(300000))
      world:carry(sessions.noise(200000), 2)
      world[1]:shutdown(world.now)
      assert.equal("EPIPE", select(3, world[1]:write "x"))
      world:carry("goes on", 2)
      world[2]:shutdown(world.now)
      assert.is_true(world:run(both_ended(world), 1))
      assert.equal("up ended", (world:events(1)))
      assert.equal("", (world[1]:info().reason or ""))
    end)

    it("sends before the peer has said a word, and no more than it may", function()
      local world <close> = courses.world()
      world.paths[1].held = true
      assert.equal(65536, world[1]:write(("x"):rep(100000)))
      world:flush()
      world.paths[1].held = false
      assert.is_true(world:run(function() return #world:read(2) > 0 end, 0.011))
    end)

    it("keeps as much as the path needs, and no more than it may", function()
      for _, keep_max in ipairs { 65536, 1 << 20, 1 << 24 } do
        local world <close> = courses.world { keep_max = keep_max, paths = 0 }
        world:path { delay = 0.1 }
        world:carry(sessions.noise(6000000), 1, 100)
        assert.is_true(world[1]:info().keep <= keep_max)
        world:run(nil, 1)
        assert.equal(0, world[1]:info().kept)
      end
    end)

    it("fills a long line", function()
      local RATE, BYTES = 30e6, 60 << 20
      local world <close> = courses.world { paths = 0 }
      world:path { delay = 0.05, rate = RATE }
      world:run(nil, 1)
      world[1]:doubt(world.now) -- so that the round trip is known
      world:run(nil, 1)
      local began, piece, read = world.now, ("x"):rep(65536), 0
      assert.is_true(world:run(function()
        world[1]:write(piece)
        read = read + #world:read(2)
        return read >= BYTES
      end, 100))
      local share = read / (world.now - began) / RATE
      assert.is_true(share > 0.7, ("%.2f of the line"):format(share)) -- it has to open up at first
    end)

    it("waits for a reader, who need not take more than a window", function()
      local world <close> = courses.world { keep_max = 100000 }
      local taken = 0
      world:run(function()
        taken = taken + world[1]:write(("x"):rep(65536))
        return false
      end, 50)
      assert.is_true(taken <= 200000 + 20000)
      assert.is_true(world[2]:info().unread <= 100000)
      assert.equal("live", world[1]:path_state(1)) -- it has answered all the time
      assert.is_true(world:run(function()
        world:read(2)
        taken = taken + world[1]:write(("x"):rep(65536))
        return taken > 1000000
      end))
    end)

    it("has a writer wait while the path takes nothing, whatever may be kept", function()
      local side <close> = alone { keep_max = 1 << 20 }
      side:feed(hello(1, 0, 1 << 40))
      while side.machine:poll(1, side.now) do end
      local taken = side.machine:write(("x"):rep(200000))
      assert.is_true(taken >= 65536 and taken <= 65536 + 16384)
      assert.equal(0, side.machine:write "x")
      while side.machine:poll(1, side.now) do end
      assert.equal(1, side.machine:write "x")
    end)

    it("bounds what it keeps for a peer that never acknowledges", function()
      local side <close> = alone { keep_max = 1 << 20 }
      side:feed(hello(1, 0, 1 << 40))
      local taken = 0
      for _ = 1, 100 do
        taken = taken + side.machine:write(("x"):rep(65536))
        while side.machine:poll(1, side.now) do end
      end
      assert.is_true(taken <= 256 * 1024 and side.machine:info().kept <= 300000)
    end)
  end)

  describe("moves", function()
    it("to another path without sending anything twice", function()
      local world <close> = courses.world { paths = 2 }
      world:run(nil, 1)
      world.paths[1].delay = 0.3 -- much is on its way
      write_all(world, sessions.noise(200000))
      assert.is_true(world[1]:switch(2, world.now))
      world:run(nil, 0.1)
      assert.is_true(world[2]:info().unread > 0 or world:read(2) == "")
      world:run(nil, 1)
      assert.is_true(world:read(2) == sessions.noise(200000))
      assert.equal(0, world[1]:info().again)
      assert.same({ 2, 2 }, { world[1]:info().path, world[2]:info().path })
    end)

    it("only as the initiator says, and to what there is", function()
      local world <close> = courses.world { paths = 2 }
      world:run(nil, 1)
      assert.equal("EPERM", select(3, world[2]:switch(2, world.now)))
      assert.equal("ENOENT", select(3, world[1]:switch(3, world.now)))
    end)

    it("back and forth a thousand times in mid-transfer", function()
      local world <close> = courses.world { paths = 2 }
      world:run(nil, 1)
      local parts, read = {}, {}
      for i = 1, 1000 do
        parts[i] = sessions.noise(1000 + i)
        assert(world[1]:write(parts[i]) == #parts[i])
        assert(world[1]:switch(1 + i % 2, world.now))
        world:run(nil, 0.021)
        read[i] = world:read(2)
      end
      world:run(nil, 1)
      assert.is_true(table.concat(read) .. world:read(2) == table.concat(parts))
      assert.is_true(world[1]:info().moves > 400)
      assert.equal(0, world[1]:info().again)
    end)

    it("in the middle of a half-close", function()
      local world <close> = courses.world { paths = 2 }
      world:run(nil, 1)
      world[1]:write "last words"
      world[1]:shutdown(world.now)
      world:flush()
      world[1]:switch(2, world.now)
      world:flush()
      world:cut(world.paths[1])
      assert.is_true(world:run(function() return select(2, world:read(2)) end))
      world:carry(sessions.noise(100000), 2)
      world[2]:shutdown(world.now)
      assert.is_true(world:run(both_ended(world)))
    end)

    it("in the middle of a half-close: the words and the end arrive once", function()
      for _, who in ipairs { 1, 2, false } do
        local world <close> = courses.world { paths = 2 }
        world:run(nil, 1)
        world[1]:write "last words"
        world[1]:shutdown(world.now)
        world[1]:switch(2, world.now)
        world:flush()
        world:cut(world.paths[1], who or nil)
        local text = ""
        assert.is_true(world:run(function()
          local part, ended = world:read(2)
          text = text .. part
          return ended
        end))
        assert.equal("last words", text)
      end
    end)
  end)

  describe("when a path", function()
    local function transfer_through(trouble, options)
      local world <close> = courses.world(options)
      world:run(nil, 1)
      local at = world.now + 0.05
      local text = sessions.noise(3000000)
      local sent, got = 1, {}
      local size = 0
      assert.is_true(world:run(function()
        if at and world.now >= at then
          at = nil
          trouble(world)
        end
        sent = sent + world[1]:write(text:sub(sent, sent + 65535))
        got[#got + 1] = world:read(2)
        size = size + #got[#got]
        return size == #text
      end, 100))
      assert.is_true(table.concat(got) == text)
      return world.now, world:events(1)
    end

    it("breaks: it goes on by the next one", function()
      for _, only in ipairs { 1, 2, false } do
        transfer_through(function(world)
          world:cut(world.paths[1], only or nil)
          world:path()
        end)
      end
    end)

    it("falls silent: that is noticed within 3 s", function()
      local began = transfer_through(function(world)
        world.paths[1].silent = true
      end, { paths = 2 })
      assert.is_true(began < 1004.5)
    end)

    it("falls silent after data: who only reads notices that within 4 s", function()
      local world <close> = courses.world {}
      world:run(nil, 1)
      assert.equal("up", (world:events(2)))
      world[1]:write "the last that comes"
      world:run(nil, 0.1)
      assert.equal("the last that comes", world:read(2))
      world.paths[1].silent = true
      assert.is_true(world:run(function() return world[2]:info().paths == 0 end, 4))
      local _, reasons = world:events(2)
      assert.truthy(reasons.down:find "the peer has not answered for 3.5 s")
    end)

    it("is idle and lives: it is probed once after data, then now and then", function()
      local world <close> = courses.world {}
      world:run(nil, 1)
      world[1]:write "the last that comes"
      world:run(nil, 100)
      assert.equal("the last that comes", world:read(2))
      assert.same({ 1, 1 }, { world[1]:info().paths, world[2]:info().paths })
    end)

    it("is doubted: silence is noticed within 1.2 s", function()
      local ended = transfer_through(function(world)
        world.paths[1].silent = true
        world[1]:doubt(world.now)
      end, { paths = 2 })
      assert.is_true(ended < 1003)
    end)

    it("is idle and silent: that is noticed within the silence that was set", function()
      local world <close> = courses.world { silence = 20 }
      world:run(nil, 100)
      assert.equal("up", (world:events(1)))
      world.paths[1].silent = true
      assert.is_true(world:run(function() return world[1]:info().paths == 0 end, 20.1))
      local types, reasons = world:events(1)
      assert.equal("down lost", types)
      assert.truthy(reasons.down:find "the peer has not answered for 20.0 s")
    end)

    it("dies together with the one that was to take over", function()
      transfer_through(function(world)
        world[1]:switch(2, world.now)
        world:flush()
        world:cut(world.paths[1])
        world:cut(world.paths[2])
        world:path()
      end, { paths = 2 })
    end)

    it("dies in the change, and only the reader's side knows", function()
      transfer_through(function(world)
        world.paths[1].held = true
        world:flush()
        world[1]:switch(2, world.now)
        world:flush()
        world:cut(world.paths[1], 2)
      end, { paths = 2 })
    end)

    it("comes back after it was given up: what it brings is not taken", function()
      local world <close> = courses.world { paths = 2 }
      world:run(nil, 1)
      local path = world.paths[1]
      path.held = true
      write_all(world, sessions.noise(100000))
      assert.is_true(world:run(function() return world[1]:info().resumed == 1 end, 4))
      world:run(nil, 2)
      assert.is_true(world:read(2) == sessions.noise(100000))
      path.held = false
      world:carry(sessions.noise(100000))
      world:carry(sessions.noise(100000), 2)
      assert.equal("dead", world[1]:path_state(1))
    end)

    it("is dropped at once, or when it is drained", function()
      for _, at_once in ipairs { true, false } do
        for side = 1, 2 do
          transfer_through(function(world)
            assert(world[side]:drop(1, "enough", at_once, world.now))
          end, { paths = 2 })
        end
        transfer_through(function(world)
          assert(world[1]:drop(1, "enough", at_once, world.now))
          world:path()
        end)
      end
    end)

    it("is none: readers and writers wait, without a timer", function()
      local world <close> = courses.world()
      world:run(nil, 1)
      world:cut(world.paths[1])
      world[1]:write "kept"
      world:run(nil, 3600)
      assert.equal("open", world[1]:info().state)
      assert.equal(math.huge, world[1]:due())
      assert.equal("up down lost", (world:events(1)))
      world:path()
      world:run(nil, 1)
      assert.equal("kept", (world:read(2)))
      assert.equal("up moved", (world:events(1)))
    end)

    it("is only the responder's: it goes on by another, and the initiator notices its own", function()
      local world <close> = courses.world { paths = 2 }
      world:run(nil, 1)
      world.paths[1].silent = true
      world[2]:fail(1, "the address has gone", world.now)
      world[2]:write "by the other path"
      assert.is_true(world:run(function() return world[1]:info().path == 2 end, 1.3))
      assert.equal("by the other path", (world:read(1)))
    end)
  end)

  describe("does not believe", function()
    local HELLO = hello(1, 0, 1 << 20)
    local PROTOCOL = {
      ["another version"] = { "ended", "the peer speaks another version of sessions", hello(1, 0, 9, 2) },
      ["a peer with the same part"] =
        { "ended", "both sides take the same part in the session", hello(1, 0, 9, 1, 1) },
      ["a path without HELLO"] = { "down lost", "no HELLO", start(0) },
      ["data without HELLO"] = { "down lost", "no HELLO", data(0, "x") },
      ["a second HELLO"] = { "up down lost", "a second HELLO", HELLO .. HELLO },
      ["what is no frame"] = { "down lost", "bytes that are no frame", "GET / HTTP/1.1\r\n" },
      ["a frame that is too long"] =
        { "up down lost", "bytes that are no frame", HELLO .. "\2\0\xff\xff" .. ("x"):rep(20) },
      ["a frame that is too short"] = { "up down lost", "bytes that are no frame", HELLO .. "\3\0\0\4abcd" },
      ["flags that no version has"] =
        { "up down lost", "bytes that are no frame", HELLO .. "\3\1\0\8abcdefgh" },
      ["data that nothing begins"] = { "up down lost", "a gap in the data", HELLO .. data(0, "x") },
      ["a gap"] = { "up down lost", "a gap in the data", HELLO .. start(0) .. data(1, "x") },
      ["a step back"] =
        { "up down lost", "a gap in the data", HELLO .. start(0) .. data(0, "xx") .. data(1, "x") },
      ["data after the end of a path's"] =
        { "up down lost", "a gap in the data", HELLO .. start(0) .. data(0, "x", 2) .. data(2, "x") },
      ["a marker that is elsewhere"] =
        { "up down lost", "a marker that is not at the end of the data", HELLO .. start(0) .. data(0, "x")
          .. frame(4, 0, string.pack(">I8", 7)) },
      ["an acknowledgement of what was never sent"] =
        { "up ended", "the peer has acknowledged what was never sent", HELLO .. ack(1) },
      ["a HELLO that has what was never sent"] =
        { "ended", "the peer has acknowledged what was never sent", hello(1, 5, 9) },
      ["a choice that is ours"] = { "up down lost", "a choice that is ours", HELLO .. frame(7, 0, "") },
      ["an end before its time"] =
        { "up ended", "the peer has ended what was not at its end", HELLO .. frame(11, 0, ("\0"):rep(8)) },
      ["data after the end"] =
        { "up ended", "data after the end", HELLO .. start(0) .. data(0, "x", 2) .. start(0)
          .. data(0, "xyz") },
    }
    for what, case in pairs(PROTOCOL) do
      it(what, function()
        local types, reason = fate(case[3])
        assert.same({ case[1], case[2] }, { types, reason })
      end)
    end

    it("a window that was not given", function()
      local side <close> = alone { keep_max = 65536 }
      side:feed(HELLO, start(0))
      for i = 0, 4 do side:feed(data(i * 16000, ("x"):rep(16000))) end
      assert.equal("the peer has sent more than it may", select(2, side:events()).ended)
      assert.is_true(side.machine:info().unread <= 65536)
    end)

    it("a peer that will not send what is missing", function()
      local side <close> = alone()
      side:feed(HELLO)
      for _ = 1, 20 do
        side:feed(start(100), data(100, "x"))
        side.machine:poll(1, side.now)
      end
      assert.equal("the peer does not send what is missing", select(2, side:events()).ended)
    end)

    it("but skips what later versions may add", function()
      local side <close> = alone()
      side:feed(HELLO, frame(200, 255, ("x"):rep(5000)), start(0), data(0, "read on"))
      assert.equal("read on", side.machine:read())
    end)

    it("and reads frames that come byte by byte", function()
      local side <close> = alone()
      local bytes = HELLO .. start(0) .. data(0, "slowly") .. data(6, "", 2)
      for byte in bytes:gmatch "." do side:feed(byte) end
      assert.equal("slowly", side.machine:read())
      assert.equal(0, select("#", side.machine:read()))
    end)

    it("and shows a peer's reason without its control characters", function()
      local types, reason = fate(HELLO, frame(12, 0, "\0\104a\27[2Jb"))
      assert.same({ "up ended", "the peer has ended the session: a?[2Jb" }, { types, reason })
    end)
  end)

  describe("ends", function()
    local STATES = {
      ["at once"] = function() end,
      ["open"] = function(world) world:run(nil, 1) end,
      ["with data on its way"] = function(world)
        world:run(nil, 1)
        world[1]:write(sessions.noise(100000))
        world[2]:write(sessions.noise(100000))
        world:flush()
      end,
      ["half-closed"] = function(world)
        world:run(nil, 1)
        world[1]:shutdown(world.now)
        world:run(nil, 1)
      end,
      ["half-closed by the peer"] = function(world)
        world:run(nil, 1)
        world[2]:shutdown(world.now)
        world:run(nil, 1)
      end,
      ["in a change"] = function(world)
        world:path()
        world:run(nil, 1)
        world[1]:write(sessions.noise(100000))
        world:flush()
        world[1]:switch(2, world.now)
        world:flush()
      end,
      ["without a path"] = function(world)
        world:run(nil, 1)
        world:cut(world.paths[1])
        world:path()
      end,
      ["closing"] = function(world)
        world:run(nil, 1)
        world[1]:leave(world.now)
        world:flush()
      end,
    }
    for state, prepare in pairs(STATES) do
      it("in good order, " .. state, function()
        local world <close> = courses.world()
        prepare(world)
        world[1]:leave(world.now)
        assert.is_true(world:run(function()
          if select(2, world:read(2)) then world[2]:leave(world.now) end
          return world[1]:info().state == "ended" and world[2]:info().state == "ended"
        end, 10))
        assert.equal("EPIPE", select(3, world[1]:write "x"))
      end)

      it("by force, " .. state, function()
        local world <close> = courses.world()
        prepare(world)
        world[1]:abort "enough"
        local _, _, message, code = world:read(1)
        if state ~= "half-closed by the peer" then
          assert.same({ "read: enough", "ECONNABORTED" }, { message, code })
        end
        assert.is_true(world:run(function() return world[2]:info().state == "failed" end, 10) or
          state == "without a path")
        if state ~= "without a path" then
          assert.equal("the peer has ended the session: enough", world[2]:info().reason)
        end
        assert.is_nil(world[1]:attach(world.now))
      end)
    end

    it("when the last path breaks and nobody can bring another", function()
      local world <close> = courses.world()
      world:run(nil, 1)
      world[1]:abandon()
      assert.equal("open", world[1]:info().state)
      world:cut(world.paths[1])
      assert.same({ "failed", "cut" }, { world[1]:info().state, world[1]:info().reason })
    end)

    it("for a closed side, although the peer does not end its half", function()
      local world <close> = courses.world()
      world:run(nil, 1)
      world[1]:write "all of it"
      world[1]:leave(world.now)
      assert.is_true(world:run(function() return world[1]:info().state == "ended" end, 10.2))
      world:run(nil, 1)
      assert.equal("all of it", (world:read(2)))
      assert.equal("the peer has ended the session: it was closed", world[2]:info().reason)
    end)

    it("for both, although the path breaks at the last moment", function()
      for tenths = 0, 60 do
        local world <close> = courses.world()
        world:run(nil, 1)
        world[1]:shutdown(world.now)
        world[2]:shutdown(world.now)
        world:run(nil, tenths / 1000)
        world:cut(world.paths[1])
        if world[1]:info().state ~= "ended" and world[2]:info().state ~= "ended" then world:path() end
        world:run(nil, 1)
        for side = 1, 2 do
          if world[side]:info().state == "closing" then world[side]:abort "the peer has lost the session" end
          assert.equal("ended", world[side]:info().state)
        end
      end
    end)
  end)
end)
