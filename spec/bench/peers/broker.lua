--- Goes online at a broker, a few times: `broker.lua HOST PORT CA COUNT` (CA: - without TLS) prints a line of
-- milliseconds for each: until it is online and subscribed, a message's way to another client, and that of a
-- second message right behind it.
local core = require "p2pd.core"

local WAIT_S = 10

local host, port, ca, count = arg[1], math.tointeger(arg[2]), arg[3], math.tointeger(arg[4])
local now = core.clock.monotonic

local function open(topic)
  local tls = ca ~= "-"
  local client = core.mqtt.open { host = host, port = port, tls = tls, ca = tls and ca or nil }
  client:subscribe(topic)
  assert(client:wait_online(WAIT_S))
  return client
end

core.task.run(function()
  local sender <close> = open "bench/sender"
  for i = 1, count do
    local topic, started = "bench/" .. i, now()
    local receiver <close> = open(topic)
    local online = now()
    for _ = 1, 2 do assert(sender:publish(topic, "x")) end
    assert(receiver:receive(WAIT_S))
    local first = now()
    assert(receiver:receive(WAIT_S))
    print((online - started) * 1e3, (first - online) * 1e3, (now() - online) * 1e3)
  end
end)
