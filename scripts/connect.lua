-- p2pd connect: a careful netcat to a peer.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local json = require "dkjson"

local parser = cli.add_node_options(cli.parser("connect",
  "Connect to a peer; then standard input goes to it and what it sends to standard output."))
parser:argument("address", "The peer's address.")
parser:option("--strategies", "Use these, in this order."):argname "A,B":convert(cli.strategies)
parser:option("--policy", "race: all at once; sequence: one after the other.")
  :choices { "race", "sequence" }:default "race"
parser:option("--timeout", "Seconds to connect in (20)."):argname "S":convert(cli.seconds)
parser:flag("--json", "Say on standard error, as a JSON object, how the connection was made.")
parser:flag("--explain", "Say on standard error what was tried.")

local KEYS = { "ok", "strategy", "began", "seconds", "reason", "peer", "local", "remote", "rtt", "tls",
  "protocol", "cipher", "ktls", "error", "attempts" }

local function explain(report)
  for _, attempt in ipairs(report.attempts) do
    cli.say("%-8s %6.0f ms  %s", attempt.strategy, attempt.seconds * 1000,
      attempt.ok and "connected" or attempt.reason)
  end
  if not report.ok then return end
  local ends = report["local"] and report.remote and ("%s to %s, "):format(report["local"], report.remote)
  cli.say("%sby %s", ends or "connected ", report.strategy)
end

local function attempts_of(list)
  local result = setmetatable({}, { __jsontype = "array" })
  for i, attempt in ipairs(list) do
    result[i] = { strategy = attempt.strategy, ok = attempt.ok, reason = attempt.reason,
      began = cli.digits(attempt.began), seconds = cli.digits(attempt.seconds) }
  end
  return result
end

local function tell(args, seconds, pipe, failure)
  local info = pipe and pipe:info() or {}
  local report = {
    ok = pipe ~= nil, strategy = info.strategy, seconds = cli.digits(seconds), peer = info.peer,
    ["local"] = info["local"], remote = info.remote, rtt = cli.digits(info.rtt), tls = info.tls,
    attempts = attempts_of(pipe and pipe.attempts or failure.attempts),
    error = failure and tostring(failure),
  }
  if args.explain then explain(report) end
  if args.json then io.stderr:write(json.encode(report, { keyorder = KEYS }), "\n") end
end

-- Copies until the source ends; what went wrong, if anything did.
local function copy(from, to)
  while true do
    local data, reason = from:recv()
    if not data then
      cli.drain(to)
      local ok, failure = to:shutdown()
      return reason or not ok and failure or nil
    end
    local ok, failure = to:write(data)
    if not ok then return failure end
  end
end

-- The pipe's end is the end; the end of standard input only ends our sending half.
local function exchange(pipe)
  local input <close> = cli.standard_stream(0)
  local output <close> = cli.standard_stream(1)
  local _ <close> = p2pd.spawn(copy, input, pipe)
  local reason = copy(pipe, output)
  if not reason then return cli.OK end
  cli.say("%s", reason)
  return cli.FAILED
end

local function main(args)
  if args.json and not os.getenv "P2PD_LOG" then core.log.level "error" end -- the object stands alone
  local node <close>, reason = p2pd.node(cli.node_options(args, { background = true }))
  if not node then
    cli.say("%s", reason)
    return cli.FAILED
  end
  local started = p2pd.clock.monotonic()
  local pipe <close>, failure = node:connect(args.address,
    { timeout = args.timeout, strategies = args.strategies, policy = args.policy })
  tell(args, p2pd.clock.monotonic() - started, pipe, failure)
  if pipe then return exchange(pipe) end
  if not args.json then cli.say("%s", failure) end
  return cli.FAILED
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
