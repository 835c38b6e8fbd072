-- p2pd listen: a pipe that a peer makes is standard input and output, or a program's.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local guests = require "p2pd.cli.guests"
local pipes = require "p2pd.cli.pipes"

local parser = cli.add_node_options(cli.parser("listen",
  "Accept a pipe; what it brings goes to standard output, and standard input to the peer."))
guests.add_options(cli.add_resume_option(cli.add_acceptor_options(parser)))
parser:option("--exec", "Run this command by the shell: its input and output are the pipe."):argname "CMD"
parser:mutex(parser:flag("--once", "Accept one pipe (the default)."),
  parser:flag("--keep", "Accept one pipe after the other."))
parser:flag("--json", "Say what happens as JSON objects, one a line, on standard error.")

-- The pipe's end is the end when nobody but a person, or the next pipe, could end standard input. It ends
-- what it writes to, which the next one needs again.
local function exchange(pipe, args)
  local output <close> = cli.standard_stream(1)
  return pipes.link(pipe, { from = p2pd.stdin, to = output,
    first = args.keep or core.editline.is_terminal(0) })
end

local function execute(pipe, args)
  local child <close>, reason, code = p2pd.process.spawn { "/bin/sh", "-c", args.exec, stdin = "pipe",
    stdout = "pipe", env = { P2PD_PEER = pipe.peer } }
  if not child then return nil, reason, code, { received = 0, sent = 0 } end
  local counts, failed
  counts, reason, code, failed = pipes.link(pipe, { from = child:stdout(), to = child:stdin() })
  if not counts and code ~= "EPIPE" then return nil, reason, code, failed end -- it need not read all
  local how, status = child:wait()
  if how == "exit" and status == 0 then return counts or failed end
  return nil, ("the command ended with %s %d"):format(how, status), "ECHILD", counts or failed
end

local function serve(accepted, args)
  local pipe <close> = accepted
  local begun = pipes.begin(pipe, args.json)
  local counts, reason, _, failed = (args.exec and execute or exchange)(pipe, args)
  cli.drain(pipe)
  pipes.finish(begun, counts or failed, reason)
  return counts and cli.OK or cli.FAILED
end

local function main(args)
  local who, reason = guests.new(args, "p2pd connect %s")
  if not who then cli.say("%s", reason) end
  local node <close> = who and cli.start_node(args, { allow = who.allow })
  if not node then return cli.FAILED end
  who:tell_address(node, function(address)
    pipes.tell(args.json, { event = "listening", address = address }, "address: %s", address)
  end)
  return who:receive(node, function()
    local status
    repeat status = serve(assert(node:accept()), args) until not args.keep
    return status
  end)
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
