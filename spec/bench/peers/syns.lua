--- `syns.lua timer|punch PORT COUNT`: sends so many SYNs to a port where nobody listens, each at a planned
-- instant; prints "SOURCE-PORT PLANNED" for each whose wait had begun in time.
local core = require "p2pd.core"
local scratch = require "p2pd.lab.scratch"
local task = require "p2pd.task"

local IP, AHEAD_S = "127.0.0.1", 0.008
local kind, port, count = arg[1], tonumber(arg[2]), tonumber(arg[3])
local now = core.clock.monotonic

local send = {}

function send.timer(from, at)
  local left = at - now()
  task.sleep(math.max(left, 0))
  local _ <close> = core.tcp.connect(IP, port, { ip = IP, port = from }, 1)
  return left > 0
end

function send.punch(from, at)
  local mapping = { ip = IP, port = from, remote_ip = IP, remote_port = port }
  local punch <close> = assert(core.punch.start { at = at, deadline = at + 1, hold = 0.002, gap = 1,
    mappings = { mapping } })
  local in_time = now() < at
  punch:wait()
  return in_time
end

core.task.run(function()
  while count > 0 do
    local from = scratch.free_port()
    local at = now() + AHEAD_S
    if send[kind](from, at) then
      print(("%d %.9f"):format(from, at))
      count = count - 1
    end
  end
end)
