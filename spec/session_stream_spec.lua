local core = require "p2pd.core"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local sessions = require "spec.sessions"

local streams = require "spec.streams"
local task = require "p2pd.task"

local in_task = helper.task

describe("p2pd.core.session", function()
  describe("new()", function()
    it("refuses options that make no sense", function()
      assert.has_error(function() core.session.new { keep_max = 1000 } end,
        "option 'keep_max': 65536 to 1073741824 bytes expected")
      assert.has_error(function() core.session.new { silence = 0 } end, "option 'silence': seconds expected")
      assert.has_error(function() core.session.new() end)
    end)
  end)

  it("carries a stream over one path, both ways, and ends as it should", in_task(function()
    local pair <close> = sessions.pair()
    pair.near:write("hello\n")
    assert.equal("hello", pair.far:read())
    pair.far:write(("x"):rep(3000000))
    pair.far:shutdown()
    assert.equal(3000000, #pair.near:read "a")
    pair.near:shutdown()
    assert.equal("", pair.far:read "a")
    assert.equal("up", pair.a:event(5).type)
    local ended = pair.a:event(5)
    assert.equal("ended", ended.type)
    assert.is_nil(ended.code)
    assert.same({ nil, "session: it has ended", "EPIPE", n = 3 }, table.pack(pair.a:event(0)))
  end))

  -- What b reads until the end is what is written to a, while `trouble` happens in the middle.
  local function carry(pair, trouble)
    local data = sessions.noise(3000000)
    local writer <close> = core.task.spawn(function()
      for at = 1, #data, 50000 do
        assert(pair.near:write(data:sub(at, at + 49999)))
        if at == 1000001 then trouble() end
      end
      pair.near:shutdown()
    end)
    assert.is_true(pair.far:read "a" == data, "what came is not what was sent")
    writer:join()
  end

  it("goes on by another path, and nothing is sent twice", in_task(function()
    local pair <close> = sessions.pair(nil, 2)
    sessions.expect(pair.a, "up", "up")
    carry(pair, function() assert(pair.a:switch(2)) end)
    local moved = sessions.expect(pair.a, "moved")
    assert.same({ 2, 1, 0 }, { moved.path, moved.from, moved.pause })
    sessions.expect(pair.b, "up", "up")
    assert.equal(2, sessions.expect(pair.b, "moved").path)
    assert.equal(0, pair.a:info().again)
    assert.equal(2, pair.a:info().path)
  end))

  it("goes on by the next path when one breaks", in_task(function()
    local pair <close> = sessions.pair()
    local link = pair.links[1]
    carry(pair, function()
      link:cut()
      pair:attach()
    end)
    sessions.expect(pair.a, "up", "down", "lost", "up")
    assert.is_true(sessions.expect(pair.a, "moved").pause >= 0)
    assert.equal(1, pair.a:info().resumed)
  end))

  it("goes on by a spare path at once when one breaks", in_task(function()
    local pair <close> = sessions.pair(nil, 2)
    sessions.expect(pair.a, "up", "up")
    carry(pair, function() pair.links[1]:cut() end)
    sessions.expect(pair.a, "down", "moved")
  end))

  it("drops a path after another has taken over", in_task(function()
    local pair <close> = sessions.pair(nil, 2)
    sessions.expect(pair.a, "up", "up")
    carry(pair, function() assert(pair.a:drop(1, "it costs too much")) end)
    sessions.expect(pair.a, "moved", "down")
    sessions.expect(pair.b, "up", "up", "moved")
    assert.equal("the peer has ended the path: it costs too much", sessions.expect(pair.b, "down").reason)
    assert.equal(0, pair.a:info().again)
  end))

  local function silence(link)
    link.filter = function() return "" end
  end

  it("probes a silent path, and goes on by the next one", in_task(function()
    local pair <close> = sessions.pair(nil, 2)
    sessions.expect(pair.a, "up", "up")
    silence(pair.links[1])
    carry(pair, function() end)
    local down = sessions.expect(pair.a, "down")
    assert.equal("ETIMEDOUT", down.code)
    assert.truthy(down.reason:find "^the peer has not answered for %d+%.%d s$")
    assert.equal(2, sessions.expect(pair.a, "moved").path)
  end))

  it("probes at once when there is reason to doubt", in_task(function()
    local pair <close> = sessions.pair(nil, 2)
    sessions.expect(pair.a, "up", "up")
    silence(pair.links[1])
    pair.a:doubt()
    assert.equal(1, sessions.expect(pair.a, "down").path)
    sessions.expect(pair.a, "moved")
  end))

  it("keeps a path that answers, however much it is doubted", in_task(function()
    local pair <close> = sessions.pair()
    sessions.expect(pair.a, "up")
    carry(pair, function()
      for _ = 1, 100 do pair.a:doubt() end
    end)
    assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(pair.a:event(1.2)))
  end))

  describe("attach()", function()
    it("takes over what TLS is spoken on, and what was read too early", in_task(function()
      local _ <close>, near, far = streams.pair()
      nodes.encrypt(near, nodes.new(), far, nodes.new())
      local a <close> = core.session.new { initiator = true }
      local b <close> = core.session.new {}
      near:write "go\n"
      assert(a:attach(near))
      assert.equal("go", far:read()) -- and perhaps more than that
      assert(b:attach(far))
      local up <close> = assert(a:stream())
      local down <close> = assert(b:stream())
      up:write "over TLS\n"
      assert.equal("over TLS", down:read())
      assert.equal("TLSv1.3", up:stats().tls.protocol)
    end))

    it("fails and leaves the stream as it is", in_task(function()
      local pair <close> = sessions.pair()
      local _ <close>, near, far = streams.pair()
      streams.stuff(near)
      assert.equal("EBUSY", select(3, pair.a:attach(near)))
      assert.truthy(near:stats())
      far:shutdown()
      near:abort()
      assert.has_error(function() pair.a:attach(near) end)
    end))

    it("takes no more than sixteen", in_task(function()
      local pair <close> = sessions.pair(nil, 16)
      local _ <close>, near = streams.pair()
      assert.equal("EMFILE", select(3, pair.a:attach(near)))
    end))

    it("says why the session is over", in_task(function()
      local pair <close> = sessions.pair()
      local _ <close>, near = streams.pair()
      pair.a:abort "enough"
      assert.same({ nil, "session: enough", "ECONNABORTED" }, { pair.a:attach(near) })
    end))
  end)

  it("chooses on one side only, among paths that live", in_task(function()
    local pair <close> = sessions.pair()
    assert.same({ nil, "switch: the side that began the session chooses", "EPERM" }, { pair.b:switch(1) })
    assert.same({ nil, "switch: there is no such path any more", "ENOENT" }, { pair.a:switch(9) })
    assert.same({ nil, "drop: there is no such path any more", "ENOENT" }, { pair.a:drop(9) })
    assert.has_error(function() pair.a:switch(0) end)
  end))

  it("gives its stream away once, and tells of itself", in_task(function()
    local pair <close> = sessions.pair()
    assert.equal("EBUSY", select(3, pair.a:stream()))
    sessions.expect(pair.a, "up")
    local info = pair.a:info()
    assert.same({ "open", 1, 1, 0 }, { info.state, info.path, info.paths, info.resumed })
    assert.same(info.path, pair.near:stats().session.path)
    assert.truthy(tostring(pair.a):find "^session %(open%): ")
  end))

  it("keeps the last 64 events", in_task(function()
    local pair <close> = sessions.pair()
    for i = 2, 80 do
      pair:attach()
      pair.a:drop(i, "one of many", true)
    end
    local count = 0
    while pair.a:event(0) do count = count + 1 end
    assert.equal(64, count)
  end))

  describe("ends", function()
    it("when all is delivered, by close(), and both know", in_task(function()
      local pair <close> = sessions.pair()
      local data = sessions.noise(200000)
      sessions.expect(pair.a, "up")
      local reader <close> = task.spawn(function()
        local text = pair.far:read "a"
        pair.far:close()
        return text
      end)
      pair.near:write(data)
      pair.a:close()
      pair.a:close()
      assert.same({ nil, "write: the session was closed", "EPIPE" }, { pair.near:write "more" })
      assert.is_true(reader:join() == data)
      assert.is_nil(sessions.expect(pair.a, "ended").code)
      assert.is_nil(sessions.expect(pair.b, "up", "ended").code)
    end))

    it("by close(), though nobody has asked for its stream", in_task(function()
      local a <close>, b = core.session.new { initiator = true }, core.session.new {}
      local _ <close>, near, far = streams.pair()
      a:attach(near)
      b:attach(far)
      a:close()
      b:close()
      sessions.expect(a, "up", "ended")
      sessions.expect(b, "up", "ended")
      assert.equal("EBUSY", select(3, a:stream()))
    end))

    it("in the background when its stream is closed", in_task(function()
      local pair <close> = sessions.pair()
      pair.near:write(sessions.noise(1000000))
      pair.near:close()
      assert.equal(1, core.stream.lingering())
      assert.equal(1000000, #pair.far:read "a")
      pair.far:close()
      sessions.expect(pair.a, "up", "ended")
      sessions.expect(pair.b, "up", "ended")
    end))

    it("at once, with a reason, by abort()", in_task(function()
      local pair <close> = sessions.pair()
      sessions.expect(pair.b, "up")
      pair.a:abort("the user has gone", "ETIMEDOUT")
      assert.same({ nil, "read: the user has gone", "ETIMEDOUT" }, { pair.near:read() })
      assert.same({ nil, "write: the user has gone", "ETIMEDOUT" }, { pair.near:write "x" })
      local ended = sessions.expect(pair.b, "ended")
      assert.same({ "ECONNRESET", "the peer has ended the session: the user has gone" },
        { ended.code, ended.reason })
      assert.equal("ECONNRESET", select(3, pair.far:read()))
    end))

    it("by abort() and close() in every state", in_task(function()
      local states = {
        function() end,
        function(pair) pair:attach() end,
        function(pair)
          pair:attach()
          sessions.expect(pair.a, "up")
        end,
        function(pair)
          pair:attach()
          streams.stuff(pair.near)
        end,
        function(pair)
          pair:attach()
          pair.near:shutdown()
        end,
        function(pair)
          pair:attach()
          pair:attach()
          sessions.expect(pair.a, "up", "up")
          streams.stuff(pair.near)
          pair.a:switch(2)
        end,
        function(pair)
          pair:attach()
          sessions.expect(pair.a, "up")
          pair.links[1]:cut()
          sessions.expect(pair.a, "down", "lost")
        end,
      }
      for _, prepare in ipairs(states) do
        for _, ways in ipairs { { "abort" }, { "close", "abort" }, { "abort", "close" } } do
          local pair <close> = sessions.pair(nil, 0)
          prepare(pair)
          for _, way in ipairs(ways) do pair.a[way](pair.a) end
          local event
          repeat event = assert(pair.a:event(5)) until event.type == "ended"
        end
      end
    end))
  end)

  it("lets go of whoever is cancelled while it waits", in_task(function()
    local pair <close> = sessions.pair(nil, 0)
    local waiting = {
      task.spawn(function() pair.a:event() end),
      task.spawn(function() pair.near:read() end),
      task.spawn(function() pair.near:write(("x"):rep(10000000)) end),
    }
    core.task.sleep(0.01)
    for _, one in ipairs(waiting) do one:cancel() end
    pair:attach()
    sessions.expect(pair.a, "up")
    pair.far:write "still there\n"
    assert.equal("still there", pair.near:read())
  end))

  it("waits for a path, and fails when nobody can bring one", in_task(function()
    local pair = sessions.pair()
    local near, link = pair.near, pair.links[1]
    pair.far:write "last\n"
    assert.equal("last", near:read())
    pair.a = nil
    collectgarbage()
    collectgarbage()
    near:write "goes on\n"
    assert.equal("goes on", pair.far:read())
    link:cut()
    assert.equal("ECONNRESET", select(3, near:read()))
    near:close()
    pair.far:abort()
    pair.b:abort()
  end))

  it("costs little while it is idle", in_task(function()
    local pair <close> = sessions.pair()
    carry(pair, function() end)
    core.task.sleep(0.1)
    assert.equal(0, pair.a:info().kept + pair.b:info().kept)
  end))
end)
