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

  local function check_over(stream, pattern, expected)
    local data, message, code = stream:read "l"
    assert.is_nil(data)
    assert.matches(pattern, message)
    assert.equal(expected, code)
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
    check_over(near, "^read: the relay is gone$", "EPIPE")
    assert(far:write "is anybody there?")
    check_over(far, "^read: the peer vanished: silent for 1 s$", "ETIMEDOUT")
    near:close()
    far:close()
  end))

  it("notices that the peer has vanished though nobody writes", helper.task(function()
    local allocations <close>, near, far = streams()
    near:setsilence(2)
    allocations[2].way:close "cut off"
    check_over(near, "^read: the peer vanished: silent for ", "ETIMEDOUT")
    near:close()
    far:close()
  end))

  it("ends when the server dies", helper.task(function()
    local mortal = helper.coturn()
    local _ <close>, near, far = streams(SILENCE_S, mortal)
    mortal:signal "KILL"
    assert(near:write "is anybody there?")
    check_over(near, "^read: the peer vanished: silent for 1 s$", "ETIMEDOUT")
    near:close()
    far:close()
  end))
end)
