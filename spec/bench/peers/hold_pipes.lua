--- Many idle streams: the two processes of idle_pipes.lua.
--   hold_pipes.lua serve N KIND        prints its port; accepts N streams and lets a task wait in read on
--                                      each. For each line of standard input it prints what it takes by
--                                      then: resident bytes, bytes of Lua's heap
--   hold_pipes.lua connect PORT N KIND connects N times, says so, and waits for the end of standard input
-- KIND is plain, or tls, or mux (streams of one mux over TLS): there something has gone either way, so that
-- every buffer has been used once.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local pipes = require "spec.bench.peers.pipes"
local p2pd = require "p2pd"
local tls = require "spec.bench.peers.tls"

local input = core.stream.fd(0)

local function wait_in_read(stream) stream:read "l" end

local function greet(stream)
  stream:write "ping\n"
  assert(stream:read "l" == "pong")
  return stream
end

local function answer(stream)
  assert(stream:read "l")
  stream:write "pong\n"
  wait_in_read(stream)
end

local mux -- the only one

local KINDS = {
  plain = { accept = pipes.accept, connect = pipes.connect, serve = wait_in_read },
  tls = { accept = tls.accept, connect = function(port) return greet(tls.connect(port)) end, serve = answer },
  mux = {
    accept = function(listener)
      mux = mux or core.mux.new(tls.accept(listener), "server")
      return assert(mux:accept())
    end,
    connect = function(port)
      mux = mux or core.mux.new(tls.connect(port), "client")
      return greet(assert(mux:open()))
    end,
    serve = answer,
  },
}

local roles = {}

local function report()
  collectgarbage()
  collectgarbage()
  local resident = harness.proc("self", "status", "RssAnon") * 1024
  print(resident, collectgarbage "count" * 1024 // 1 | 0)
  io.stdout:flush()
end

function roles.serve(n, kind)
  local listener <close> = pipes.listen(1024)
  local held = {}
  input:read "l"
  report()
  for i = 1, tonumber(n) do
    held[i] = KINDS[kind].accept(listener)
    p2pd.spawn(KINDS[kind].serve, held[i])
  end
  input:read "l"
  report()
  input:read "l"
  for _, stream in ipairs(held) do stream:close() end
end

function roles.connect(port, n, kind)
  local held = {}
  for i = 1, tonumber(n) do held[i] = KINDS[kind].connect(port) end
  print(#held)
  io.stdout:flush()
  input:read "l"
end

p2pd.run(roles[arg[1]], table.unpack(arg, 2))
