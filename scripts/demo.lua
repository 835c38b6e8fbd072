-- p2pd demo: two nodes as two processes, connected by every strategy: first side by side on loopback, then,
-- where this machine lets us have such a lab, behind a NAT each. Brokers, STUN and TURN servers are real.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local json = require "dkjson"
local lab = require "p2pd.lab"
local servers = require "p2pd.lab.servers"
local strategy = require "p2pd.strategy"

local READY_S, ROUND_TRIPS = 10, 20
local ROW = "%-9s %9s   %-22s %-22s %s"
local LATENCY_S = 0.01 -- of each host in the lab, one way

local parser = cli.parser("demo",
  "Connect two nodes by every strategy: both on loopback, then each behind a NAT.")

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

local function try_strategy(name, address, start, budget)
  local dialer <close> = start("a",
    { "connect", address, "--strategies", name, "--json", "--timeout", budget })
  dialer:stderr():settimeout(READY_S)
  dialer:stdout():settimeout(READY_S)
  local report = assert(json.decode(read_object(dialer:stderr())), "the dialer said nothing")
  if not report.ok then
    cli.print(ROW:format(name, "-", report.attempts[1] and report.attempts[1].reason or report.error, "", ""))
    return false
  end
  local echo = measure_echo(dialer)
  dialer:stdin():shutdown()
  cli.print(ROW:format(report.strategy, ("%.1f ms"):format(report.seconds * 1000), report["local"],
    report.remote, ("%.2f ms"):format(echo * 1000)))
  return dialer:wait(READY_S) == "exit"
end

-- Starts a node and dials it by each strategy; returns how many got through.
local function try_all(start, budgets)
  local node <close> = start("b", { "node", "--echo" })
  node:stdout():settimeout(READY_S)
  local address = (node:stdout():read "l" or ""):match "^address: (.+)$"
  if not address then
    cli.say("the node did not start: %s", node:stderr():recv() or "no word from it")
    return 0
  end
  cli.print("node      " .. address .. "\n")
  cli.print(ROW:format("strategy", "connect", "from", "to", "echo round trip"))
  local count = 0
  for _, name in ipairs(strategy.DEFAULT) do
    if try_strategy(name, address, start, budgets[name] or "10") then count = count + 1 end
  end
  return count
end

local function on_loopback()
  local broker <close> = servers.mosquitto()
  local stun <close> = servers.coturn()
  local settings = servers.settings { brokers = { broker }, stuns = { stun }, turn = { stun:turn "tcp" } }
  cli.print(("On loopback, with mosquitto on port %d and coturn on port %d.\n")
    :format(broker.port, stun.port))
  return try_all(function(_, command)
    table.move({ "--settings", settings, "--interface", "lo" }, 1, 4, #command + 1, command)
    table.insert(command, 1, cli.program())
    command.stdin, command.stdout, command.stderr = "pipe", "pipe", "pipe"
    return assert(core.process.spawn(command))
  end, {}) == #strategy.DEFAULT
end

-- Without help nobody gets in here, so what does is worth seeing; the others are not waited for long.
local function behind_nats()
  local host = { nats = { { type = "port-restricted" } }, latency = LATENCY_S }
  local l <close>, reason = lab.open { hosts = { a = host, b = host },
    servers = { brokers = 1, stuns = 2, ntps = 1, turns = 1 } }
  if not l then
    cli.print("\nNot shown: two peers behind two NATs. " .. reason)
    return true
  end
  cli.print(("\nBehind two NATs (%s), each %g ms from the servers.\n")
    :format(l:describe "a", LATENCY_S * 1000))
  return try_all(function(name, command) return assert(l:p2pd(name, command)) end,
    { direct = "1", reverse = "1" }) == 2
end

local function main()
  local near = on_loopback()
  return behind_nats() and near and cli.OK or cli.FAILED
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main)
