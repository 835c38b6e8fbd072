-- p2pd ping: round trips to a peer, over signalling and over a pipe.
local p2pd = require "p2pd"
local advice = require "p2pd.advice"
local cli = require "p2pd.cli"
local round_trips = require "p2pd.cli.round_trips"

local DIRECT, RELAYED, NONE = 0, 1, 2
local ECHO_WAIT = 1 -- seconds for a peer that may not echo

local parser = cli.add_node_options(cli.parser("ping",
  "Measure round trips to a peer, until it is interrupted or has done as many as it was told to."))
parser:epilog "Exit status: 0 a direct pipe, 1 a relayed one, 2 none."
parser:argument("peer", "An address, an id, a contact's name or a code."):argname "PEER"
parser:option("-c --count", "How many of each kind (else until Ctrl-C)."):argname "N":convert(cli.count)
parser:option("-i --interval", "Seconds between two over the pipe."):argname "S"
  :convert(cli.seconds):default "1"
parser:option("--timeout", "Seconds for each."):argname "S":convert(cli.seconds):default "10"
cli.add_resume_option(parser)

local SIGNALLING = 3 -- round trips, when no count is given

-- -- signalling

local function ping_signalling(node, args, address)
  local trips = round_trips.new "signalling"
  for i = 1, args.count or SIGNALLING do
    trips.sent = i
    local data, seconds = node:echo(address, "ping " .. i, args.timeout)
    if not data then return cli.print(("signalling %d: %s"):format(i, seconds)) end
    trips:add(seconds)
    cli.print(("signalling %d: %.1f ms"):format(i, seconds * 1000))
  end
  cli.print(trips:summary())
end

-- -- the pipe

-- A line there and back: its seconds; or nil, message, code. Answers that come too late are passed over.
local function ping_once(pipe, i)
  local started, sent = p2pd.clock.monotonic(), "ping " .. i
  local ok, reason, code = pipe:write(sent, "\n")
  while ok do
    ok, reason, code = pipe:read "l"
    if ok == sent then return p2pd.clock.monotonic() - started end
  end
  return nil, reason or "the peer has ended the pipe", code
end

-- Of a peer that does not echo the kernel knows the round trip.
local function tell_kernel(pipe)
  local info = pipe:info()
  cli.print(("pipe: %.2f ms by the kernel's measure (the peer does not echo)")
    :format((info and info.rtt or 0) * 1000))
end

-- Whether to go on after a ping; nil when the peer has not taken the pipe.
local function tell_one(pipe, trips, i, seconds, reason, code)
  if not seconds and i == 1 and code == "ETIMEDOUT" then
    trips.sent = 0
    tell_kernel(pipe)
    return false
  end
  if code == "EACCES" then
    trips.sent = 0
    cli.print("pipe: " .. reason:gsub("^%a+: ", ""))
    return nil
  end
  if seconds then trips:add(seconds) end
  cli.print(("pipe %d: %s"):format(i, seconds and ("%.2f ms"):format(seconds * 1000)
    or code == "ETIMEDOUT" and "no answer in time" or cli.describe_end(reason, code)))
  return seconds ~= nil or code == "ETIMEDOUT"
end

-- It is said however the command ends: Ctrl-C ends it anywhere.
local function summarize_at_end(trips)
  return setmetatable({}, { __close = function()
    if trips.sent > 0 then cli.print(trips:summary()) end
  end })
end

-- Whether the peer has taken the pipe, and keeps it.
local function ping_pipe(pipe, args)
  local trips, path, i = round_trips.new "pipe", round_trips.path(pipe), 0
  local _ <close> = summarize_at_end(trips)
  while not args.count or i < args.count do
    pipe:settimeout(i == 0 and ECHO_WAIT or args.timeout)
    i = i + 1
    trips.sent = i
    local seconds, reason, code = ping_once(pipe, i)
    local goes_on = tell_one(pipe, trips, i, seconds, reason, code)
    if not goes_on then return goes_on ~= nil and trips.sent == 0 end
    local change = path:change()
    if change then cli.print("pipe: " .. change) end
    if i ~= args.count then p2pd.sleep(args.interval) end
  end
  return true
end

local function main(args)
  local peer, settings = cli.find_peer(args)
  if not peer then return NONE end
  local node <close>, reason = p2pd.node(cli.node_options(args, { background = true, settings = settings }))
  if not node then
    cli.say("%s", reason)
    return NONE
  end
  local address = cli.reach(peer, node)
  if not address then return NONE end
  ping_signalling(node, args, address)
  local pipe <close>, failure = node:connect(address, { timeout = args.timeout })
  if not pipe then
    cli.print(("pipe: %s"):format(failure))
    local what = advice.of(failure)
    if what then cli.say("%s", what) end
    return NONE
  end
  cli.print("pipe: " .. round_trips.path(pipe).now)
  if not ping_pipe(pipe, args) then return NONE end
  return (pipe:info() or pipe).strategy == "relay" and RELAYED or DIRECT
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
