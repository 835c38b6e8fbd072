--- `p2pd forward` to `p2pd expose` on loopback, beside `ssh -L` through an sshd of our own: 1 GB by one
-- connection, and 1,000 connections at once, each with an echoed KB. P2PD_STREAMS changes the number.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local p2pd = require "p2pd"
local servers = require "p2pd.lab.servers"
local scratch = require "p2pd.lab.scratch"

local ROUNDS, BYTES, GOAL = 5, 1 << 30, 0.9
local STREAMS, ECHOED = tonumber(os.getenv "P2PD_STREAMS" or 1000), 1024
local DESCRIPTORS = "ulimit -n 16384 && exec \"$@\" 2>/dev/null"
local SSHD = "/usr/sbin/sshd"
local WAIT, PAUSE = 120, 0.05

local PROGRAM = os.getenv "P2PD_EXE" or "./p2pd"

local function start(cpu, ...)
  return harness.start { cpu = cpu, "sh", "-c", DESCRIPTORS, "sh", ... }
end

-- -- ours

local NAME = "bench-forward"

local function id_of(name)
  local child <close> = start(1, PROGRAM, "id", "--name", name)
  return child:line()
end

local function open_p2pd(path, port)
  local common = { "--settings", path, "--interface", "lo" }
  local exposing = start(2, PROGRAM, "expose", "--allow", id_of(NAME), "127.0.0.1:" .. port,
    table.unpack(common))
  local address = exposing:line():match "^address: (.*)$"
  local forwarding = start(1, PROGRAM, "forward", "--name", NAME, "0", address, table.unpack(common))
  local place = forwarding:line():match "^listening: .*:(%d+)$"
  return math.tointeger(tonumber(place)), exposing, forwarding
end

-- -- theirs

local SSHD_CONFIG = [[
Port %d
ListenAddress 127.0.0.1
HostKey %s/host
AuthorizedKeysFile %s/user.pub
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
MaxSessions 10000
MaxStartups 1000
]]

local function shell(command)
  local child <close> = harness.start { "sh", "-c", command }
  child:finish()
end

-- A folder with keys and a configuration, and the port of the sshd that uses them.
local function start_sshd()
  local folder, port = scratch.folder(), scratch.free_port()
  for _, name in ipairs { "host", "user" } do
    shell(("ssh-keygen -q -t ed25519 -N '' -f %s/%s"):format(folder, name))
  end
  scratch.write(folder .. "/config", SSHD_CONFIG:format(port, folder, folder))
  shell "mkdir -p /run/sshd"
  local sshd = start(2, SSHD, "-D", "-q", "-f", folder .. "/config")
  return sshd, folder, port
end

local function wait_for_port(port)
  local limit = harness.now() + 10
  while true do
    local stream <close> = core.tcp.connect("127.0.0.1", port, nil, 1)
    if stream then return end
    assert(harness.now() < limit, "ssh does not listen")
    core.task.sleep(PAUSE)
  end
end

local function open_ssh(folder, sshd_port, port)
  local place = scratch.free_port()
  local ssh = start(1, "ssh", "-N", "-q", "-p", tostring(sshd_port), "-i", folder .. "/user", "-o",
    "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes", "-L",
    ("127.0.0.1:%d:127.0.0.1:%d"):format(place, port), "127.0.0.1")
  return place, ssh
end

-- -- what is measured

local function transfer(program, open)
  local receiver <close> = harness.start { cpu = 2, program, "receive" }
  local place, one, other = open(receiver:line())
  local _ <close> = one
  local _ <close> = other or one
  local sender <close> = harness.start { cpu = 1, program, "send", tostring(place), tostring(BYTES) }
  local bytes, seconds = receiver:numbers()
  assert(bytes == BYTES, "the transfer is not complete")
  sender:finish()
  return bytes / seconds
end

local function serve_echo()
  local listener = assert(p2pd.tcp.listen("127.0.0.1:0", { backlog = STREAMS }))
  p2pd.spawn(function()
    for stream in listener:streams() do
      p2pd.spawn(function()
        local accepted <close> = stream
        accepted:write(accepted:read(ECHOED))
        accepted:read "a"
      end)
    end
  end)
  return listener, select(2, listener:getsockname())
end

-- Seconds until each of many connections, all open at once, has had its answer; and how many have.
local function connect_many(place)
  local started, answered = harness.now(), 0
  local text, all = ("x"):rep(ECHOED), p2pd.condition()
  local streams, tasks = {}, {}
  for i = 1, STREAMS do
    tasks[i] = p2pd.spawn(function()
      streams[i] = assert(p2pd.tcp.connect(place, { timeout = WAIT }))
      streams[i]:settimeout(WAIT)
      streams[i]:write(text)
      if streams[i]:read(ECHOED) == text then answered = answered + 1 end
      all:signal()
    end)
  end
  for i = 1, STREAMS do tasks[i]:join() end
  local seconds = harness.now() - started
  for _, stream in pairs(streams) do stream:close() end
  return seconds, answered
end

local function measure_many(open)
  local listener <close>, port = serve_echo()
  local place, one, other = open(port)
  local _ <close> = one
  local _ <close> = other or one
  assert(listener)
  return connect_many(place)
end

return function()
  local broker = servers.mosquitto()
  local path = servers.settings { brokers = { broker } }
  local program = harness.compile "blocking"
  local sshd <close>, folder, sshd_port = start_sshd()
  assert(sshd)
  wait_for_port(sshd_port)
  local function open_ours(port) return open_p2pd(path, port) end
  local function open_theirs(port)
    local place, ssh = open_ssh(folder, sshd_port, port)
    core.task.sleep(1) -- it listens when it is ready, and a connection to see whether it does would count
    return place, ssh
  end
  local found = harness.alternate(ROUNDS, {
    function() return transfer(program, open_ours) end,
    function() return transfer(program, open_theirs) end,
  })
  local seconds, answered = measure_many(open_ours)
  local ssh_seconds, ssh_answered = measure_many(open_theirs)
  return {
    {
      what = "forward: throughput of a connection, against ssh -L",
      ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
      theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
      ratio = found.ratios[2], goal = ">= 0.9", met = found.ratios[2] >= GOAL,
    },
    {
      what = ("forward: %d connections at once, each answered"):format(STREAMS),
      ours = ("%d in %.2f s"):format(answered, seconds),
      theirs = ("%d in %.2f s"):format(ssh_answered, ssh_seconds),
      ratio = ssh_seconds / seconds, goal = "all", met = answered == STREAMS,
    },
  }
end
