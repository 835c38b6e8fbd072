-- The machine of a session: it moves between paths, and they break, fall silent or come back.
local courses = require "spec.courses"
local sessions = require "spec.sessions"

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

describe("a session", function()
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
      assert.is_true(world:run(courses.both_ended))
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
end)
