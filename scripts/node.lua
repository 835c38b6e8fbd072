-- p2pd node: a node that accepts pipes; with --echo it sends back what it reads.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local footprint = require "p2pd.cli.footprint"

local parser = cli.add_node_options(cli.parser("node",
  "Run a node. Its address is the first line printed, and printed again when it changes. What peers send is "
  .. "thrown away, unless --echo is given."))
cli.add_acceptor_options(parser)
parser:flag("--echo", "Send back what is read.")

-- How a pipe has ended, and what became of its bytes.
local function tell_end(pipe, echo, count, reason, code)
  local what = reason and cli.describe_end(reason, code) or "the pipe has ended"
  if reason or not echo then
    cli.say("%s: %s, %d bytes were %s", pipe.peer, what, count, echo and "sent back" or "thrown away")
  end
end

-- Reads to the end: how many bytes, and what ended it.
local function consume(pipe, echo)
  local count = 0
  while true do
    local data, reason, code = pipe:recv()
    if not data then return count, reason, code end
    count = count + #data
    if echo then
      local ok, failure, errno = pipe:write(data)
      if not ok then return count, failure, errno end
    end
  end
end

local function serve(accepted, echo)
  local pipe <close> = accepted
  local count, reason, code = consume(pipe, echo)
  cli.drain(pipe)
  tell_end(pipe, echo, count, reason, code)
end

local function tell_addresses(node, last)
  for event in node:events() do
    if event.type == "address" and event.address ~= last then
      last = event.address
      cli.print("address: " .. last)
    end
  end
end

local function main(args)
  local node <close> = cli.start_node(args)
  if not node then return cli.FAILED end
  cli.print("address: " .. node.address)
  if not args.echo then cli.say "what peers send is thrown away (--echo sends it back)" end
  cli.tell_if_once(node, cli.say)
  p2pd.spawn(tell_addresses, node, node.address)
  p2pd.spawn(footprint.keep_small, node)
  for pipe in node:pipes() do
    local info = pipe:info() or {}
    cli.print(("pipe: %s %s %s"):format(pipe.strategy, info.remote, pipe.peer))
    p2pd.spawn(serve, pipe, args.echo)
  end
  return cli.OK
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
