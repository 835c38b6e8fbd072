--- Pipes of sessions beside exclusive ones: throughput and the processor's time on loopback; in a lab with
-- real NATs and 20 ms one way how soon a second pipe answers, an echo beside bulk, and how long a pipe pauses
-- when its path changes. Each line that is sent comes back and is compared, whatever happens meanwhile.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local peers = require "spec.lab.peers"
local servers = require "p2pd.lab.servers"
local talk = require "spec.lab.talk"

local ROUNDS, BYTES = 7, 1 << 29
local PIPES, PIPE_GOAL_KIB = 10000, 2
local ECHOES, ECHO_GOAL = 60, 1.5
local CHANGES, CHANGE_GOAL_S, REBOOTS, REBOOT_GOAL_S = 20, 0.6, 20, 6
local CLIMBS, CLIMB_GOAL_S = 50, 1
local DOWN_S, BACK_GOAL_S = 45, 2
local FAR = 0.01 -- seconds one way to the middle: 20 ms between hosts

-- -- on loopback

local function start_pair(path)
  local server = harness.peer(2, "node_pipes", "serve", path)
  local address = server:line()
  return server, harness.peer(1, "node_pipes", "connect", path, address)
end

local function throughput_rows(path)
  local server, client = start_pair(path)
  local _ <close> = server
  local _ <close> = client
  local cpu = { {}, {} }
  local function candidate(i, kind)
    return function(round)
      client:write(("bulk %d %s\n"):format(BYTES, kind))
      local bytes, seconds, receiving = server:numbers()
      assert(bytes == BYTES, "the transfer is not complete")
      cpu[i][round] = (receiving + client:numbers()) / BYTES
      return bytes / seconds
    end
  end
  local found = harness.alternate(ROUNDS, { candidate(1, "session"), candidate(2, "exclusive") })
  local ratios = {}
  for round = 1, ROUNDS do ratios[round] = cpu[1][round] / cpu[2][round] end
  local ratio = harness.median(ratios)
  return {
    what = "throughput of a session's pipe, 64 KiB writes, against an exclusive one",
    ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
    theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
    ratio = found.ratios[2], goal = ">= 0.95", met = found.ratios[2] >= 0.95,
  }, {
    what = "processor's time for it, both sides",
    ours = ("%.2f ns a byte"):format(harness.median(cpu[1]) * 1e9),
    theirs = ("%.2f ns a byte"):format(harness.median(cpu[2]) * 1e9),
    ratio = ratio, goal = "<= 1.1", met = ratio <= 1.1,
  }
end

-- KiB of an accepted pipe, those of them that are Lua's, and KiB of a dialed one.
local function measure_idle(path, protocol)
  local server, client = start_pair(path)
  local _ <close> = server
  local _ <close> = client
  local function look()
    server:write "\n"
    return server:numbers()
  end
  client:write(("hold 100 %s\n"):format(protocol))
  local near = client:numbers()
  local far, heap = look()
  client:write(("hold %d %s\n"):format(PIPES, protocol))
  local near_full = client:numbers()
  local far_full, heap_full = look()
  local function each(bytes) return bytes / PIPES / 1024 end
  return each(far_full - far), each(heap_full - heap), each(near_full - near)
end

local function idle_rows(path)
  local rows = {}
  for _, kind in ipairs { { "hold", "" }, { "read", ", a task in read included" } } do
    local accepted, heap, dialed = measure_idle(path, kind[1])
    rows[#rows + 1] = {
      what = ("memory of one of %d idle pipes in a session, accepted%s"):format(PIPES, kind[2]),
      ours = ("%.2f KiB (%.2f Lua)"):format(accepted, heap), theirs = ("%.2f KiB (dialed)"):format(dialed),
      goal = ("<= %d KiB"):format(PIPE_GOAL_KIB), met = math.max(accepted, dialed) <= PIPE_GOAL_KIB,
    }
  end
  return table.unpack(rows)
end

-- -- in the lab, without NATs

