-- A session that ended with a code of a path's, such as EPIPE, raised instead, and its task was lost.
local loopback = require "spec.loopback"

describe("a session", function()
  local world = loopback.new(setup, teardown)

  it("ends whatever code its last path had", world:pair(function(alice, bob)
    local pipe <close> = assert(alice:connect(bob.address))
    local accepted <close> = assert(bob:accept(nil, 5))
    assert.is_not_nil(accepted)
    alice:sessions()[1]:fail("write: Broken pipe", "EPIPE")
    local _, _, code = pipe:read(1)
    assert.equal("EPIPE", code)
  end))
end)
