-- A peer's line is cut: its pipes notice, whatever carries them and whether they read or write.
local config = require "p2pd.config"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local peers = require "spec.lab.peers"

local SILENCE_S = 4

-- A pipe that reads, one that writes now and then, and one that writes all it can.
local HOLD = [[
  local address, strategies = ...
  local function open()
    local pipe = assert(state.node:connect(address, { strategies = strategies, timeout = 15,
      exclusive = true }))
    assert(pipe:write "x\n")
    assert(pipe:read "l" == "x")
    return pipe
  end
  local function write(pipe, text, pause)
    local pipe <close> = pipe
    local ok, message, code
    repeat
      task.sleep(pause)
      ok, message, code = pipe:write(text)
    until not ok
    return { message, code }
  end
  local function read(pipe)
    local pipe <close> = pipe
    local _, message, code = pipe:read()
    return { message, code }
  end
  state.ends = {}
  local function keep(name, fn, ...)
    state[name] = task.spawn(function(...) state.ends[name] = fn(...) end, ...)
  end
  local first, second, third = open(), open(), open()
  keep("read", read, first)
  keep("write", write, second, "y\n", 0.2)
  keep("flood", write, third, ("z"):rep(100000), 0)
]]

local ENDS = [[
  local deadline = core.clock.monotonic() + 15
  repeat task.sleep(0.05) until state.ends.read and state.ends.write and state.ends.flood
    or core.clock.monotonic() > deadline
  return state.ends
]]

-- What the accepting side's readers come to.
local ACCEPT = [[
  state.accepting:cancel()
  state.reads = {}
  state.accepting = task.spawn(function()
    for pipe in state.node:pipes() do
      task.spawn(function()
        local pipe <close> = pipe
        if not pipe:write(pipe:read "L" or "") then return end
        local _, message, code = pipe:read()
        if code then table.insert(state.reads, { message, code }) end
      end)
    end
  end)
]]

local READS = [[
  local deadline = core.clock.monotonic() + 15
  repeat task.sleep(0.05) until #state.reads >= 1 or core.clock.monotonic() > deadline
  return state.reads
]]

labs.describe("a peer that vanishes, in the lab", function()
  local function check(strategy, hosts)
    return helper.task(function()
      local l <close> = assert(lab.open { hosts = hosts, servers = { brokers = 1, stuns = 1, ntps = 1 } })
      local settings = assert(config.load(l.settings))
      settings.silence = SILENCE_S
      local a <close> = peers.start(l, "a", { node = { settings = settings } })
      local b <close> = peers.start(l, "b", { node = { settings = settings } })
      b:call(ACCEPT)
      a:call(HOLD, b.address, { strategy })
      l:cut "b"
      local ends = a:call(ENDS)
      assert.same({ "read: the peer vanished", "ETIMEDOUT" }, ends.read)
      assert.same({ "write: the peer vanished", "ETIMEDOUT" }, ends.write)
      assert.same({ "write: the peer vanished", "ETIMEDOUT" }, ends.flood)
      assert.same({ "read: the peer vanished", "ETIMEDOUT" }, b:call(READS)[1])
    end, 60)
  end

  local NAT = { nats = { { type = "port-restricted" } }, latency = 0.005 }

  it("is noticed by pipes that were punched", check("punch", { a = NAT, b = NAT }))
  it("is noticed by direct pipes", check("direct", { a = NAT, b = { latency = 0.005 } }))
end)
