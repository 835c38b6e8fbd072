-- The machine of a session: what it carries on a path, and how it ends. Between paths it is in
-- spec/session_machine_paths_spec.lua, against a hostile peer in spec/session_machine_frames_spec.lua.
local courses = require "spec.courses"
local history = require "spec.session_history"
local session_peer = require "spec.session_peer"
local sessions = require "spec.sessions"

local HISTORIES = tonumber(os.getenv "P2PD_SESSION_HISTORIES") or 1000

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
      assert.is_true(world:run(courses.both_ended, 1))
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
      local side <close> = session_peer.new { keep_max = 1 << 20 }
      side:feed(session_peer.hello(1, 0, 1 << 40))
      while side.machine:poll(1, side.now) do end
      local taken = side.machine:write(("x"):rep(200000))
      assert.is_true(taken >= 65536 and taken <= 65536 + 16384)
      assert.equal(0, side.machine:write "x")
      while side.machine:poll(1, side.now) do end
      assert.equal(1, side.machine:write "x")
    end)

    it("says of what it gives whether more follows at once", function()
      local side <close> = session_peer.new()
      side:feed(session_peer.hello(1, 0, 1 << 40))
      while side.machine:poll(1, side.now) do end
      side.machine:write(("x"):rep(2 * 16372 + 1))
      local sizes, follows = {}, {}
      for bytes, more in function() return side.machine:poll(1, side.now) end do
        sizes[#sizes + 1], follows[#follows + 1] = #bytes, more
      end
      assert.same({ 16384, 16384, 13 }, sizes)
      assert.same({ true, true, false }, follows)
    end)

    it("asks to be acknowledged after 128 KiB at most", function()
      local ASK <const> = 1
      local side <close> = session_peer.new { keep_max = 1 << 24 }
      side:feed(session_peer.hello(1, 0, 1 << 40))
      local unasked, asked = 0, 0
      for at = 65536, 16 << 20, 65536 do
        assert.equal(65536, side.machine:write(("x"):rep(65536)))
        for bytes in function() return side.machine:poll(1, side.now) end do
          unasked = bytes:byte(1) == 2 and unasked + #bytes or unasked
          if bytes:byte(1) == 2 and bytes:byte(2) & ASK ~= 0 then unasked, asked = 0, asked + 1 end
          assert.is_true(unasked <= 128 * 1024 + 16384)
        end
        side:feed(session_peer.ack(at, 1 << 40))
      end
      assert.is_true(asked >= 128 and asked <= 256, ("asked %d times"):format(asked))
    end)

    it("bounds what it keeps for a peer that never acknowledges", function()
      local side <close> = session_peer.new { keep_max = 1 << 20 }
      side:feed(session_peer.hello(1, 0, 1 << 40))
      local taken = 0
      for _ = 1, 100 do
        taken = taken + side.machine:write(("x"):rep(65536))
        while side.machine:poll(1, side.now) do end
      end
      assert.is_true(taken <= 256 * 1024 and side.machine:info().kept <= 300000)
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
