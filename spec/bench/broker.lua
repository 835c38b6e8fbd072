--- Brokers at 20 ms one way: how long a client takes to be online and subscribed, and a message to arrive.
-- Nothing can be faster than the round trips that TCP, TLS, CONNECT and SUBSCRIBE take one after the other.
-- With TLS one is the broker's: Nagle's algorithm keeps CONNACK back until its session tickets are
-- acknowledged.
local harness = require "spec.bench.harness"
local lab = require "p2pd.lab"
local scratch = require "p2pd.lab.scratch"
local servers = require "p2pd.lab.servers"

local LATENCY, ROUND_TRIP_MS = 0.02, 40
local COUNT = 10
local SLACK = 1.15
local TLS_PORT = 8883

-- A broker beside the lab's own, with a plain port and one with TLS.
local function start(l)
  local near = l.brokers[1]
  local cert, key = servers.certificate(scratch.folder(), near.host)
  local lines = "listener %d %s\nallow_anonymous true\ncertfile %s\nkeyfile %s"
  return servers.mosquitto {
    host = near.host, port = near.port + 1, within = near.within,
    config = lines:format(TLS_PORT, near.host, cert, key),
  }, cert
end

local function measure(l, broker, port, ca)
  local script = "spec/bench/peers/broker.lua"
  local child <close> = assert(l:p2pd("a", { script, broker.host, tostring(port), ca, tostring(COUNT) }))
  local text = child:stdout():read "a"
  local columns = { {}, {}, {} }
  for online, first, second in text:gmatch "(%S+)%s+(%S+)%s+(%S+)\n" do
    for i, figure in ipairs { online, first, second } do table.insert(columns[i], tonumber(figure)) end
  end
  if #columns[1] < COUNT then error("the client failed: " .. child:stderr():read "a", 0) end
  return columns
end

local function row(what, figures, round_trips)
  local ms, goal = harness.median(figures), round_trips * ROUND_TRIP_MS
  return {
    what = what, ours = ("%.0f ms (longest %.0f)"):format(ms, math.max(table.unpack(figures))),
    theirs = ("%.0f ms"):format(goal), ratio = ms / goal, goal = ("<= %.2f"):format(SLACK),
    met = ms / goal <= SLACK,
  }
end

return function()
  local can, why = lab.is_possible()
  if not can then return { { what = "brokers: no lab, " .. why } } end
  local l <close> = assert(lab.open {
    hosts = { a = { nats = {}, latency = LATENCY } }, servers = { brokers = 1 },
  })
  local broker <close>, cert = start(l)
  local plain, tls = measure(l, broker, broker.port, "-"), measure(l, broker, TLS_PORT, cert)
  return {
    row("a broker: online and subscribed", plain[1], 3),
    row("a broker with TLS: online and subscribed", tls[1], 5),
    row("a message by a broker", plain[2], 1),
    row("a second message right behind it", plain[3], 2),
  }
end
