-- p2pd expose: services of this machine, for the peers that one lets in.
local cli = require "p2pd.cli"
local forward = require "p2pd.forward"
local guests = require "p2pd.cli.guests"
local pipes = require "p2pd.cli.pipes"
local whom = require "p2pd.whom"

local parser = cli.add_node_options(cli.parser("expose",
  "Let peers connect to services of this machine, by `p2pd forward` on theirs."))
parser:argument("service", "HOST:PORT, a unix socket's path, or either behind a name: ssh=127.0.0.1:22. "
  .. "The first one is what a peer gets who names none."):args "+"
guests.add_options(cli.add_resume_option(cli.add_acceptor_options(parser)))
parser:flag("--allow-anybody", "Let everybody in who knows the address.")
parser:flag("--json", "Say what happens as JSON objects, one a line, on standard error.")

local function tell(as_json)
  return function(kind, event)
    local counts, name = event.counts or {}, whom.name(event.pipe.peer)
    local service = event.service == "" and "the first service" or event.service or "a service"
    pipes.tell(as_json, { event = kind, peer = event.pipe.peer, name = name, strategy = event.pipe.strategy,
      service = event.service, received = counts.received, sent = counts.sent, reason = event.reason },
      "%s: %s: %s%s%s", name, service, kind, pipes.count(counts), pipes.because(event.reason))
  end
end

local function main(args)
  local services, reason = forward.services(args.service)
  local who
  if services then who, reason = guests.new(args, "p2pd forward PORT %s") end
  if not who then cli.say("%s", reason) end
  local node <close> = who and cli.start_node(args, { allow = who.allow,
    trust = who.ids, protocols = { forward.PROTOCOL } })
  if not node then return cli.FAILED end
  who:tell_address(node, function(address) cli.print("address: " .. address) end)
  return who:receive(node, function()
    forward.serve(node, services, tell(args.json))
    return cli.OK
  end)
end

local args, status = cli.parse(parser, ...)
if not args then return status end
if #args.allow == 0 and not args.code and not args.allow_anybody then
  cli.say "say who may connect: --code, --allow PEER, or --allow-anybody"
  return cli.USAGE
end
return cli.run(main, args)
