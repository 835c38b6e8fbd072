-- p2pd recv: receives files and folders.
local cli = require "p2pd.cli"
local command = require "p2pd.transfer.command"
local core = require "p2pd.core"
local transfer = require "p2pd.transfer"

local parser = command.add_options(cli.parser("recv", "Receive files and folders. Without PEER a code is "
  .. "shown, which the other side types: p2pd send FILE... CODE. What was begun before goes on where "
  .. "it ended."))
parser:argument("peer", "Who sends: a code, an address, an id or a contact's name."):argname "PEER":args "?"
parser:option("--to", "The folder that they go into."):argname "DIR":default "."
parser:flag("--overwrite", "Replace files of the same name.")

local function main(args)
  local is_there, reason = core.folder.resolve(args.to)
  if not is_there then return command.fail(reason) end
  local node <close>, allowed = command.start(args)
  if not node then return cli.FAILED end
  return command.run {
    partner = command.partner(node, allowed, args, args.peer, "p2pd send FILE... %s"),
    work = function(pipe, given)
      given.overwrite = args.overwrite or false
      return transfer.receive(pipe, args.to, given)
    end,
    verb = "received", again = "what has come stays: let it be sent again, and it goes on where it ended",
  }
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
