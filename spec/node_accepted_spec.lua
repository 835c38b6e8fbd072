local helper = require "spec.helper"
local accepted = require "p2pd.node.accepted"

local task = helper.task

local function nothing() return { close = function() end } end

local function pipe_of(protocol)
  local pipe = { protocol = protocol }
  function pipe:close() self.closed = true end
  return pipe
end

describe("p2pd.node.accepted", function()
  it("keeps the pipes of each protocol apart", task(function()
    local queue = accepted.new { "chat/1" }
    local talk, plain = pipe_of "chat/1", pipe_of(nil)
    queue:add(talk, nothing())
    queue:add(plain, nothing())
    assert.equal(2, queue:count())
    assert.equal(plain, (queue:take(nil, 0)))
    assert.equal(talk, (queue:take("chat/1", 0)))
    assert.equal(0, queue:count())
  end))

  it("speaks what it was told, and what somebody waits for", task(function()
    local queue = accepted.new { "chat/1" }
    assert.same({ true, true, false },
      { queue:speaks "chat/1", queue:speaks(nil), queue:speaks "files/1" })
    assert.equal("ETIMEDOUT", select(3, queue:take("files/1", 0)))
    assert.is_true(queue:speaks "files/1")
  end))

  it("closes what nobody takes, and gives its place back", task(function()
    local queue, pipe, place = accepted.new(), pipe_of(nil), nothing()
    function place:close() self.closed = true end
    queue:add(pipe, place)
    queue:close()
    assert.same({ true, true, 0 }, { pipe.closed, place.closed, queue:count() })
    assert.equal("EBADF", select(3, queue:take()))
  end))

  it("knows what a protocol's name is", function()
    for _, name in ipairs { "chat/1", "a", "x.y_z-1+2", ("x"):rep(64) } do
      assert.is_true(accepted.is_protocol(name), name)
    end
    for _, name in ipairs { "", "a b", "a\n", "ä", ("x"):rep(65), 7, false } do
      assert.is_false(accepted.is_protocol(name))
    end
  end)
end)
