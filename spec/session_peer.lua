--- A session's machine whose peer the spec plays, frame by frame; the frames are made here.
-- `local side <close> = session_peer.new(); side:feed(session_peer.hello(1, 0, 1 << 20))`.
local courses = require "spec.courses"

local session_peer = {}

--- A frame of any type.
-- @tparam integer type
-- @tparam integer flags
-- @tparam string body
-- @treturn string
function session_peer.frame(type, flags, body)
  return string.pack(">BBs2", type, flags, body)
end

--- HELLO.
-- @tparam integer path
-- @tparam integer received where the peer's data continue
-- @tparam integer limit how far the other side may send
-- @tparam[opt=1] integer version
-- @tparam[opt=0] integer flags
-- @treturn string
function session_peer.hello(path, received, limit, version, flags)
  return session_peer.frame(1, flags or 0, string.pack(">Bxxx I4 I8 I8", version or 1, path, received, limit))
end

--- START: where a path's data begin.
function session_peer.start(position)
  return session_peer.frame(3, 0, string.pack(">I8", position))
end

--- DATA.
function session_peer.data(position, bytes, flags)
  return session_peer.frame(2, flags or 0, string.pack(">I8", position) .. bytes)
end

--- ACK.
function session_peer.ack(position, limit)
  return session_peer.frame(5, 0, string.pack(">I8I8", position, limit or 1 << 20))
end

local Side = {}
Side.__index = Side

--- Gives the machine bytes of path 1.
-- @param ... strings
function Side:feed(...)
  self.machine:feed(1, table.concat { ... }, self.now)
end

--- As courses.events.
function Side:events()
  return courses.events(self.machine)
end

function Side:__close()
  self.machine:close()
end

--- The initiator alone.
-- @tparam[opt] table options as for courses.world
-- @treturn table to be closed: machine, now
function session_peer.new(options)
  local world = courses.world(options)
  world:flush()
  world[2]:close()
  return setmetatable({ machine = world[1], now = world.now }, Side)
end

return session_peer
