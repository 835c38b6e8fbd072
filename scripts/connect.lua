-- p2pd connect: a careful netcat to a peer.
local p2pd = require "p2pd"
local advice = require "p2pd.advice"
local cli = require "p2pd.cli"
local connection = require "p2pd.cli.connection"
local core = require "p2pd.core"

local RETRY_S, RETRY_MAX_S = 1, 30 -- seconds between two tries

local parser = cli.add_node_options(cli.parser("connect",
  "Connect to a peer; then standard input goes to it and what it sends to standard output."))
parser:argument("address", "The peer's address, or its node id."):argname "PEER"
parser:option("--strategies", "Use these, in this order."):argname "A,B":convert(cli.strategies)
parser:option("--policy", "race: all at once; sequence: one after the other.")
  :choices { "race", "sequence" }:default "race"
parser:option("--timeout", "Seconds to connect in (20)."):argname "S":convert(cli.seconds)
cli.add_resume_option(parser)
parser:flag("--retry", "Try until it succeeds.")
parser:flag("-v --verbose", "Say on standard error when the peer is connected.")
parser:flag("--json", "Say on standard error, as a JSON object, how the connection was made.")
parser:flag("--explain", "Say on standard error what was tried, when, and what came of it; and at the end "
  .. "by which paths the pipe went.")

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
  local _ <close> = p2pd.spawn(connection.watch, pipe)
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
  connection.tell(args, name, p2pd.clock.monotonic() - started, pipe, failure)
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
  if not pipe then return cli.FAILED end
  local status = exchange(node, pipe)
  connection.tell_story(args, pipe)
  return status
end

local args, status = cli.parse(parser, ...)
if not args then return status end
if cli.is_directory(0) then
  cli.say "stdin is a directory"
  return cli.USAGE
end
return cli.run(main, args)
