--- Strangers who hold all that a node has: ten keys with 2,000 dials and 64 idle sources, at 1,024
-- descriptors. What a trusted peer's dial and a newcomer's first one take meanwhile; what the node's memory
-- and log grow by.
local address = require "p2pd.address"
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local harness = require "spec.bench.harness"
local nodes = require "spec.nodes"
local servers = require "p2pd.lab.servers"
local task = require "p2pd.task"

local KEYS, DIALS, IDLE, TRIES = 10, 2000, 64, 20
local DESCRIPTORS, GOAL = 1024, 3
local WAIT = 5

-- -- dials, reduced to what the listener sees

local function open_pipe(to, key, source, pipe_id)
  local stream, reason = core.tcp.connect("127.0.0.1", to.port, { ip = source }, WAIT)
  if not stream then return nil, reason end
  local held <close> = task.hold(stream)
  stream:settimeout(WAIT)
  local ok
  ok, reason = core.tls.client(stream, key.context, to.id, WAIT)
  if ok then ok, reason = handshake.go(stream, { pipe = pipe_id }) end
  if ok then ok, reason = handshake.receive_verdict(stream) end
  if not ok then return nil, reason end
  return held:release()
end

-- A dial, its first line and the echo.
local function dial(to, key, source, pipe_id)
  local started = harness.now()
  local stream <close> = open_pipe(to, key, source, pipe_id)
  if not stream or not stream:write "hello\n" or stream:read "l" ~= "hello" then return nil end
  return harness.now() - started
end

local function try(to, make)
  local times = {}
  for i = 1, TRIES do
    local key, source = make(i)
    times[#times + 1] = dial(to, key, source, "try" .. i)
    task.sleep(0.1)
  end
  return times
end

-- -- the attack

local function hold_pipes(to, streams)
  for i = 1, DIALS do
    local key = streams.keys[i % KEYS + 1]
    streams[#streams + 1] = open_pipe(to, key, ("127.0.1.%d"):format(i % KEYS + 1), "held" .. i)
  end
end

-- One connection of a source that says nothing, again and again.
local function idle(to, i)
  while true do
    local stream <close> = core.tcp.connect("127.0.0.1", to.port, { ip = "127.0.7." .. i }, WAIT)
    if stream then
      stream:settimeout(nil)
      stream:recv()
    end
    task.sleep(0.01)
  end
end

-- -- the node

local function start(path, friend)
  local child = assert(core.process.spawn { "sh", "-c",
    ('ulimit -n %d; exec "$0" spec/bench/peers/guarded_node.lua "$@"'):format(DESCRIPTORS),
    os.getenv "P2PD_EXE" or "./p2pd", path, friend.id, stdin = "null", stdout = "pipe", stderr = "pipe" })
  local parsed = address.parse(assert(child:stdout():read "l"))
  return child, { port = parsed.ipv4[1].port, id = parsed.node_id }
end

local function count_lines(child, counted)
  while child:stderr():read "l" do counted.lines = counted.lines + 1 end
end

local function row(what, quiet, loaded)
  local ratio = #loaded > 0 and harness.median(loaded) / harness.median(quiet) or math.huge
  return {
    what = ("%s, while strangers hold all they can"):format(what),
    ours = #loaded > 0 and ("%.1f ms, %d of %d"):format(harness.median(loaded) * 1e3, #loaded, TRIES)
      or "none",
    theirs = ("%.1f ms when quiet"):format(harness.median(quiet) * 1e3), ratio = ratio,
    goal = ("<= %d, all of them"):format(GOAL), met = ratio <= GOAL and #loaded == TRIES,
  }
end

return function()
  local broker, friend = servers.mosquitto(), nodes.new()
  local child <close>, to = start((servers.settings { brokers = { broker } }), friend)
  local counted = { lines = 0 }
  local _ <close> = task.spawn(count_lines, child, counted)
  local function as_friend() return friend, "127.0.8.1" end
  local function as_newcomer(i) return nodes.new(), "127.0.9." .. i end
  local quiet_friend, quiet_newcomer = try(to, as_friend), try(to, as_newcomer)
  local memory = harness.proc(child:pid(), "status", "VmRSS")
  local streams = { keys = {} }
  for i = 1, KEYS do streams.keys[i] = nodes.new() end
  local children <close> = task.group()
  for i = 1, IDLE do children:spawn(idle, to, i) end
  hold_pipes(to, streams)
  local friends, newcomers = try(to, as_friend), try(to, as_newcomer)
  local growth = (harness.proc(child:pid(), "status", "VmRSS") - memory) / 1024
  for _, stream in ipairs(streams) do stream:abort() end
  servers.close_all()
  return {
    row("a trusted peer's dial", quiet_friend, friends),
    row("a newcomer's first dial", quiet_newcomer, newcomers),
    {
      what = ("the node after %d dials of %d keys: more memory, lines in its log"):format(DIALS, KEYS),
      ours = ("%.1f MiB, %d"):format(growth, counted.lines), goal = "bounded",
    },
  }
end
