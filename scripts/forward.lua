-- p2pd forward: a local port, unix socket or SOCKS5 proxy that leads to what a peer exposes.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local endpoint = require "p2pd.endpoint"
local forward = require "p2pd.forward"
local pipes = require "p2pd.cli.pipes"
local socks = require "p2pd.socks"

local parser = cli.add_node_options(cli.parser("forward",
  "Listen on a local port; each connection goes to a service that the peer exposes (`p2pd expose`)."))
parser:argument("place", "A port, HOST:PORT, or a unix socket's path.")
parser:argument("peer", "An address, an id, a contact's name or a code, perhaps with a service: bob:ssh.")
parser:flag("--socks", "Be a SOCKS5 proxy: hosts are the names of services, or what is exposed.")
parser:flag("-v --verbose", "Tell of each connection's beginning and end.")
cli.add_resume_option(parser)
parser:flag("--json", "Say what happens as JSON objects, one a line, on standard error.")

local SAID = { begin = "connection begin", ["end"] = "connection end", refused = "connection refused",
  lost = "the path to the peer is gone: looking for another", back = "the connections go on" }

local function tell(args)
  return function(kind, event)
    local is_end = kind == "begin" or kind == "end"
    if is_end and not event.reason and not args.verbose and not args.json then return end
    local counts = event.counts or {}
    pipes.tell(args.json, { event = kind, strategy = event.pipe and event.pipe.strategy, sent = counts.sent,
      received = counts.received, reason = event.reason },
      SAID[kind] .. "%s%s", pipes.count(counts), pipes.because(event.reason))
  end
end

local function main(args)
  local peer, _, service = cli.find_service(args)
  local listener <close>, reason = p2pd.tcp.listen(args.place)
  if not listener then cli.say("%s", reason) end
  local node <close> = peer and listener and cli.start_node(args)
  local address = node and cli.reach(peer, node)
  if not address then return cli.FAILED end
  local ip, port = listener:getsockname()
  cli.print("listening: " .. (port and endpoint.format(ip, port) or ip))
  local function open(_, wanted) return forward.open(node, address, wanted or service) end
  local function open_by_socks(stream) return socks.open(stream, open) end
  forward.listen(listener, args.socks and open_by_socks or open, tell(args))
  return cli.OK
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
