--- What `p2pd send` and `p2pd recv` share: they find the other side, move files until all are there, and say
-- what has become of each.
-- @module p2pd.transfer.command
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local partner = require "p2pd.transfer.partner"
local progress = require "p2pd.transfer.progress"
local text = require "p2pd.text"
local whom = require "p2pd.whom"

local command = {}

local RESUME_S = 5 -- for a pipe to go on by another path; afterwards the files are taken up by another pipe

local function say_line(line)
  cli.say("%s", line)
end

-- -- what both take

--- Adds what both commands take.
-- @param parser an argparse parser
function command.add_options(parser)
  cli.add_node_options(parser)
  parser:option("--allow", "Wait for this peer, an address, an id or a contact's name, instead of showing a "
    .. "code; may be given again."):argname "PEER":count "*"
  parser:option("--retry", "Seconds for which PEER is looked for again when the pipe has broken (30).")
    :argname "S":convert(cli.amount):default "30"
  parser:epilog "On standard output: the SHA-256 of each file and its name, as sha256sum has them."
  return parser
end

--- Says what is wrong.
-- @tparam string reason
-- @treturn integer exit status
function command.fail(reason)
  cli.say("%s", reason)
  return cli.FAILED
end

--- Starts a node that lets nobody in but whom it is told of; what is wrong is said.
-- @tparam table args
-- @treturn ?node to be closed
-- @treturn table the ids that it lets in, by id
function command.start(args)
  local ids, reason = whom.ids(args.allow, args.settings)
  if not ids then return cli.say("%s", reason) end
  local allowed = {}
  for _, id in ipairs(ids) do allowed[id] = true end
  local started = cli.start_node(args, {
    background = true,
    resume = RESUME_S,
    protocols = { partner.PROTOCOL },
    allow = function(id) return allowed[id] or false end,
  })
  return started, allowed
end

-- -- what is said

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- A line of sha256sum for each file that is there, a complaint for each that is not.
local function tell_event(bar, event)
  bar:clear()
  if event.type == "begin" then
    bar:begin(event.bytes)
    cli.say("receiving %d %s, %s", event.files, event.files == 1 and "file" or "files",
      progress.size(event.bytes))
  elseif event.type == "file" then
    cli.print(("%s  %s"):format(hex(event.digest), text.printable(event.path, 4096)))
  else
    local path = event.path and text.printable(event.path, 4096) .. ": " or ""
    cli.say("%s%s", path, text.printable(event.reason))
  end
end

local function report(verb, summary)
  cli.say("%s: %d %s, %s%s", verb, summary.files, summary.files == 1 and "file" or "files",
    progress.size(summary.bytes), summary.failed > 0 and (", and %d not"):format(summary.failed) or "")
  return summary.failed == 0 and cli.OK or cli.FAILED
end

--- The other side, found as the arguments say.
-- @tparam node started
-- @tparam table allowed
-- @tparam table args
-- @tparam ?string peer
-- @tparam string typed what the other side types, with %s for a code or an address
-- @treturn partner
function command.partner(started, allowed, args, peer, typed)
  return partner.new { node = started, peer = peer, allowed = allowed, waits = #args.allow > 0,
    retry = args.retry, command = typed, say = say_line }
end

-- Once over one pipe.
local function move(options, bar)
  local pipe <close>, reason, code = options.partner:pipe()
  if not pipe then return nil, reason, code, true end
  cli.say("connected by %s", pipe.strategy)
  if options.total then bar:begin(options.total.bytes) end
  return options.work(pipe, {
    on_event = function(event) tell_event(bar, event) end,
    on_bytes = function(count) bar:add(count) end,
  })
end

--- Moves until all is there, over one pipe after the other.
-- @tparam table options `partner`; `work`: function of a pipe and options of @{p2pd.transfer.send}; `verb`
-- for the report; `again`: what is said when it can't go on; `total`
-- @treturn integer exit status: whether every file is there
function command.run(options)
  local bar = progress.new { draw = core.editline.is_terminal(2) and cli.progress or nil, say = say_line }
  while true do
    local summary, reason, code, is_lost = move(options, bar)
    bar:clear()
    if summary then return report(options.verb, summary) end
    cli.say("%s", reason)
    if is_lost or partner.is_final(code) or not options.partner:may_return() then
      if options.partner:was_there() then say_line(options.again) end
      return cli.FAILED
    end
  end
end

return command
