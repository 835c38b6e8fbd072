--- The reliable link: through a relay against turnutils_uclient, over plain UDP, with loss against one
-- datagram
-- a round trip, and how much it loses by itself. The last two in virtual time: the same figures every time.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local links = require "spec.links"
local lossy = require "spec.lossy"
local relayed = require "spec.relayed"
local servers = require "p2pd.lab.servers"
local task = require "p2pd.task"

local ROUNDS = 3
local BYTES = 100 << 20
local BLOCK = ("x"):rep(64 * 1024)
local CLIENTS, MESSAGES, LENGTH = 100, 1000, 1176
local RTT_S, LOSS, LOSSY_BYTES = 0.04, 0.01, 4000000
local QUEUES_S, LINE = { 0.02, 0.04, 0.1 }, 1.25e6

local ids = 0

local function open(near, far)
  ids = ids + 1
  local a = core.reliable.new { id = "bench " .. ids, role = "dialer", carrier = near }
  local b = core.reliable.new { id = "bench " .. ids, role = "answerer", carrier = far }
  assert(a:open(5))
  assert(b:open(5))
  return a:stream(), b:stream()
end

-- Bytes per second from one stream to the other, and the share of packets that were lost on the way.
local function transfer(near, far)
  local _ <close> = task.hold(near, far)
  local began, total = harness.now(), 0
  local writer <close> = task.spawn(function()
    for _ = 1, BYTES // #BLOCK do assert(near:write(BLOCK)) end
    assert(near:shutdown())
  end)
  for data in function() return (far:recv()) end do total = total + #data end
  assert(total == BYTES, "the transfer is not complete")
  writer:join()
  local info = near:stats().link
  return total / (harness.now() - began), info.lost / info.datagrams_out
end

local function by_udp()
  return (transfer(open(links.carriers())))
end

local function by_relay(server, losses)
  local _ <close>, near, far = relayed.carriers(server)
  local rate, lost = transfer(open(near, far))
  losses[#losses + 1] = lost
  return rate
end

-- Many clients, because one paces itself.
local function by_uclient(server)
  local command = ("turnutils_uclient -y -c -m %d -z 1 -n %d -l %d -u %s -w %s -p %d %s 2>&1")
    :format(CLIENTS, MESSAGES, LENGTH, server.user, server.pass, server.port, server.host)
  local child <close> = harness.start { "sh", "-c", command .. " | tail -20; true" }
  local bytes, seconds
  repeat
    local line = child:line()
    bytes = tonumber(line:match "tot_recv_bytes ~ (%d+)") or bytes
    seconds = tonumber(line:match "Total transmit time is (%d+)") or seconds
  until seconds
  return bytes / math.max(seconds, 1)
end

local function through_relay()
  local server, losses = servers.coturn(), {}
  local found = harness.alternate(ROUNDS,
    { function() return by_relay(server, losses) end, function() return by_uclient(server) end })
  server:close()
  return {
    what = "relay over UDP, against turnutils_uclient (100 clients)",
    ours = ("%.0f MB/s, %.2f %% lost"):format(found.medians[1] / 1e6, 100 * harness.median(losses)),
    theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
    ratio = found.ratios[2], goal = ">= 0.8", met = found.ratios[2] >= 0.8,
  }
end

local function over_udp()
  local found = harness.alternate(ROUNDS, { by_udp })
  return {
    what = "reliable link over UDP on loopback, both ends in one process",
    ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
  }
end

-- -- in virtual time

local function carry(options, bytes)
  local world <close> = lossy.world(options)
  world:open()
  local began, data = world.now, lossy.noise(bytes)
  local write, read = lossy.writer(world.dialer, data), lossy.reader(world.answerer)
  world:run(function()
    write()
    return (read())
  end, 600)
  return bytes / (world.now - began), world.there
end

local function with_loss()
  local rates = {}
  for seed = 1, 5 do
    rates[seed] = carry({ seed = seed, loss = LOSS, delay = RTT_S / 2 }, LOSSY_BYTES)
  end
  local ours, theirs = harness.median(rates), LENGTH * (1 - LOSS) / RTT_S
  return {
    what = "1 % loss at 40 ms, against one datagram a round trip",
    ours = ("%.0f kB/s"):format(ours / 1e3), theirs = ("%.0f kB/s"):format(theirs / 1e3),
    ratio = ours / theirs, goal = ">= 5", met = ours / theirs >= 5,
  }
end

local function on_a_line(queue_s)
  local rate, path = carry({ rate = LINE, room = queue_s * LINE, delay = RTT_S / 2 }, 2 * LOSSY_BYTES)
  local share = path.overrun / path.carried
  return {
    what = ("10 Mbit/s, a queue of %.0f ms, 40 ms: lost by ourselves"):format(queue_s * 1e3),
    ours = ("%.2f %% at %.0f kB/s"):format(100 * share, rate / 1e3),
    goal = "< 1 %", met = share < 0.01,
  }
end

return function()
  local rows = { through_relay(), over_udp(), with_loss() }
  for _, queue_s in ipairs(QUEUES_S) do rows[#rows + 1] = on_a_line(queue_s) end
  return rows
end
