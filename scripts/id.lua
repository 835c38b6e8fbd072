-- p2pd id: the node id of a name.
local cli = require "p2pd.cli"
local keyring = require "p2pd.keyring"

local parser = cli.parser("id", "Show a node's id. Its key is made on first use.")
parser:option("--name", "The node's name; without one, the id is of a new key that is not kept."):argname "N"

local function main(args)
  local key <close>, reason = keyring.open(args.name)
  if not key then
    cli.say("%s", reason)
    return cli.FAILED
  end
  cli.print(key:id())
  return cli.OK
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
