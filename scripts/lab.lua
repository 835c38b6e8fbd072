-- p2pd lab: two hosts behind NATs of your choice, with the servers that nodes need, on this machine.
local cli = require "p2pd.cli"
local lab = require "p2pd.lab"
local words = require "p2pd.lab.words"

local MS, PERCENT = 0.001, 0.01
local SERVERS = { { "brokers", 1 }, { "stuns", 3 }, { "ntps", 3 }, { "turns", 1 } }

local parser = cli.parser("lab", "Open hosts a and b behind NATs, until Ctrl-C or the end of standard input; "
  .. "or run one command in host a, with its exit status: p2pd lab [options] -- COMMAND\n\nNAT: "
  .. words.HELP)

local function option(name, argument, default, convert, help)
  parser:option("--" .. name, help, default):argname(argument):convert(convert)
end

option("a", "NAT", "port-restricted", words.parse, "What this host is behind.")
option("b", "NAT", "port-restricted", words.parse, "What this host is behind.")
option("latency", "MS", "0", cli.amount, "Between host and internet, one way.")
option("jitter", "MS", "0", cli.amount, "Up to so much more or less.")
option("loss", "PERCENT", "0", cli.amount, "Of the packets, each way.")
parser:flag("--ipv6", "Give the hosts IPv6 addresses too.")
for _, kind in ipairs(SERVERS) do
  option(kind[1], "N", tostring(kind[2]), cli.whole, "How many there are.")
end

-- Who is behind NAT64 has IPv6 alone.
local function has_nat64(nats)
  for _, one in ipairs(nats) do
    if one.nat64 then return true end
  end
  return false
end

local function describe(args)
  local hosts, servers = {}, {}
  for _, name in ipairs { "a", "b" } do
    local is_alone = has_nat64(args[name])
    hosts[name] = { nats = args[name], latency = args.latency * MS, jitter = args.jitter * MS,
      loss = args.loss * PERCENT, ipv4 = not is_alone, ipv6 = args.ipv6 or is_alone }
  end
  for _, kind in ipairs(SERVERS) do servers[kind[1]] = args[kind[1]] end
  return { hosts = hosts, servers = servers }
end

local function run_until_end(l)
  cli.print(l:report())
  cli.say "the lab is open until Ctrl-C, or the end of standard input"
  local input = cli.standard_stream(0)
  while input:recv() do end
  return cli.OK
end

local function main(wanted, command)
  local l <close>, reason = lab.open(wanted)
  if l then return command and cli.finish(l:spawn("a", command)) or run_until_end(l) end
  cli.say("%s", reason)
  return cli.FAILED
end

local arguments, command = cli.split_command(...)
local args, status = cli.parse(parser, table.unpack(arguments))
if not args then return status end
local ok, fault = lab.check(describe(args))
if ok and (not command or command[1]) then return cli.run(main, describe(args), command) end
cli.say("%s", fault or "there is no command after --")
return cli.USAGE
