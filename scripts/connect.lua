-- p2pd connect: a careful netcat to a peer.
local p2pd = require "p2pd"
local advice = require "p2pd.advice"
local cli = require "p2pd.cli"
local colour = require "p2pd.cli.colour"
local core = require "p2pd.core"
local json = require "dkjson"
local waterfall = require "p2pd.dial.waterfall"

local RETRY_S, RETRY_MAX_S = 1, 30 -- seconds between two tries

local parser = cli.add_node_options(cli.parser("connect",
  "Connect to a peer; then standard input goes to it and what it sends to standard output."))
parser:argument("address", "The peer's address, or its node id."):argname "PEER"
parser:option("--strategies", "Use these, in this order."):argname "A,B":convert(cli.strategies)
parser:option("--policy", "race: all at once; sequence: one after the other.")
  :choices { "race", "sequence" }:default "race"
parser:option("--timeout", "Seconds to connect in (20)."):argname "S":convert(cli.seconds)
parser:flag("--retry", "Try until it succeeds.")
parser:flag("-v --verbose", "Say on standard error when the peer is connected.")
parser:flag("--json", "Say on standard error, as a JSON object, how the connection was made.")
parser:flag("--explain", "Say on standard error what was tried, when, and what came of it.")

local KEYS = { "ok", "strategy", "kind", "name", "began", "seconds", "reason", "code", "peer", "local",
  "remote", "rtt", "tls", "protocol", "cipher", "ktls", "error", "advice", "attempts", "steps" }

-- Failures stand out, and what was not needed steps back.
local function paint(line)
  if line:find "|[^|]* failed$" then return colour.paint(line, "red", 2) end
  return line:find "|%.*[ .]*|" and colour.paint(line, "dim", 2) or line
end

local function explain(name, report, made)
  if not made then return end
  for _, line in ipairs(waterfall.lines(made)) do io.stderr:write(paint(line), "\n") end
  if not report.ok then return end
  io.stderr:write(("%s to %s\n"):format(report["local"], report.remote))
  cli.say("connected to %s by %s", name, report.strategy)
end

local function list_of(list, keys)
  local result = setmetatable({}, { __jsontype = "array" })
  for i, one in ipairs(list) do
    result[i] = { began = cli.digits(one.began), seconds = cli.digits(one.seconds) }
    for _, key in ipairs(keys) do result[i][key] = one[key] end
  end
  return result
end

local function describe(seconds, pipe, failure)
  local info, from = pipe and pipe:info() or {}, pipe or failure
  return {
    ok = pipe ~= nil, strategy = info.strategy, seconds = cli.digits(seconds), peer = info.peer,
    ["local"] = info["local"], remote = info.remote, rtt = cli.digits(info.rtt), tls = info.tls,
    attempts = list_of(from.attempts, { "strategy", "ok", "reason" }),
    steps = list_of(from.report and from.report.steps or {},
      { "kind", "name", "local", "remote", "ok", "reason", "code", "is_skipped" }),
    error = failure and tostring(failure), advice = failure and advice.of(failure),
  }
end

local function tell(args, name, seconds, pipe, failure)
  local report = describe(seconds, pipe, failure)
  if args.explain then
    explain(name, report, (pipe or failure).report)
  elseif args.verbose and pipe then
    cli.say("connected to %s by %s", name, pipe.strategy)
  end
  if args.json then
    io.stderr:write(json.encode(report, { keyorder = KEYS }), "\n")
  elseif failure then
    cli.say("%s", args.explain and failure.report and failure.message or failure)
    if report.advice then cli.say("%s", report.advice) end
  end
end

-- Copies until the source ends; what went wrong, if anything did.
local function copy(from, to)
  while true do
    local data, reason, code = from:recv()
    if not data then
      cli.drain(to)
      local ok, failure = to:shutdown()
      return reason and cli.describe_end(reason, code) or not ok and failure or nil, code
    end
    local ok, failure = to:write(data)
    if not ok then return failure end
  end
end

-- The pipe's end is the end; the end of standard input only ends our sending half.
local function exchange(node, pipe)
  local input <close> = cli.standard_stream(0)
  local output <close> = cli.standard_stream(1)
  local _ <close> = p2pd.spawn(copy, input, pipe)
  local reason, code = copy(pipe, output)
  if not reason then return cli.OK end
  cli.say("%s", reason)
  local what = code == "EACCES" and advice.of_refusal(reason, node.id)
  if what then cli.say("%s", what) end
  return cli.FAILED
end

local function connect(node, args, address, name)
  local started = p2pd.clock.monotonic()
  local pipe, failure = node:connect(address,
    { timeout = args.timeout, strategies = args.strategies, policy = args.policy })
  tell(args, name, p2pd.clock.monotonic() - started, pipe, failure)
  return pipe
end

local function connect_at_last(node, args, address, name)
  local pause = RETRY_S
  while true do
    local pipe = connect(node, args, address, name)
    if pipe or not args.retry then return pipe end
    if not args.json then cli.say("trying again in %d s", pause) end
    p2pd.sleep(pause)
    pause = math.min(2 * pause, RETRY_MAX_S)
  end
end

local function main(args)
  if args.json and not os.getenv "P2PD_LOG" then core.log.level "error" end -- the object stands alone
  local address, name, settings = cli.find_peer(args)
  if not address then return cli.FAILED end
  local node <close>, reason = p2pd.node(cli.node_options(args, { background = true, settings = settings }))
  if not node then
    cli.say("%s", reason)
    return cli.FAILED
  end
  local pipe <close> = connect_at_last(node, args, address, name)
  return pipe and exchange(node, pipe) or cli.FAILED
end

local args, status = cli.parse(parser, ...)
if not args then return status end
if cli.is_directory(0) then
  cli.say "stdin is a directory"
  return cli.USAGE
end
return cli.run(main, args)
