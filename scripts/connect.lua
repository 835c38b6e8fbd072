-- p2pd connect: a careful netcat to a peer.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local connection = require "p2pd.cli.connection"
local core = require "p2pd.core"
local pipes = require "p2pd.cli.pipes"

local parser = cli.add_node_options(cli.parser("connect",
  "Connect to a peer; then standard input goes to it and what it sends to standard output."))
parser:argument("peer", "An address, an id, a contact's name or a code."):argname "PEER"
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

-- The pipe's end is the end; the end of standard input only ends our sending half.
local function exchange(node, pipe)
  local _ <close> = p2pd.spawn(connection.watch, pipe)
  local counts, reason, code = pipes.link(pipe, { from = p2pd.stdin, to = p2pd.stdout, first = true })
  if not counts then return connection.fail(node, reason, code) end
  cli.drain(pipe)
  return cli.OK
end

local function main(args)
  if args.json and not os.getenv "P2PD_LOG" then core.log.level "error" end -- the object stands alone
  local peer, settings = cli.find_peer(args)
  local node <close> = peer and cli.start_node(args, { background = true, settings = settings })
  local address, name = nil, nil
  if node then address, name = cli.reach(peer, node) end
  if not address then return cli.FAILED end
  local pipe <close> = connection.open(node, args, address, name)
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
