local helper = require "spec.helper"
local loopback = require "spec.loopback"
local p2pd = require "p2pd"
local partner = require "p2pd.transfer.partner"
local task = helper.task

describe("p2pd.transfer.partner", function()
  local world = loopback.new(setup, teardown)

  local function start(allowed)
    return world:start_in_background { protocols = { partner.PROTOCOL },
      allow = function(id) return allowed[id] or false end }
  end

  -- Who waits, and what he says is to be typed.
  local function waiting(node, allowed, more)
    local said = p2pd.condition()
    local self = { node = node, allowed = allowed, command = "type %s", retry = 5, said = said }
    function self.say(line)
      self.typed = line:match "type (.*)$" or self.typed
      said:broadcast()
    end
    for name, value in pairs(more or {}) do self[name] = value end
    return partner.new(self), self
  end

  local function typed(self)
    helper.wait_until(function() return self.typed end)
    return self.typed
  end

  local function connect(one, other)
    local first <close> = p2pd.spawn(one.pipe, one)
    local pipe = assert(other:pipe())
    return assert(first:join(10)), pipe
  end

  it("is found by a code, and again without one when the pipe has broken", task(function()
    local allowed = {}
    local near <close> = start(allowed)
    local far <close> = start {}
    local host, about = waiting(near, allowed)
    assert.is_false(host:was_there())
    local first <close> = p2pd.spawn(host.pipe, host)
    local guest = partner.new { node = far, peer = typed(about), retry = 5, say = function() end }
    local there = assert(guest:pipe())
    local here = assert(first:join(10))
    assert.equal(far.id, here.peer)
    assert.same({ true, true }, { host:was_there(), guest:was_there() })
    for _, pipe in ipairs { here, there } do pipe:close() end
    local again_here, again_there = connect(host, guest)
    assert.equal("files/1", again_here.protocol)
    assert.equal(near.id, again_there.peer)
    for _, pipe in ipairs { again_here, again_there } do pipe:close() end
  end, 40))

  it("is found by an address, to whom it is allowed", task(function()
    local far <close> = start {}
    local near <close> = start { [far.id] = true }
    local host, about = waiting(near, {}, { waits = true })
    local first <close> = p2pd.spawn(host.pipe, host)
    local there <close> = assert(partner.new { node = far, peer = typed(about), retry = 0 }:pipe())
    local here <close> = assert(first:join(10))
    assert.same({ near.id, far.id }, { there.peer, here.peer })
  end))

  it("is looked for again for so long, and no longer", task(function()
    local far <close> = start {}
    local nobody = "0-[0,127.0.0.1,127.0.0.1," .. helper.free_port() .. ",1,1,0]-0-" .. far.id
    local lost = partner.new { node = far, peer = nobody, address = nobody, retry = 0.05,
      say = function() end }
    local pipe, reason = lost:pipe()
    assert.is_nil(pipe)
    assert.is_string(reason)
    assert.is_true(lost:may_return())
    lost.retry = 0
    assert.is_false(lost:may_return())
    assert.is_true(waiting(far, {}):may_return())
  end))

  it("is a code or an address, and knows which failures are final", function()
    assert.is_true(partner.is_partner("4-amber-canoe-violin", world.settings))
    assert.is_true(partner.is_partner("586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HR5", world.settings))
    assert.is_false(partner.is_partner("photos", world.settings))
    assert.is_true(partner.is_final "ENOSPC")
    assert.is_false(partner.is_final "ECONNRESET")
    assert.is_false(partner.is_final(nil))
  end)
end)
