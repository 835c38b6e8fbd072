--- How a connection was made, for people and as JSON.
-- @module p2pd.cli.connection
local advice = require "p2pd.advice"
local cli = require "p2pd.cli"
local clock = require "p2pd.clock"
local colour = require "p2pd.cli.colour"
local json = require "dkjson"
local path_watch = require "p2pd.path_watch"
local task = require "p2pd.task"
local waterfall = require "p2pd.dial.waterfall"

local connection = {}

local RETRY_S, RETRY_MAX_S = 1, 30 -- between two tries

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

--- The same as a table: what `--json` has.
-- @tparam number seconds that it took
-- @tparam ?pipe pipe
-- @tparam ?table failure the error object, when there is no pipe
-- @treturn table `ok`, `strategy`, `seconds`, `peer`, `local`, `remote`, `rtt`, `tls`, `error`, `advice`, and
-- the lists `attempts` and `steps` (see @{p2pd.dial.report})
function connection.describe(seconds, pipe, failure)
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

--- Says on stderr how a connection was made, or why there is none.
-- @tparam table args `explain`, `verbose`, `json`: whether, and how
-- @tparam string name what to call the peer
-- @tparam number seconds that it took
-- @tparam ?pipe pipe
-- @tparam ?table failure the error object, when there is no pipe
function connection.tell(args, name, seconds, pipe, failure)
  local report = connection.describe(seconds, pipe, failure)
  if args.explain then
    explain(name, report, (pipe or failure).report)
  elseif args.verbose and pipe then
    cli.say("connected to %s by %s", name, pipe.strategy)
  end
  if args.json then
    io.stderr:write(json.encode(report, { keyorder = KEYS }), "\n")
  elseif failure then
    cli.say("%s", args.explain and not report.advice and failure.message or advice.sentence(failure, name))
  end
end

-- -- the story of its paths

local GAP_S = 0.01 -- without a path that is worth a line

local function add_path(lines, one, began)
  local how = one.why and ("for %.2f s: %s"):format(one.seconds, one.why) or "to the end"
  lines[#lines + 1] = ("%9.2f s  %-8s %s > %s"):format(began, one.strategy, one["local"] or "?",
    one.remote or "?")
  lines[#lines + 1] = (" "):rep(13) .. how
end

--- The paths that have carried a session, for people.
-- @tparam {table,...} story see @{p2pd.session.paths:tell}
-- @treturn {string,...} lines; none for a session without a path
function connection.story(story)
  local lines, ended = {}, nil
  for _, one in ipairs(story) do
    local began = story[1].since - one.since
    if ended and began - ended > GAP_S then
      lines[#lines + 1] = ("%9.2f s  no path for %.2f s"):format(ended, began - ended)
    end
    add_path(lines, one, began)
    ended = one.why and began + one.seconds
  end
  return lines
end

--- Says on stderr by which paths a pipe went, how long and why no longer.
-- @tparam table args `explain`: whether; `json`: then not
-- @tparam pipe pipe
function connection.tell_story(args, pipe)
  if not args.explain or args.json or not pipe.session then return end
  local lines = connection.story(pipe.session:info().story)
  if lines[1] then cli.say "by these paths:" end
  for _, line in ipairs(lines) do io.stderr:write(line, "\n") end
end

local function connect(node, args, address, name)
  local started = clock.monotonic()
  local pipe, failure = node:connect(address,
    { timeout = args.timeout, strategies = args.strategies, policy = args.policy })
  connection.tell(args, name, clock.monotonic() - started, pipe, failure)
  return pipe
end

--- Connects, and says how or why not.
-- @tparam node node
-- @tparam table args as for @{tell}; `timeout`, `strategies`, `policy`; `retry`: until it succeeds
-- @tparam string address
-- @tparam string name what to call the peer
-- @treturn ?pipe
function connection.open(node, args, address, name)
  local pause = RETRY_S
  while true do
    local pipe = connect(node, args, address, name)
    if pipe or not args.retry then return pipe end
    if not args.json then cli.say("trying again in %d s", pause) end
    task.sleep(pause)
    pause = math.min(2 * pause, RETRY_MAX_S)
  end
end

--- Says why a pipe has ended that should not, and what to do about it.
-- @tparam node node
-- @tparam string reason
-- @tparam string code
-- @treturn integer exit status
function connection.fail(node, reason, code)
  cli.say("%s", cli.describe_end(reason, code))
  local what = code == "EACCES" and advice.of_refusal(reason, node.id, node.name ~= nil)
  if what then cli.say("%s", what) end
  return cli.FAILED
end

--- Says when a pipe has lost its path, and when it goes on by another one. Waits for ever.
-- @tparam pipe pipe
function connection.watch(pipe)
  path_watch.run(pipe, function(strategy)
    if strategy then
      cli.say("the pipe goes on by %s", strategy)
    else
      cli.say "the path to the peer is gone: looking for another"
    end
  end)
end

return connection
