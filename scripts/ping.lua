-- p2pd ping: round trips to a peer, over signalling and over a pipe.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"

local DIRECT, RELAYED, NONE = 0, 1, 2
local ECHO_WAIT = 1 -- seconds for a peer that may not echo

local parser = cli.add_node_options(cli.parser("ping", "Measure round trips to a peer."))
parser:epilog "Exit status: 0 a direct pipe, 1 a relayed one, 2 none."
parser:argument("address", "The peer's address.")
parser:option("-c --count", "How many of each kind."):argname "N":convert(cli.count):default "3"
parser:option("--timeout", "Seconds for each."):argname "S":convert(cli.seconds):default "10"

local function ping_signalling(node, args)
  for i = 1, args.count do
    local data, seconds = node:echo(args.address, "ping " .. i, args.timeout)
    if not data then return cli.print(("signalling %d: %s"):format(i, seconds)) end
    cli.print(("signalling %d: %.1f ms"):format(i, seconds * 1000))
  end
end

-- A peer that echoes answers each line; of another one the kernel knows the round trip. Whether the peer has
-- taken the pipe.
local function ping_pipe(pipe, count)
  pipe:settimeout(ECHO_WAIT)
  for i = 1, count do
    local started = p2pd.clock.monotonic()
    local ok, reason, code = pipe:write("ping ", i, "\n")
    local line
    if ok then line, reason, code = pipe:read "l" end
    if code == "EACCES" then
      cli.print("pipe: " .. reason)
      return false
    end
    if not line then
      local info = pipe:info()
      cli.print(("pipe: %.2f ms by the kernel's measure (the peer does not echo)")
        :format((info and info.rtt or 0) * 1000))
      return true
    end
    cli.print(("pipe %d: %.2f ms"):format(i, (p2pd.clock.monotonic() - started) * 1000))
  end
  return true
end

local function main(args)
  local node <close>, reason = p2pd.node(cli.node_options(args, { background = true }))
  if not node then
    cli.say("%s", reason)
    return NONE
  end
  ping_signalling(node, args)
  local pipe <close>, failure = node:connect(args.address, { timeout = args.timeout })
  if not pipe then
    cli.print(("pipe: %s"):format(failure))
    return NONE
  end
  cli.print(("pipe: %s to %s"):format(pipe.strategy, pipe:info().remote))
  if not ping_pipe(pipe, args.count) then return NONE end
  return pipe.strategy == "relay" and RELAYED or DIRECT
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
