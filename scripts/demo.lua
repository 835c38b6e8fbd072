-- p2pd demo: two nodes as two processes on this machine, connected by every strategy that makes sense on one,
-- with a real broker and a real STUN and TURN server beside them.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local json = require "dkjson"
local servers = require "p2pd.testbed.servers"

local STRATEGIES = { "direct", "reverse", "relay" }
local READY_S, ROUND_TRIPS = 10, 20
local ROW = "%-9s %8s   %-22s %-22s %s"

local parser = cli.parser("demo",
  "Start a broker, a STUN and TURN server and two nodes on loopback, and connect them by each strategy.")

local function start(settings, ...)
  local command = { cli.program(), ... }
  command.stdin, command.stdout, command.stderr = "pipe", "pipe", "pipe"
  table.move({ "--settings", settings, "--interface", "lo" }, 1, 4, #command + 1, command)
  return assert(core.process.spawn(command))
end

-- The best of several, since the first ones also warm the caches.
local function measure_echo(dialer)
  local best = math.huge
  for i = 1, ROUND_TRIPS do
    local line = "round trip " .. i
    local started = p2pd.clock.monotonic()
    assert(dialer:stdin():write(line, "\n"))
    assert(dialer:stdout():read "l" == line, "the echo differs from what was sent")
    best = math.min(best, p2pd.clock.monotonic() - started)
  end
  return best
end

-- The line with a JSON object; warnings may come before it.
local function read_object(stream)
  for line in function() return (stream:read "l") end do
    if line:find "^{" then return line end
  end
  return ""
end

local function try_strategy(name, address, settings)
  local dialer <close> = start(settings, "connect", address, "--strategies", name, "--json")
  dialer:stderr():settimeout(READY_S)
  dialer:stdout():settimeout(READY_S)
  local report = assert(json.decode(read_object(dialer:stderr())), "the dialer said nothing")
  if not report.ok then
    print(ROW:format(name, "failed", report.error, "", ""))
    return false
  end
  local echo = measure_echo(dialer)
  dialer:stdin():shutdown()
  print(ROW:format(report.strategy, ("%.1f ms"):format(report.seconds * 1000), report["local"],
    report.remote, ("%.2f ms"):format(echo * 1000)))
  return dialer:wait(READY_S) == "exit"
end

local function main()
  io.stdout:setvbuf "line"
  local broker <close> = servers.mosquitto()
  local stun <close> = servers.coturn()
  local settings = servers.settings { brokers = { broker }, stuns = { stun }, turn = { stun:turn "tcp" } }
  local node <close> = start(settings, "node", "--echo")
  node:stdout():settimeout(READY_S)
  local address = (node:stdout():read "l" or ""):match "^address: (.+)$"
  if not address then
    cli.say("the node did not start: %s", node:stderr():recv() or "no word from it")
    return cli.FAILED
  end
  print(("broker     mosquitto on port %d\nstun, turn coturn on port %d\nnode           %s\n")
    :format(broker.port, stun.port, address))
  print(ROW:format("strategy", "connect", "from", "to", "echo round trip"))
  local status = cli.OK
  for _, name in ipairs(STRATEGIES) do
    if not try_strategy(name, address, settings) then status = cli.FAILED end
  end
  return status
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return p2pd.run(main)
