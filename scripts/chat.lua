-- p2pd chat: talk to peers, line by line.
local p2pd = require "p2pd"
local chat = require "p2pd.chat"
local cli = require "p2pd.cli"
local contacts = require "p2pd.contacts"
local prompt = require "p2pd.cli.prompt"
local whom = require "p2pd.cli.whom"

local parser = cli.add_node_options(cli.parser("chat",
  "Talk to peers, who call or are called. Each line goes to everybody who is there. /who says who that is, "
  .. "/name NAME changes yours, /quit ends it."))
parser:argument("peer", "Whom to call: an address, an id or a name."):args "*"
parser:option("--name", "A name for the node, under which its key is kept."):argname "N"
parser:option("--nick", "What the others see (else the node's name, or $USER)."):argname "NICK"
parser:option("--allow", "Let this peer in and no other; may be given again."):argname "PEER":count "*"

local function run_line(talk, screen, line)
  local command, rest = line:match "^/(%a+)%s*(.-)%s*$"
  if command == "quit" then return false end
  if command == "who" then
    screen:show("* here: " .. table.concat({ talk.name, table.unpack(talk:who()) }, ", "))
  elseif command == "name" and rest ~= "" then
    talk:rename(rest)
  elseif command then
    screen:show "* /who, /name NAME, /quit"
  elseif line ~= "" and not talk:say(line) then
    screen:show "* nobody is here"
  end
  return true
end

local function call(talk, screen, who, settings)
  local address, reason = whom.find(who, settings)
  local ok
  if address then ok, reason = talk:call(address) end
  if not ok then screen:show(("* %s: %s"):format(who, reason)) end
end

local function main(args)
  local allow, reason = whom.ids(args.allow, args.settings)
  if not allow then cli.say("%s", reason) end
  local node <close> = allow and cli.start_node(args,
    { allow = allow[1] and allow or nil, protocols = { chat.PROTOCOL } })
  if not node then return cli.FAILED end
  local screen <close> = prompt.open "> "
  screen:show("address: " .. node.address)
  local talk = chat.new(node, { name = args.nick or args.name or os.getenv "USER" or node.id:sub(1, 4),
    name_of = contacts.name_of,
    on_event = function(...) screen:show(chat.describe(...)) end })
  p2pd.spawn(talk.serve, talk)
  for _, who in ipairs(args.peer) do p2pd.spawn(call, talk, screen, who, args.settings) end
  for line in function() return screen:read() end do
    if not run_line(talk, screen, line) then break end
  end
  talk:leave()
  return cli.OK
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
