-- p2pd send: files and folders to a peer.
local cli = require "p2pd.cli"
local command = require "p2pd.transfer.command"
local config = require "p2pd.config"
local core = require "p2pd.core"
local partner = require "p2pd.transfer.partner"
local transfer = require "p2pd.transfer"

local parser = command.add_options(cli.parser("send", "Send files and folders. Without PEER a code is shown, "
  .. "which the other side types: p2pd recv CODE. What is sent again goes on where it ended."))
parser:argument("file", "Files and folders; last, perhaps, PEER: a code, an address, an id or a contact's "
  .. "name."):argname "FILE":args "+"

-- The last one may be the peer: when it is no file.
local function split(files, settings)
  local last = files[#files]
  if #files == 1 or core.folder.resolve(last) or not partner.is_partner(last, settings) then return files end
  return table.move(files, 1, #files - 1, 1, {}), last
end

local function main(args)
  local settings, reason = config.resolve(args.settings)
  if not settings then return command.fail(reason) end
  local files, peer = split(args.file, settings)
  local total
  total, reason = transfer.count(files)
  if not total then return command.fail(reason) end
  local node <close>, allowed = command.start(args)
  if not node then return cli.FAILED end
  return command.run {
    partner = command.partner(node, allowed, args, peer, "p2pd recv %s"),
    work = function(pipe, given)
      given.total = total
      return transfer.send(pipe, files, given)
    end,
    verb = "sent", total = total,
    again = "send it again, by a new code if it was one, and it goes on where it ended",
  }
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
