--- Talk among nodes, line by line. Each pair that talks has a pipe of the protocol "chat/1"; its messages are
-- "name NAME", "say TEXT" and "bye". What one says goes to everybody whom he has a pipe with.
-- @classmod p2pd.chat
local path_watch = require "p2pd.path_watch"
local task = require "p2pd.task"
local text = require "p2pd.text"

local chat = {}

chat.PROTOCOL = "chat/1"

local MESSAGE_MAX = 16 * 1024 -- bytes
local NAME_MAX = 32           -- bytes
local HELLO_S = 10            -- until the peer has said its name, and for it to take a line

local LINES = {
  joined = function(who, how) return ("* %s is here (%s)"):format(who, how) end,
  said = function(who, said) return ("%s: %s"):format(who, said) end,
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

--- Makes one.
-- @tparam node node
-- @tparam table options `name`: what we are called; `name_of`: function of a peer's id, what the user calls
-- it, or nil; `on_event`: called with "joined", "said", "lost" (his path), "back", "left" or "renamed", who
-- it is, and a text or reason
-- @treturn chat
function chat.new(node, options)
  return setmetatable({ node = node, name = options.name, name_of = options.name_of,
    on_event = options.on_event, members = {} }, Chat)
end

-- A name that nobody else has just now: what the user calls him, or else what he calls himself, with his id.
local function called(self, pipe, said)
  local known = self.name_of and self.name_of(pipe.peer)
  return known or ("%s~%s"):format(text.printable(said, NAME_MAX):gsub("[%s~]", "_"), pipe.peer:sub(1, 4))
end

local HANDLERS = {
  say = function(self, member, said)
    self.on_event("said", member.name, text.printable(said, MESSAGE_MAX))
  end,
  name = function(self, member, said)
    local was = member.name
    member.name = called(self, member.pipe, said)
    if was ~= member.name then self.on_event("renamed", was, member.name) end
  end,
}

-- Greets and is greeted: the member, or nil, message, code.
local function greet(self, pipe)
  pipe:settimeout(HELLO_S)
  local ok, reason, code = pipe:send("name " .. self.name)
  local first
  if ok then first, reason, code = pipe:receive(MESSAGE_MAX) end
  pipe:settimeout(nil)
  local said = first and first:match "^name (.+)$"
  if not said then return nil, reason or "the peer does not speak as one chats", code or "EPROTO" end
  return { pipe = pipe, name = called(self, pipe, said) }
end

local function listen_to(self, member)
  while true do
    local message, reason = member.pipe:receive(MESSAGE_MAX)
    if not message then return reason and reason:gsub(" %(.*$", "") or "hung up" end
    local kind, rest = message:match "^(%a+) ?(.*)$"
    if kind == "bye" then return nil end
    if HANDLERS[kind] then HANDLERS[kind](self, member, rest) end
  end
end

-- Two who call each other at the same time have two pipes.
local function is_here(self, id)
  for member in pairs(self.members) do
    if member.pipe.peer == id then return true end
  end
  return false
end

-- The members, each peer once.
local function everybody(self)
  local by_id, list = {}, {}
  for member in pairs(self.members) do
    local other = by_id[member.pipe.peer]
    if not other or member.pipe.id < other.pipe.id then by_id[member.pipe.peer] = member end
  end
  for _, member in pairs(by_id) do list[#list + 1] = member end
  return list
end

-- Somebody is there from here until he leaves.
local function attend(self, accepted)
  local pipe <close> = accepted
  local member, reason, code = greet(self, pipe)
  if not member then return nil, reason, code end
  local was_here = is_here(self, pipe.peer)
  local _ <close> = setmetatable({}, { __close = function() self.members[member] = nil end })
  self.members[member] = true
  if not was_here then self.on_event("joined", member.name, pipe.strategy) end
  local _ <close> = task.spawn(path_watch.run, pipe, function(how)
    self.on_event(how and "back" or "lost", member.name, how)
  end)
  local why = listen_to(self, member)
  self.members[member] = nil
  if not is_here(self, pipe.peer) then self.on_event("left", member.name, why) end
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
  if not pipe then return nil, tostring(failure), failure.code end
  return attend(self, pipe)
end

local function tell_all(self, message)
  local sending <close> = task.group()
  local members, tasks = everybody(self), {}
  for i, member in ipairs(members) do
    tasks[i] = sending:spawn(member.pipe.send, member.pipe, message)
  end
  for i, one in ipairs(tasks) do
    if not one:join(HELLO_S) then members[i].pipe:close() end -- half a message would spoil what follows
  end
  return tasks[1] ~= nil
end

--- Says a line to everybody who is there; waits while they are slow.
-- @tparam string line
-- @treturn boolean whether anybody is
function Chat:say(line)
  return tell_all(self, "say " .. line:sub(1, MESSAGE_MAX - 8))
end

--- Changes what we are called.
-- @tparam string name
function Chat:rename(name)
  self.name = name
  tell_all(self, "name " .. name)
end

--- Who is there.
-- @treturn {string,...} names, sorted
function Chat:who()
  local names = {}
  for i, member in ipairs(everybody(self)) do names[i] = member.name end
  table.sort(names)
  return names
end

--- Says goodbye to everybody.
function Chat:leave()
  tell_all(self, "bye")
end

return chat
