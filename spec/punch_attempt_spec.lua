local attempt = require "p2pd.punch.attempt"
local core = require "p2pd.core"
local helper = require "spec.helper"
local p2pd = require "p2pd"
local task = helper.task

local HERE = { ["127.0.0.1"] = true }

-- Two sides' plans, each of which aims its ports at the other's. On loopback two SYNs hardly ever meet on
-- their way, so the first side listens, and fires itself when it is too late.
local function plans(n, options)
  local sides = { { mappings = {} }, { mappings = {} } }
  for _ = 1, n do
    local a, b = helper.ports(2)
    table.insert(sides[1].mappings, { ip = "127.0.0.1", port = a, remote_ip = "127.0.0.1", remote_port = b })
    table.insert(sides[2].mappings, { ip = "127.0.0.1", port = b, remote_ip = "127.0.0.1", remote_port = a })
  end
  local now = core.clock.monotonic()
  for i, side in ipairs(sides) do
    local fires = { { at = now + 0.02, deadline = now + (options.lasts or 2), gap = 0.001,
      mappings = side.mappings } }
    sides[i] = {
      fires = fires, waves = 1, fire = function(wave) return fires[wave] end, deadline = fires[1].deadline,
      ip = "127.0.0.1", listen = {}, peers = HERE,
    }
  end
  for i, mapping in ipairs(sides[1].fires[1].mappings) do sides[1].listen[i] = mapping.port end
  sides[1].fires[1].at = sides[1].deadline - 0.1
  return sides[1], sides[2]
end

local function speak(stream)
  stream:settimeout(2)
  assert(stream:write "hello\n")
  local answer, reason, code = stream:read "l"
  if answer ~= "you" then
    stream:close()
    return nil, reason or "a wrong answer", code or "EPROTO"
  end
  return stream
end

local function answer(stream)
  stream:settimeout(2)
  if stream:read "l" ~= "hello" then
    stream:close()
    return nil, "not chosen", "ECANCELED"
  end
  assert(stream:write "you\n")
  return stream
end

-- Each task that is spawned runs in the scheduler's next turn.
local function cancel_after(turns, what)
  if turns == 0 then return what:cancel() end
  p2pd.spawn(cancel_after, turns - 1, what)
end

describe("p2pd.punch.attempt", function()
  it("gives both sides the ends of one connection of several", task(function()
    local a, b = plans(4, {})
    a.verify, a.choose, b.verify = speak, true, answer
    local x, y = p2pd.all(function() return attempt.open(a) end, function() return attempt.open(b) end)
    assert(assert(x):write "more\n")
    assert.equal("more", assert(y):read "l")
    x:close()
    y:close()
  end))

  it("takes nobody from elsewhere", task(function()
    local a = plans(1, { lasts = 0.3 })
    a.verify, a.peers = answer, { ["192.0.2.1"] = true }
    local guest = p2pd.spawn(function()
      return core.tcp.connect("127.0.0.1", a.listen[1], { ip = "127.0.0.1" })
    end)
    assert.is_nil((attempt.open(a)))
    local stream = guest:join(1)
    if stream then stream:close() end
  end))

  it("leaves no stream open when it is cancelled in the moment in which one is verified", task(function()
    collectgarbage "stop"
    local _ <close> = setmetatable({}, { __close = function() collectgarbage "restart" end })
    for turns = 1, 6 do
      local a = plans(1, { lasts = 2 })
      local opener
      a.verify = function(stream)
        cancel_after(turns, opener)
        return stream
      end
      opener = p2pd.spawn(function() local _ <close> = attempt.open(a) end)
      p2pd.sleep(0)
      local guest <close> = assert(core.tcp.connect("127.0.0.1", a.listen[1], { ip = "127.0.0.1" }))
      guest:settimeout(2)
      assert.same({}, { guest:read "l" })
    end
  end))

  it("says what it met when nobody comes", task(function()
    local a = plans(2, { lasts = 0.5 })
    a.listen, a.verify = {}, speak
    local stream, reason, code = attempt.open(a)
    assert.is_nil(stream)
    assert.matches("^punch: no connection", reason)
    assert.equal("ECONNREFUSED", code)
  end))

  it("says why the streams that came were none", task(function()
    local a, b = plans(1, { lasts = 0.5 })
    a.verify = function(stream) stream:close() return nil, "a stranger", "EPROTO" end
    b.verify = function(stream) stream:close() return nil, "gone", "ECANCELED" end
    local other <close> = p2pd.spawn(attempt.open, b)
    local stream, reason = attempt.open(a)
    assert.is_nil(stream)
    assert.equal("a stranger", reason)
    assert.same({ n = 3, nil, "gone", "ECANCELED" }, table.pack(other:join(2)))
  end))

  it("tries the next stream when the first does not get on", task(function()
    local a, b = plans(3, {})
    local first = true
    a.choose = true
    a.verify = function(stream)
      if not first then return speak(stream) end
      first = false
      p2pd.sleep(10)
    end
    b.verify = answer
    local x, y = p2pd.all(function() return attempt.open(a) end, function() return attempt.open(b) end)
    x:close()
    y:close()
  end))

  it("fires the next wave as soon as one has missed", task(function()
    local a, b = plans(2, {})
    local hit = b.fires[1]
    local dead = { ip = "127.0.0.1", port = 0, remote_ip = "127.0.0.1", remote_port = helper.free_port() }
    local missed = { at = hit.at, deadline = hit.at + 0.1, gap = 10, mappings = { dead } }
    b.fires[1], b.fires[2], b.waves = missed, hit, 2
    hit.at = missed.deadline
    a.verify, b.verify, b.choose = answer, speak, true
    local x, y = p2pd.all(function() return attempt.open(a) end, function() return attempt.open(b) end)
    assert.is_true(core.clock.monotonic() >= missed.deadline)
    assert(x, y)
    x:close()
    y:close()
  end))

  it("leaves out a wave whose time is over", task(function()
    local a, b = plans(2, {})
    local hit = b.fires[1]
    b.fires[1], b.fires[2], b.waves = { at = 0, deadline = 0, gap = 10, mappings = hit.mappings }, hit, 2
    a.verify, b.verify, b.choose = answer, speak, true
    local x, y = p2pd.all(function() return attempt.open(a) end, function() return attempt.open(b) end)
    assert(x, y)
    x:close()
    y:close()
  end))

  it("ends after the last wave, where nobody can come any more", task(function()
    local a = plans(1, {})
    local wave = a.fires[1]
    wave.at, wave.deadline = 0, core.clock.monotonic() + 0.05
    a.listen, a.verify, a.deadline = {}, speak, wave.deadline + 3600
    assert.is_nil((attempt.open(a)))
  end))

  it("fails when a port is taken", task(function()
    local a = plans(1, {})
    a.verify = speak
    local taken <close> = assert(core.tcp.listen { ip = "127.0.0.1", port = a.fires[1].mappings[1].port })
    local stream, _, code = attempt.open(a)
    assert.is_nil(stream)
    assert.equal("EADDRINUSE", code)
    a.listen = {}
    assert.equal("EADDRINUSE", select(3, attempt.open(a)))
    assert(taken)
  end))

  it("leaves nothing when it is cancelled", task(function()
    for _, pause in ipairs { 0, 0.01, 0.04 } do
      local a, b = plans(2, {})
      a.verify, b.verify = speak, function() p2pd.sleep(10) end
      local one, other = p2pd.spawn(attempt.open, a), p2pd.spawn(attempt.open, b)
      p2pd.sleep(pause)
      one:cancel()
      other:cancel()
    end
  end))
end)
