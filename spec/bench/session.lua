--- A session whose path is TLS against TLS alone, on loopback, in writes of 64 KiB: throughput between two
-- processes, and the processor's time for both sides in one.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local nodes = require "spec.nodes"
local streams = require "spec.streams"
local task = require "p2pd.task"

local ROUNDS, BYTES, BLOCK = 5, 1 << 30, ("\0"):rep(64 * 1024)
local THROUGHPUT_GOAL, CPU_GOAL = 0.95, 1.1

local alice, bob = nodes.new(), nodes.new()

local function transfer(peer)
  local receiver <close> = harness.peer(2, peer, "receive")
  local sender <close> = harness.peer(1, peer, "send", receiver:line(), tostring(BYTES))
  local bytes, seconds = receiver:numbers()
  assert(bytes == BYTES, "the transfer is not complete")
  sender:finish()
  return bytes / seconds
end

-- Seconds of the processor for each byte from near to far.
local function cpu(near, far)
  local started = os.clock()
  local _ <close> = task.spawn(function()
    for _ = 1, BYTES // #BLOCK do assert(near:write(BLOCK)) end
    near:shutdown()
  end)
  assert(streams.swallow(far) == BYTES, "the transfer is not complete")
  return (os.clock() - started) / BYTES
end

local function cpu_of_tls()
  local _ <close>, near, far = streams.pair()
  nodes.encrypt(near, alice, far, bob)
  return cpu(near, far)
end

local function cpu_of_session()
  local _, near, far = streams.pair()
  nodes.encrypt(near, alice, far, bob)
  local a <close>, b = core.session.new { initiator = true }, core.session.new {}
  assert(a:attach(near))
  assert(b:attach(far))
  local up, down = a:stream(), b:stream()
  local _ <close> = task.hold(up, down)
  return cpu(up, down)
end

return function()
  local speed = harness.alternate(ROUNDS,
    { function() return transfer "transfer_session" end, function() return transfer "transfer_tls" end })
  local cost = harness.alternate(ROUNDS, { cpu_of_session, cpu_of_tls })
  return {
    {
      what = "throughput of a session over TLS, 64 KiB writes, against TLS alone",
      ours = ("%.0f MB/s"):format(speed.medians[1] / 1e6),
      theirs = ("%.0f MB/s"):format(speed.medians[2] / 1e6),
      ratio = speed.ratios[2], goal = ">= 0.95", met = speed.ratios[2] >= THROUGHPUT_GOAL,
    },
    {
      what = "processor's time for it, both sides",
      ours = ("%.2f ns a byte"):format(cost.medians[1] * 1e9),
      theirs = ("%.2f ns a byte"):format(cost.medians[2] * 1e9),
      ratio = cost.ratios[2], goal = "<= 1.1", met = cost.ratios[2] <= CPU_GOAL,
    },
  }
end
