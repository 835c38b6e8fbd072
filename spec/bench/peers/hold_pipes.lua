--- Many idle pipes: the two processes of idle_pipes.lua.
--   hold_pipes.lua serve N        prints its port; accepts N pipes and lets a task wait in read on each. For
--                                 each line of standard input it prints what it takes by then: resident
--                                 bytes, bytes of Lua's heap
--   hold_pipes.lua connect PORT N connects N times, says so, and waits for the end of standard input
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local pipes = require "spec.bench.peers.pipes"
local p2pd = require "p2pd"

local input = core.stream.fd(0)

local roles = {}

local function report()
  collectgarbage()
  collectgarbage()
  local resident = harness.proc("self", "status", "RssAnon") * 1024
  print(resident, collectgarbage "count" * 1024 // 1 | 0)
  io.stdout:flush()
end

local function wait_in_read(pipe)
  pipe:read "l"
end

function roles.serve(n)
  local listener <close> = pipes.listen(1024)
  local held = {}
  input:read "l"
  report()
  for i = 1, tonumber(n) do
    held[i] = pipes.accept(listener)
    p2pd.spawn(wait_in_read, held[i])
  end
  input:read "l"
  report()
  input:read "l"
  for _, pipe in ipairs(held) do pipe:close() end
end

function roles.connect(port, n)
  local held = {}
  for i = 1, tonumber(n) do held[i] = pipes.connect(port) end
  print(#held)
  io.stdout:flush()
  input:read "l"
end

p2pd.run(roles[arg[1]], arg[2], arg[3])
