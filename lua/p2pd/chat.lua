--- Talk among nodes, line by line. Each pair that talks has a pipe of the protocol "chat/1"; see
-- @{p2pd.chat.message} for what goes over it. What one says goes to everybody whom he has a pipe with, and
-- they pass it on to who has none.
-- @classmod p2pd.chat
local advice = require "p2pd.advice"
local message = require "p2pd.chat.message"
local passing = require "p2pd.chat.passing"
local path_watch = require "p2pd.path_watch"
local task = require "p2pd.task"
local text = require "p2pd.text"

local chat = {}

chat.PROTOCOL = "chat/1"

local HELLO_S = 10 -- until the peer has said its name, and for it to take a line

local LINES = {
  joined = function(who, how) return ("* %s is here (%s)"):format(who, how) end,
  said = function(who, said, by) return ("%s%s: %s"):format(who, by and (" (%s)"):format(by) or "", said) end,
  renamed = function(who, now) return ("* %s is now %s"):format(who, now) end,
  lost = function(who) return ("* the path to %s is gone: looking for another"):format(who) end,
  back = function(who, how) return ("* %s is here again (%s)"):format(who, how) end,
  left = function(who, why) return ("* %s has left%s"):format(who, why and ": " .. why or "") end,
}

--- What has happened, as a line for people.
-- @tparam string kind
-- @param ... what else `on_event` was called with
-- @treturn string
function chat.describe(kind, ...)
  return LINES[kind](...)
end

local Chat = { __name = "p2pd.chat" }
Chat.__index = Chat

-- Two who call each other at the same time have two pipes.
local function is_here(self, id)
  for member in pairs(self.members) do
    if member.id == id then return true end
  end
  return false
end

-- The members, each peer once.
local function everybody(self)
  local by_id, list = {}, {}
  for member in pairs(self.members) do
    local other = by_id[member.id]
    if not other or member.pipe.id < other.pipe.id then by_id[member.id] = member end
  end
  for _, member in pairs(by_id) do list[#list + 1] = member end
  return list
end

local function send_all(pipe, ...)
  for _, bytes in ipairs { ... } do
    if not pipe:send(bytes) then return false end
  end
  return true
end

-- Tells members something, side by side; waits while they are slow.
local function tell(members, ...)
  local sending <close> = task.group()
  local tasks = {}
  for i, member in ipairs(members) do tasks[i] = sending:spawn(send_all, member.pipe, ...) end
  for i, one in ipairs(tasks) do
    if not one:join(HELLO_S) then members[i].pipe:close() end -- half a message would spoil what follows
  end
  return tasks[1] ~= nil
end

-- A name that nobody else has just now: what the user calls him, or else what he calls himself, with his id.
local function call(self, id, nick)
  return self.name_of and self.name_of(id) or ("%s~%s"):format(nick, id:sub(1, 4))
end

local function new_passing(self)
  return passing.new { id = self.node.id,
    members = function() return everybody(self) end,
    is_here = function(id) return is_here(self, id) end,
    tell = tell,
    call = function(...) return call(self, ...) end,
    on_event = function(kind, who, what, by)
      self.on_event(kind, who, kind == "said" and text.printable(what, message.MAX) or what, by)
    end }
end

--- Makes one.
-- @tparam node node
-- @tparam table options `name`: what we are called; `name_of`: function of a peer's id, what the user calls
-- it, or nil; `on_event`: called with "joined", "said", "lost" (his path), "back", "left" or "renamed", who
-- it is, a text or reason, and of "said" by whom it was passed on, when it was
-- @treturn chat
function chat.new(node, options)
  local self = setmetatable({ node = node, name = options.name, name_of = options.name_of,
    on_event = options.on_event, members = {} }, Chat)
  self.passing = new_passing(self)
  return self
end

local function rename(self, member, said)
  local was = member.name
  member.nick = message.nick(said)
  member.name = call(self, member.id, member.nick)
  if was ~= member.name then self.on_event("renamed", was, member.name) end
  self.passing:announce(member)
end

local HANDLERS = {
  line = function(_, member, id) member.line = id end,
  say = function(self, member, said)
    local line = member.line or message.new_line()
    member.line = nil
    self.on_event("said", member.name, text.printable(said, message.MAX))
    self.passing:take(member, line, said)
  end,
  name = rename,
}

-- Greets and is greeted: the member, or nil, message, code.
local function greet(self, pipe)
  pipe:settimeout(HELLO_S)
  local ok, reason, code = pipe:send("name " .. self.name)
  local first
  if ok then first, reason, code = pipe:receive(message.MAX) end
  pipe:settimeout(nil)
  local kind, said = message.parse(first or "")
  if kind ~= "name" then
    return nil, reason or "the peer does not speak as one chats", code or "EPROTO"
  end
  local nick = message.nick(said)
  return { pipe = pipe, id = pipe.peer, nick = nick, name = call(self, pipe.peer, nick) }
end

local function listen_to(self, member)
  while true do
    local bytes, reason = member.pipe:receive(message.MAX)
    if not bytes then return reason and reason:gsub(" %(.*$", "") or "hung up" end
    local kind, value = message.parse(bytes)
    if kind == "bye" then return nil end
    if HANDLERS[kind] then
      HANDLERS[kind](self, member, value)
    else
      self.passing:handle(member, kind, value)
    end
  end
end

-- Somebody is there from here until he leaves.
local function attend(self, accepted)
  local pipe <close> = accepted
  local member, reason, code = greet(self, pipe)
  if not member then return nil, reason, code end
  local was_here = is_here(self, pipe.peer)
  local _ <close> = setmetatable({}, { __close = function() self.members[member] = nil end })
  self.members[member] = true
  if not was_here then
    self.on_event("joined", member.name, pipe.strategy)
    self.passing:welcome(member)
  end
  local _ <close> = task.spawn(path_watch.run, pipe, function(how)
    self.on_event(how and "back" or "lost", member.name, how)
  end)
  local why = listen_to(self, member)
  self.members[member] = nil
  if not is_here(self, pipe.peer) then
    self.on_event("left", member.name, why)
    self.passing:farewell(member)
  end
  return true
end

--- Takes peers that come, until the node is closed; waits.
function Chat:serve()
  local peers <close> = task.group()
  for pipe in self.node:pipes(chat.PROTOCOL) do peers:detach(attend, self, pipe) end
end

--- Talks with a peer until he leaves; waits.
-- @tparam string address
-- @treturn boolean true; or nil, message, code when there was no talk
function Chat:call(address)
  local pipe, failure = self.node:connect(address, { protocol = chat.PROTOCOL })
  if not pipe then return nil, advice.sentence(failure), failure.code end
  return attend(self, pipe)
end

--- Says a line to everybody who is there; waits while they are slow.
-- @tparam string line
-- @treturn boolean whether anybody is
function Chat:say(line)
  return tell(everybody(self), "line " .. message.new_line(), "say " .. line:sub(1, message.TEXT_MAX))
end

--- Changes what we are called.
-- @tparam string name
function Chat:rename(name)
  self.name = name
  tell(everybody(self), "name " .. name)
end

--- Who is there.
-- @treturn {string,...} names, sorted
function Chat:who()
  local names = self.passing:who()
  for _, member in ipairs(everybody(self)) do names[#names + 1] = member.name end
  table.sort(names)
  return names
end

--- Says goodbye to everybody.
function Chat:leave()
  tell(everybody(self), "bye")
end

return chat
