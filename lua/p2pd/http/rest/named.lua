--- Connections that their user has named, and subscriptions to what comes by them, as P2PD's REST API has
-- them: what is read at once is a message; each goes to every subscription that it matches.
-- @classmod p2pd.http.rest.named
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"

local named = {}

named.MAX = 1024               -- connections
named.SUBSCRIPTIONS_MAX = 64   -- of a connection
named.QUEUED_MAX = 1024 * 1024 -- bytes that wait in a subscription

local PIECE = 64 * 1024
local NAME_MAX = 256 -- characters
local EVERYTHING = "all"

-- -- subscriptions

-- A message is heavier than its bytes.
local function weight_of(message)
  return #message.data + 64
end

local function push(sub, message)
  sub.queue[#sub.queue + 1] = message
  sub.weight = sub.weight + weight_of(message)
end

local function pull(sub)
  local message = table.remove(sub.queue, 1)
  if message then sub.weight = sub.weight - weight_of(message) end
  return message
end

-- ip and port as "('1.2.3.4', 0)", "1.2.3.4:0" or {"ip", port} tell them; port 0: any.
local function parse_tuple(text)
  local ip, port = text:match "^%s*[%[(]%s*[\"']([%x.:]+)[\"']%s*,%s*(%d+)%s*[%])]%s*$"
  if not ip then ip, port = text:match "^([%x.:]+):(%d+)$" end
  return ip and { ip, tonumber(port) }
end

local function is_from(wanted, tuple)
  return tuple and wanted[1] == tuple[1] and (wanted[2] == 0 or wanted[2] == tuple[2])
end

local function matches(sub, message)
  if sub.tuple and not is_from(sub.tuple, message.tuple) then return false end
  return not sub.pattern or sub.pattern:find(message.data) or false
end

local function show(sub)
  return ("[%s, %s]"):format(sub.text and ("b'%s'"):format(sub.text) or "None", sub.tuple_text or "None")
end

-- -- a connection

local Connection = { __name = "p2pd.http.rest.connection" }
Connection.__index = Connection

-- Everything that is not read holds the sender back; other subscriptions lose their oldest.
local function wait_for_room(self)
  while true do
    local all = self.subs[EVERYTHING]
    if not all or all.weight < named.QUEUED_MAX or self.tunnel then return end
    self.changed:wait()
  end
end

local function deliver(self, data)
  if self.tunnel then return self.tunnel:write(data) end
  local message = { data = data, tuple = self.tuple }
  for _, sub in pairs(self.subs) do
    if matches(sub, message) then
      push(sub, message)
      while sub.weight > 2 * named.QUEUED_MAX do pull(sub) end
    end
  end
  self.changed:broadcast()
end

local function pump(self)
  while true do
    wait_for_room(self)
    local data, reason = self.pipe:recv(PIECE)
    if not data then
      self.ended = reason or "the peer has closed the connection"
      if self.tunnel then self.tunnel:shutdown() end
      return self.changed:broadcast()
    end
    deliver(self, data)
  end
end

--- Subscribes; a subscription of that name is replaced.
-- @tparam string name
-- @tparam ?string text a regular expression
-- @tparam ?string tuple_text an address that messages come from
-- @treturn string what is subscribed to; or a problem
function Connection:subscribe(name, text, tuple_text)
  local sub = { queue = {}, weight = 0, text = text, tuple_text = tuple_text }
  if not self.subs[name] and self.sub_count >= named.SUBSCRIPTIONS_MAX then
    return problem.new(503, "too many subscriptions")
  end
  if text then
    local reason, code
    sub.pattern, reason, code = core.pattern.compile(text)
    if not sub.pattern then return problem.new(code == "EINVAL" and 400 or 501, "msg_p: " .. reason, code) end
  end
  sub.tuple = tuple_text and parse_tuple(tuple_text)
  if tuple_text and not sub.tuple then return problem.new(400, "addr_p is no address and port", "EINVAL") end
  self:unsubscribe(name)
  self.subs[name], self.sub_count = sub, self.sub_count + 1
  return show(sub)
end

--- Ends a subscription.
-- @tparam string name
-- @treturn ?string what was subscribed to
function Connection:unsubscribe(name)
  local sub = self.subs[name]
  if not sub then return nil end
  if sub.pattern then sub.pattern:close() end
  self.subs[name], self.sub_count = nil, self.sub_count - 1
  self.changed:broadcast()
  return show(sub)
end

--- The next message of a subscription. Waits.
-- @tparam string name
-- @tparam number timeout seconds
-- @treturn table data, tuple; or a problem
function Connection:receive(name, timeout)
  local limit = deadline.after(timeout)
  while true do
    local sub = self.subs[name]
    if not sub then return problem.new(404, "no subscription has this name") end
    local message = pull(sub)
    if message then
      self.changed:broadcast()
      return message
    end
    if self.ended then return problem.new(410, self.ended) end
    if limit:has_passed() then return problem.new(504, "no message came in time", "ETIMEDOUT") end
    self.changed:wait(limit:left())
  end
end

--- Makes a stream a relay to the peer and back, until either ends. Waits.
-- @tparam stream stream taken over
function Connection:relay(stream)
  local held <close> = stream
  self.tunnel = held
  local _ <close> = setmetatable({}, { __close = function() self.tunnel = nil end })
  self.changed:broadcast()
  for _, message in ipairs(self.subs[EVERYTHING] and self.subs[EVERYTHING].queue or {}) do
    if not held:write(message.data) then return end
  end
  if self.subs[EVERYTHING] then self.subs[EVERYTHING].queue, self.subs[EVERYTHING].weight = {}, 0 end
  self.pipe:copy_from(held)
end

local function close_connection(self)
  self.task:cancel()
  self.pipe:close()
  for name in pairs(self.subs) do self:unsubscribe(name) end
  self.ended = "the connection is closed"
  if self.tunnel then self.tunnel:abort() end
  self.changed:broadcast()
end

-- -- all of them

local Named = { __name = "p2pd.http.rest.named" }
Named.__index = Named

function named.new()
  return setmetatable({ by_name = {}, opening = {}, count = 0, serial = 0, tasks = task.group() }, Named)
end

--- Keeps a name for a connection that is being made.
-- @tparam string name
-- @treturn closable; or a problem
function Named:reserve(name)
  if name == "" or #name > NAME_MAX then return problem.new(400, "the name is empty, or too long") end
  if self.by_name[name] or self.opening[name] then return problem.new(409, "a connection has this name",
    "EEXIST") end
  if self.count >= named.MAX then return problem.new(503, "too many connections are open") end
  self.opening[name] = true
  return setmetatable({}, { __close = function() self.opening[name] = nil end })
end

local function tuple_of(endpoint)
  local ip, port = (endpoint or ""):match "^%[?(.-)%]?:(%d+)$"
  return ip and { ip, tonumber(port) }
end

--- Keeps a connection.
-- @tparam string name
-- @tparam pipe pipe taken over
-- @treturn connection
function Named:add(name, pipe)
  local info = pipe:info() or {}
  self.serial = self.serial + 1
  local one = setmetatable({ name = name, pipe = pipe, serial = self.serial, subs = {}, sub_count = 0,
    changed = task.condition(), tuple = tuple_of(info.remote), local_tuple = tuple_of(info["local"]) },
      Connection)
  one:subscribe(EVERYTHING)
  one.task = self.tasks:detach(pump, one)
  self.by_name[name], self.count = one, self.count + 1
  return one
end

--- @treturn connection; or a problem
function Named:find(name)
  return self.by_name[name] or problem.new(404, "no connection has this name")
end

--- Closes one.
function Named:remove(one)
  self.by_name[one.name], self.count = nil, self.count - 1
  close_connection(one)
end

--- Closes all.
function Named:close()
  for _, one in pairs(self.by_name) do close_connection(one) end
  self.by_name, self.count = {}, 0
  self.tasks:cancel()
end

Named.__close = Named.close

return named
