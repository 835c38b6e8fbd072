local core = require "p2pd.core"
local helper = require "spec.helper"
local sessions = require "spec.sessions"

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
    local data = sessions.noise(8000000)
    local writer <close> = core.task.spawn(function()
      for at = 1, #data, 50000 do
        assert(pair.near:write(data:sub(at, at + 49999)))
        if at == 2000001 then trouble() end
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
end)
