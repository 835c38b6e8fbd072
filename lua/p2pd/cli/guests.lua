--- Whom a command lets in: the peers of `--allow`, and who types the code that `--code` shows.
-- @classmod p2pd.cli.guests
local cli = require "p2pd.cli"
local codes = require "p2pd.code"
local pipes = require "p2pd.cli.pipes"
local task = require "p2pd.task"
local whom = require "p2pd.whom"

local guests = {}

local COME_S = 60 -- until a code is taken away that has been used: messages get lost, and the peer asks again

local Guests = { __name = "p2pd.cli.guests" }
Guests.__index = Guests

--- The options of commands that let peers in.
-- @param parser an argparse parser
function guests.add_options(parser)
  parser:option("--allow", "Let this peer in, an address, an id or a contact's name, and no other; may be "
    .. "given again."):argname "PEER":count "*"
  parser:flag("--code", "Show a code: who types it on the other side is let in, and no other.")
  return parser
end

--- Those of a command's arguments.
-- @tparam table args `allow`, `code`, `json`, `settings`, `allow_anybody`
-- @tparam string command what the other side types, with %s for the code
-- @treturn guests `ids`: of `--allow`; `allow` for @{p2pd.node}, nil when anybody may come; `needs_address`:
-- whether somebody is let in by the address; or nil, message, code
function guests.new(args, command)
  local ids, reason, code = whom.ids(args.allow, args.settings)
  if not ids then return nil, reason, code end
  local self = setmetatable({ ids = ids, by_id = {}, command = command, shows_code = args.code or false,
    as_json = args.json }, Guests)
  for _, id in ipairs(ids) do self.by_id[id] = true end
  self.needs_address = ids[1] ~= nil or args.allow_anybody or not args.code
  if (ids[1] or args.code) and not args.allow_anybody then
    self.allow = function(id) return self.by_id[id] or false end
  end
  return self
end

--- Tells the node's address, which the other side has to type, and that it is good for this run alone. Nobody
-- needs it who has the code; programs (`--json`) get it anyway, since then the node is there.
-- @tparam node node
-- @tparam function tell is given the address
function Guests:tell_address(node, tell)
  if not self.needs_address and not self.as_json then return end
  tell(node.address)
  if not self.as_json then cli.tell_if_once(node, cli.say) end
end

-- How it is said without a screen: on standard error.
local function speak(self)
  return function(event, format, ...)
    pipes.tell(self.as_json, event, format, ...)
  end
end

-- On a screen, where other lines are, too.
local function show_on(screen)
  return function(_, format, ...)
    for line in format:format(...):gmatch "[^\n]+" do screen:show("* " .. line) end
  end
end

-- The code's life: it is over when somebody has used it, or nobody can any more.
local function invite(self, node, tell)
  local offer <close>, reason = codes.offer(node)
  local id, errcode
  if offer then
    tell({ event = "code", code = offer.text }, "on the other side, type:\n    " .. self.command, offer.text)
    reason, id, errcode = offer:wait()
    if errcode then reason = id end
  end
  if not offer or errcode then
    tell({ event = "refused", reason = reason }, "%s", reason)
    return false
  end
  self.by_id[id] = true
  task.sleep(COME_S)
  return true
end

--- Shows a code, waits for who types it, and lets him in.
-- @tparam node node
-- @tparam[opt] table screen with a method `show` for lines; without it, it is said on standard error
-- @treturn boolean whether somebody has been let in
function Guests:invite(node, screen)
  return invite(self, node, screen and show_on(screen) or speak(self))
end

-- A code that is over without a guest ends the command, unless others may come.
local function show_code(self, node)
  local is_used = self:invite(node)
  if is_used or self.ids[1] then return nil, "over" end
  return cli.FAILED
end

--- Runs what a command does for its guests, beside the code that it shows. A code that nobody has used, or a
-- wrong one has used up, ends it, unless somebody else is let in.
-- @tparam node node
-- @tparam function work
-- @treturn integer the exit status: that of `work`, or 1
function Guests:receive(node, work)
  if not self.shows_code then return work() end
  local status, failure = task.race { work, function() return show_code(self, node) end }
  if not status then error(failure, 0) end -- what `work` raised
  return status
end

return guests
