-- p2pd chat: talk to peers, line by line.
local p2pd = require "p2pd"
local chat = require "p2pd.chat"
local chat_line = require "p2pd.cli.chat_line"
local cli = require "p2pd.cli"
local contacts = require "p2pd.contacts"
local guests = require "p2pd.cli.guests"
local prompt = require "p2pd.cli.prompt"
local whom = require "p2pd.whom"

local parser = cli.add_node_options(cli.parser("chat",
  "Talk to peers, who call or are called. Each line goes to everybody who is there. /who says who that is, "
  .. "/name NAME changes yours, /code shows a code for one more to come, /quit ends it."))
parser:argument("peer", "Whom to call: an address, an id, a contact's name or a code."):args "*"
parser:option("--nick", "What the others see (else the node's name, or $USER)."):argname "NICK"
guests.add_options(cli.add_resume_option(parser))

local function call(talk, screen, text)
  local peer, reason = whom.find(text, { settings = talk.node.settings })
  local address, ok
  if peer then address, reason = peer:reach(talk.node) end
  if address then ok, reason = talk:call(address) end
  if not ok then screen:show(("* %s: %s"):format(text, reason)) end
end

local function main(args)
  local who, reason = guests.new(args, "p2pd chat %s")
  if not who then cli.say("%s", reason) end
  local node <close> = who and cli.start_node(args, { allow = who.allow, protocols = { chat.PROTOCOL } })
  if not node then return cli.FAILED end
  local screen <close> = prompt.open "> "
  if who.needs_address then
    screen:show("address: " .. node.address)
    cli.tell_if_once(node, function(hint) screen:show("* " .. hint) end)
  end
  local talk = chat.new(node, { name = args.nick or args.name or os.getenv "USER" or node.id:sub(1, 4),
    name_of = contacts.name_of,
    on_event = function(...) screen:show(chat.describe(...)) end })
  p2pd.spawn(talk.serve, talk)
  for _, peer in ipairs(args.peer) do p2pd.spawn(call, talk, screen, peer) end
  local room = { talk = talk, screen = screen, guests = who }
  if args.code then chat_line.run(room, "/code") end
  for line in function() return screen:read() end do
    if not chat_line.run(room, line) then break end
  end
  talk:leave()
  return cli.OK
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
