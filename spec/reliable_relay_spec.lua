local core = require "p2pd.core"
local helper = require "spec.helper"
local lossy = require "spec.lossy"
local relayed = require "spec.relayed"
local task = require "p2pd.task"

local SILENCE_S = 1

describe("a reliable link through a TURN server", function()
  local server

  setup(function() server = helper.coturn() end)
  teardown(helper.close_all)

  local function streams(silence, other)
    local held, near, far = relayed.carriers(other or server)
    local function make(role, carrier)
      return core.reliable.new { id = "relayed", role = role, carrier = carrier, silence = silence }
    end
    local a, b = make("dialer", near), make("answerer", far)
    assert(a:open(5))
    assert(b:open(5))
    return held, a:stream(), b:stream()
  end

  it("carries both ways at once, and gives the allocations back", helper.task(function()
    local allocations <close>, near, far = streams()
    local there, back = lossy.noise(5000000, 1), lossy.noise(3000000, 2)
    local ways = task.group()
    local _ <close> = ways
    for stream, data in pairs { [near] = there, [far] = back } do
      ways:spawn(function()
        assert(stream:write(data))
        assert(stream:shutdown())
      end)
    end
    local reading = task.spawn(function() return near:read "a" end)
    assert.is_true(assert(far:read "a") == there)
    assert.is_true(assert(reading:join(10)) == back)
    near:close()
    far:close()
    assert.is_true(allocations[1].way:idle(5))
    assert.is_true(allocations[2].way:idle(5))
  end))

  it("ends with the reason when the way to the server is closed", helper.task(function()
    local allocations <close>, near, far = streams(SILENCE_S)
    allocations[1].way:close "the relay is gone"
    local data, message, code = near:read "l"
    assert.is_nil(data)
    assert.equal("read: the relay is gone", message)
    assert.equal("EPIPE", code)
    assert(far:write "is anybody there?")
    data, message, code = far:read "l"
    assert.is_nil(data)
    assert.equal("read: the peer vanished: silent for 1 s", message)
    assert.equal("ETIMEDOUT", code)
    near:close()
    far:close()
  end))

  it("notices that the peer has vanished though nobody writes", helper.task(function()
    local allocations <close>, near, far = streams()
    near:setsilence(2)
    allocations[2].way:close "cut off"
    local data, message, code = near:read "l"
    assert.is_nil(data)
    assert.matches("^read: the peer vanished: silent for ", message)
    assert.equal("ETIMEDOUT", code)
    near:close()
    far:close()
  end))

  it("ends when the server dies", helper.task(function()
    local mortal = helper.coturn()
    local _ <close>, near, far = streams(SILENCE_S, mortal)
    mortal:signal "KILL"
    assert(near:write "is anybody there?")
    local data, message, code = near:read "l"
    assert.is_nil(data)
    assert.equal("read: the peer vanished: silent for 1 s", message)
    assert.equal("ETIMEDOUT", code)
    near:close()
    far:close()
  end))
end)
