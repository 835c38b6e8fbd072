--- Many idle encrypted streams: the two processes of tls_idle.lua; see hold_pipes.lua.
--   hold_tls.lua serve N        for each line of standard input it prints resident bytes, then Lua's
--   hold_tls.lua connect PORT N
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local pipes = require "spec.bench.peers.pipes"
local p2pd = require "p2pd"
local tls = require "spec.bench.peers.tls"

local input = core.stream.fd(0)

local roles = {}

local function report()
  collectgarbage()
  collectgarbage()
  local resident = harness.proc("self", "status", "RssAnon") * 1024
  print(resident, collectgarbage "count" * 1024 // 1 | 0)
  io.stdout:flush()
end

-- Something has gone either way, so that every buffer has been used once.
local function wait_in_read(stream)
  assert(stream:read "l")
  stream:write "pong\n"
  stream:read "l"
end

function roles.serve(n)
  local listener <close> = pipes.listen(1024)
  local held = {}
  input:read "l"
  report()
  for i = 1, tonumber(n) do
    held[i] = tls.accept(listener)
    p2pd.spawn(wait_in_read, held[i])
  end
  input:read "l"
  report()
  input:read "l"
  for _, stream in ipairs(held) do stream:close() end
end

function roles.connect(port, n)
  local held = {}
  for i = 1, tonumber(n) do
    local stream = tls.connect(port)
    stream:write "ping\n"
    assert(stream:read "l" == "pong")
    held[i] = stream
  end
  print(#held)
  io.stdout:flush()
  input:read "l"
end

p2pd.run(roles[arg[1]], arg[2], arg[3])
