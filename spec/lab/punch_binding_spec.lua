-- The punch scheduler through two kernel NATs, 20 ms from the internet each.
local agent = require "spec.lab.agent"
local core = require "p2pd.core"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local task = helper.task

local LATENCY_S = 0.01 -- of each line: 20 ms from host to host
local AHEAD_S = 0.1
local FIRST_PORT = 40001
local EXPIRES_BETWEEN = 2 -- a TTL that ends between the two NATs

local START = [[
local plan = ...
state.punch = assert(core.punch.start(plan))
return true]]

-- What became of it: the line that the other side wrote, the statistics.
local FINISH = [[
local stream, place, code = state.punch:wait(10)
local line
if stream then
  stream:settimeout(10)
  assert(stream:write "hello\n")
  line = stream:read "l"
end
local stats = state.punch:stats()
stats.lateness = nil
state.punch:close()
return line or false, stats, code]]

local Pair = { __name = "spec.lab.pair" }
Pair.__index = Pair

local function pair(kind, more)
  local function host()
    local h = { nats = { { type = "port-restricted", unsolicited = kind } }, latency = LATENCY_S }
    for key, value in pairs(more or {}) do h[key] = value end
    return h
  end
  local l = assert(lab.open { hosts = { a = host(), b = host() } })
  return setmetatable({ lab = l, a = agent.start(l, "a"), b = agent.start(l, "b"), port = FIRST_PORT }, Pair)
end

function Pair:__close()
  self.a:close()
  self.b:close()
  self.lab:close()
end

-- Both sides, each time from other ports; `late` and `lasts` are in seconds. nil: that side stays away.
function Pair:punch(a, b, family)
  local l, at = self.lab, core.clock.monotonic() + AHEAD_S
  local function external(name)
    return family and l:address(name, nil, family) or l:external(name)
  end
  local function start(host, peer, port, peer_port, own)
    local mapping = { ip = l:address(host, nil, family), port = port, remote_ip = external(peer),
      remote_port = peer_port, ttl = own.ttl }
    self[host]:call(START, { at = at + (own.late or 0), deadline = at + (own.lasts or 5), gap = 0.005,
      mappings = { mapping } })
  end
  local port_a, port_b = self.port, self.port + 1
  self.port = self.port + 2
  if a then start("a", "b", port_a, port_b, a) end
  if b then start("b", "a", port_b, port_a, b) end
  local finish_a = a and core.task.spawn(self.a.call, self.a, FINISH)
  local finish_b = b and core.task.spawn(self.b.call, self.b, FINISH)
  return a and table.pack(finish_a:join()), b and table.pack(finish_b:join())
end

-- How many SYNs each side has needed.
local function connects(a, b)
  assert.equal("hello", a[1], tostring(a[3]))
  assert.equal("hello", b[1], tostring(b[3]))
  return a[2].fired, b[2].fired
end

local function fails(code, side)
  assert.is_false(side[1])
  assert.equal(code, side[3])
end

labs.describe("p2pd.core.punch between NATs", function()
  it("that drop connects with one SYN a side; without a peer it fails", task(function()
    local p <close> = pair "drop"
    assert.same({ 1, 1 }, { connects(p:punch({}, {})) })
    fails("ETIMEDOUT", (p:punch({ lasts = 0.3 }, nil)))
  end, 40))

  it("that drop connects however late the second SYN is", task(function()
    local p <close> = pair "drop"
    assert.same({ 1, 1 }, { connects(p:punch({}, { late = 0.2 })) })
  end, 40))

  it("that reset connects when the SYNs cross; without a peer it fails", task(function()
    local p <close> = pair "rst"
    connects(p:punch({}, {}))
    fails("ECONNREFUSED", (p:punch({ lasts = 0.3 }, nil)))
  end, 40))

  it("that reset connects by a retry on the same port after a refusal", task(function()
    local p <close> = pair "rst"
    local fired_a = connects(p:punch({}, { late = 0.2 }))
    assert.is_true(fired_a > 1)
  end, 40))

  it("that reset connects although the peer is late when the first SYN ends halfway", task(function()
    local p <close> = pair "rst"
    assert.same({ 1, 1 }, { connects(p:punch({ ttl = EXPIRES_BETWEEN }, { late = 0.3 })) })
  end, 40))

  it("that answer with ICMP connects if the first SYN ends halfway; alone each try fails", task(function()
    local p <close> = pair "icmp"
    assert.same({ 1, 1 }, { connects(p:punch({ ttl = EXPIRES_BETWEEN }, { late = 0.3 })) })
    local alone = p:punch({ lasts = 0.3 }, nil)
    fails("EHOSTUNREACH", alone)
    local stats = alone[2]
    assert.is_true(stats.failed > 1)
    assert.equal(stats.failed, stats.errors.EHOSTUNREACH)
  end, 40))

  it("that are firewalls of IPv6 connects; without a peer it fails", task(function()
    local p <close> = pair("drop", { ipv6 = true })
    assert.same({ 1, 1 }, { connects(p:punch({}, { late = 0.1 }, "ipv6")) })
    fails("ETIMEDOUT", (p:punch({ lasts = 0.3 }, nil, "ipv6")))
  end, 40))
end)
