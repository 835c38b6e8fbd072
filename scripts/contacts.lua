-- p2pd contacts: names for peers, which stand for their addresses everywhere.
local cli = require "p2pd.cli"
local contacts = require "p2pd.contacts"
local peer = require "p2pd.peer"

local parser = cli.parser("contacts", "Show, add and remove names for peers. A name may stand wherever a "
  .. "command takes a peer. An address is replaced when the peer tells a newer one.")
parser:epilog "p2pd contacts add NAME ADDRESS|ID; p2pd contacts remove NAME; p2pd contacts list"
parser:command_target "action"
parser:require_command(false)
parser:command("list", "Show all (the default).")
local add = parser:command("add", "Give a peer a name.")
add:argument("name", "A letter, then letters, digits, dots, dashes and underscores.")
add:argument("address", "The peer's address, or its node id.")
add:flag("--replace", "Even if the name is somebody else's.")
parser:command("remove", "Forget a name."):argument "name"

local function list()
  local all, reason, code = contacts.list()
  if not all then return nil, reason, code end
  for _, one in ipairs(all) do cli.print(("%-15s %s"):format(one.name, one.address)) end
  return true
end

local ACTIONS = {
  list = list,
  add = function(args) return contacts.add(args.name, peer.strip(args.address), args.replace) end,
  remove = function(args) return contacts.remove(args.name) end,
}

local function main(args)
  local ok, reason = ACTIONS[args.action or "list"](args)
  if ok then return cli.OK end
  cli.say("%s", reason)
  return cli.FAILED
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
