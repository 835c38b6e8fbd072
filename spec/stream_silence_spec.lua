-- Peers that vanish are tried in the lab (spec/lab/vanish_spec.lua): here those that are there.
local core = require "p2pd.core"
local helper = require "spec.helper"
local streams = require "spec.streams"
local in_task = helper.task

local SILENCE_S = 1

describe("p2pd.core.stream setsilence()", function()
  it("leaves a connection on which nothing happens", in_task(function()
    local _ <close>, near, far = streams.pair()
    near:setsilence(SILENCE_S)
    core.task.sleep(3 * SILENCE_S)
    far:write "x\n"
    assert.equal("x", near:read "l")
  end))

  it("leaves a peer that is there and reads nothing", in_task(function()
    local _ <close>, near, far = streams.pair()
    near:setsilence(SILENCE_S)
    local count = 16 * 1024 * 1024
    local writing <close> = core.task.spawn(function() return near:write(("x"):rep(count)) end)
    local _, _, code = writing:join(4 * SILENCE_S)
    assert.equal("ETIMEDOUT", code)
    assert.equal(count, #far:read(count))
    assert.is_not_nil(writing:join(10))
  end))

  it("does nothing to what is no connection", in_task(function()
    local stream <close> = assert(core.stream.fd(0, false))
    stream:setsilence(SILENCE_S)
  end))

  it("wants a second or more", in_task(function()
    local _ <close>, near = streams.pair()
    for _, seconds in ipairs { 0, 0.5, -1, math.huge, 0 / 0 } do
      assert.error_matches(function() near:setsilence(seconds) end, "seconds, 1 or more, expected")
    end
    near:close()
    near:setsilence(SILENCE_S)
  end))
end)
