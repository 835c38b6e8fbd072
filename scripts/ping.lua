-- p2pd ping: round trips to a peer, over signalling and over a pipe.
local advice = require "p2pd.advice"
local cli = require "p2pd.cli"
local ping = require "p2pd.cli.ping"

local DIRECT, RELAYED, NONE = 0, 1, 2

local parser = cli.add_node_options(cli.parser("ping",
  "Measure round trips to a peer, until it is interrupted or has done as many as it was told to."))
parser:epilog "Exit status: 0 a direct pipe, 1 a relayed one, 2 none."
parser:argument("peer", "An address, an id, a contact's name or a code."):argname "PEER"
parser:option("-c --count", "How many of each kind (else until Ctrl-C)."):argname "N":convert(cli.count)
parser:option("-i --interval", "Seconds between two over the pipe."):argname "S"
  :convert(cli.seconds):default "1"
parser:option("--timeout", "Seconds for each."):argname "S":convert(cli.seconds):default "10"
cli.add_resume_option(parser)

local function main(args)
  local peer, settings = cli.find_peer(args)
  local node <close> = peer and cli.start_node(args, { background = true, settings = settings })
  local address, name = nil, nil
  if node then address, name = cli.reach(peer, node) end
  if not address then return NONE end
  ping.signalling(node, address, args)
  local pipe <close>, failure = node:connect(address, { timeout = args.timeout })
  if not pipe then
    cli.print("pipe: " .. advice.sentence(failure, name))
    return NONE
  end
  if not ping.pipe(pipe, args) then return NONE end
  return (pipe:info() or pipe).strategy == "relay" and RELAYED or DIRECT
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
