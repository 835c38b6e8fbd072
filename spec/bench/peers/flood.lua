--- Strangers who send a node ten thousand messages a second: `flood.lua PORT NODE_ID`. Prints a line when it
-- begins, and how many a second it sent when its standard input ends.
local core = require "p2pd.core"
local nodes = require "spec.nodes"
local task = require "p2pd.task"

local RATE, SLICE_S, STRANGERS = 10000, 0.002, 200

-- Half is noise, half is well-formed: sealed by real nodes for this one.
local function payloads(to)
  local list = {}
  for i = 1, STRANGERS do
    local stranger = nodes.new()
    list[2 * i - 1] = nodes.seal(stranger, to, { type = "ECHO", id = "id" .. i, from = stranger.id, to = to,
      address = "0-0-0-" .. stranger.id, time = core.clock.realtime(), ttl = 60, data = "00" })
    list[2 * i] = "\2" .. core.random.bytes(256) .. core.random.bytes(256)
  end
  return list
end

task.run(function()
  local client <close> = assert(core.mqtt.open { host = "127.0.0.1", port = tonumber(arg[1]) })
  assert(client:wait_online(10))
  local list, sent, over = payloads(arg[2]), 0, false
  task.spawn(function()
    local input <close> = core.stream.fd(0, false)
    input:read "a"
    over = true
  end)
  print "ready"
  io.stdout:flush()
  local started = core.clock.monotonic()
  while not over do
    local due = math.floor((core.clock.monotonic() - started) * RATE)
    while sent < due do
      client:publish(arg[2], list[sent % #list + 1])
      sent = sent + 1
    end
    task.sleep(SLICE_S)
  end
  print(sent / (core.clock.monotonic() - started))
end)