local SECOND = [[
  local address, count = ...
  local strategies = { "direct" }
  local first = assert(state.node:connect(address, { strategies = strategies }))
  local function echo(pipe)
    local started = core.clock.monotonic()
    assert(pipe:write(("x"):rep(63), "\n"))
    assert(pipe:read "l")
    return core.clock.monotonic() - started
  end
  echo(first)
  local trips, seconds = {}, {}
  for i = 1, count do
    trips[i] = echo(first)
    local started = core.clock.monotonic()
    local pipe <close> = assert(state.node:connect(address, { strategies = strategies }))
    echo(pipe)
    seconds[i] = core.clock.monotonic() - started
  end
  state.first, state.echo = first, echo
  return trips, seconds]]

local BESIDE = [[
  local address, count = ...
  local bulk = assert(state.node:connect(address, { strategies = { "direct" } }))
  local block = ("y"):rep(65535) .. "\n"
  local written = 0
  local writer <close> = task.spawn(function() while bulk:write(block) do written = written + #block end end)
  local reader <close> = task.spawn(function() while bulk:recv() do end end)
  task.sleep(1)
  local trips, began, before = {}, core.clock.monotonic(), written
  for i = 1, count do trips[i] = state.echo(state.first) end
  return trips, (written - before) / (core.clock.monotonic() - began)]]

local function echo_rows()
  local l <close> = assert(lab.open { hosts = { a = { latency = FAR }, b = { latency = FAR } },
    servers = { brokers = 1 } })
  local a <close> = peers.start(l, "a")
  local b <close> = peers.start(l, "b")
  local trips, seconds = a:call(SECOND, b.address, ECHOES)
  local trip, second = harness.median(trips), harness.median(seconds)
  local beside, rate = a:call(BESIDE, b.address, ECHOES)
  local loaded = harness.median(beside)
  return {
    what = "second pipe to a connected peer, 20 ms one way: connect to first echo",
    ours = ("%.1f ms"):format(second * 1e3), theirs = ("%.1f ms (a round trip)"):format(trip * 1e3),
    goal = "<= + 2 ms", met = second <= trip + 0.002,
  }, {
    what = ("echo of 64 bytes beside bulk (%.0f MB/s) in its session, 20 ms one way"):format(rate / 1e6),
    ours = ("%.1f ms"):format(loaded * 1e3), theirs = ("%.1f ms (alone)"):format(trip * 1e3),
    ratio = loaded / trip, goal = "<= 1.5", met = loaded / trip <= ECHO_GOAL,
  }
end

-- -- in the lab, behind NATs

local HOME = { nats = { { type = "port-restricted" } }, latency = FAR }

local function summary(times)
  local sorted = table.move(times, 1, #times, 1, {})
  table.sort(sorted)
  return ("%.2f s (at most %.2f)"):format(harness.median(times), sorted[#sorted])
end

local function most(times) return math.max(table.unpack(times)) end

local function is_whole(said)
  local found = said:finish()
  return found.sent == found.got and found.ended[1] == "end", found
end

-- Pauses, as who reads the pipe sees them: from the last line before something happens to the next one.
local function measure_pauses(count, disturb)
  local l <close> = assert(lab.open { hosts = { a = HOME, b = HOME },
    servers = { brokers = 1, stuns = 2, ntps = 1 } })
  local a <close> = peers.start(l, "a")
  local b <close> = peers.start(l, "b")
  local said = talk.start(a, b.address, { strategies = { "direct", "punch" } })
  local pauses = {}
  for i = 1, count do
    said:go_on(200)
    a:call "state.talk.longest = 0"
    disturb(l, i % 2 == 1 and "a" or "b", i)
    said:await(("info.session.resumed >= %d and pipe.strategy"):format(i), 19)
    said:go_on(100)
    pauses[i] = said:look().longest
  end
  return pauses, (is_whole(said))
end

local function move(l, host, number)
  local net = l:address(host):match "^(.*%.)%d+$"
  assert(l:run(host, { "sh", "-c", ("ip addr flush dev eth0; ip addr add %s%d/24 dev eth0; "
    .. "ip route add default via %s1"):format(net, 100 + number, net) }))
end

local function reboot(l, host) assert(l:reboot(host)) end

local function pause_row(what, count, disturb, goal_s, judge)
  local pauses, whole = measure_pauses(count, disturb)
  return {
    what = ("%s, %d times: pause of a pipe%s"):format(what, count, whole and "" or ", BYTES LOST"),
    ours = summary(pauses), goal = ("<= %.1f s"):format(goal_s), met = whole and judge(pauses) <= goal_s,
  }
end

local function climb_row()
  local l <close> = assert(lab.open { hosts = { a = HOME, b = HOME },
    servers = { brokers = 1, stuns = 2, ntps = 1, turns = 1 } })
  local settings = select(2, helper.settings { brokers = l.brokers, stuns = l.stuns, ntps = l.ntps,
    turn = { l.turns[1]:turn "tcp" } })
  local a <close> = peers.start(l, "a", { node = { settings = settings } })
  local b <close> = peers.start(l, "b", { node = { settings = settings } })
  local usable, climbed, whole = {}, {}, 0
  for i = 1, CLIMBS do
    local started = harness.now()
    local said = talk.start(a, b.address, { strategies = { "relay", "punch" }, policy = "sequence" })
    usable[i] = harness.now() - started
    started = harness.now()
    said:await 'pipe.strategy == "punch"'
    climbed[i] = harness.now() - started
    said:go_on()
    whole = whole + (is_whole(said) and 1 or 0)
    for _, node in ipairs { a, b } do
      node:call [[
        for _, one in ipairs(state.node:sessions()) do one:close() end
        while state.node:sessions()[1] do task.sleep(0.01) end]]
    end
  end
  return {
    what = ("relay first (usable in %.2f s), then punched, %d of %d whole: until punched"):format(
      harness.median(usable), whole, CLIMBS),
    ours = summary(climbed), goal = ("<= %d s"):format(CLIMB_GOAL_S),
    met = whole == CLIMBS and most(climbed) <= CLIMB_GOAL_S,
  }
end

local function down_row()
  local l <close> = assert(lab.open { hosts = { a = HOME, b = HOME },
    servers = { brokers = 1, stuns = 2, ntps = 1 } })
  local a <close> = peers.start(l, "a")
  local b <close> = peers.start(l, "b")
  local said = talk.start(a, b.address, { strategies = { "direct", "punch" } })
  said:go_on()
  assert(l:run("a", { "ip", "link", "set", "eth0", "down" }))
  core.task.sleep(DOWN_S)
  assert(l:run("a", { "sh", "-c", "ip link set eth0 up; ip route add default via "
    .. l:address "a":gsub("%d+$", "1") }))
  local started = harness.now()
  said:go_on(1)
  local seconds = harness.now() - started
  local whole = is_whole(said)
  return {
    what = ("link down for %d s and back%s: until a pipe goes on"):format(DOWN_S,
      whole and "" or ", BYTES LOST"),
    ours = ("%.2f s"):format(seconds), goal = ("<= %d s"):format(BACK_GOAL_S),
    met = whole and seconds <= BACK_GOAL_S,
  }
end

local MEASURES = {
  throughput = function(path) return throughput_rows(path) end,
  idle = idle_rows,
  echo = function() return echo_rows() end,
  address = function()
    return pause_row("address change", CHANGES, move, CHANGE_GOAL_S, harness.median)
  end,
  reboot = function() return pause_row("NAT rebooted", REBOOTS, reboot, REBOOT_GOAL_S, most) end,
  climb = function() return climb_row() end,
  down = function() return down_row() end,
}
local ORDER = { "throughput", "echo", "idle", "address", "reboot", "climb", "down" }

return function()
  assert(lab.is_possible())
  local path = servers.settings { brokers = { servers.mosquitto() } }
  local only, rows = os.getenv "P2PD_BENCH_ONLY", {}
  for _, name in ipairs(ORDER) do
    if not only or (" " .. only .. " "):find(" " .. name .. " ", 1, true) then
      for _, row in ipairs { MEASURES[name](path) } do rows[#rows + 1] = row end
    end
  end
  return rows
end
