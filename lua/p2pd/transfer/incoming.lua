--- A file that is being received: kept beside its place until it is whole and its checksum is right.
-- @classmod p2pd.transfer.incoming
local names = require "p2pd.transfer.names"

local incoming = {}

local FILE_MODE, OWNER = 511, 384 -- 0777, 0600

local Incoming = { __name = "p2pd.transfer.incoming" }
Incoming.__index = Incoming

--- @tparam p2pd.folder folder
-- @tparam table about `path` (a safe one), `size`, `mode`, `mtime`, `entry`
-- @treturn incoming with these fields, and `offset`: how many bytes there are, or have been announced
function incoming.new(folder, about)
  local self = { folder = folder, part = names.part_of(about.path), offset = 0 }
  for name, value in pairs(about) do self[name] = value end
  return setmetatable(self, Incoming)
end

--- Takes up a file that was begun before, when there is one.
-- @treturn ?string the SHA-256 of what is there; nil when nothing is
function Incoming:resume()
  local kind, size = self.folder:stat(self.part)
  if kind ~= "file" or size == 0 or size > self.size then return nil end
  local file = self.folder:write(self.part, self.size, true)
  if not file then return nil end
  if not file:skip(size) then
    file:close()
    return nil
  end
  self.file, self.is_resumed, self.offset = file, true, size
  return file:digest()
end

--- Begins from the first byte after all.
-- @treturn boolean true; or nil, message, code
function Incoming:restart()
  self.offset = 0
  if not self.file then return true end
  local ok, reason, code = self.file:restart()
  if not ok then return nil, reason, code end
  return true
end

local function open(self)
  if self.file then return true end
  local reason, code
  self.file, reason, code = self.folder:write(self.part, self.size)
  if self.file then return true end
  return nil, reason, code
end

--- Writes bytes. After a failure nothing more is written, and `trouble` has it.
-- @tparam string data
function Incoming:write(data)
  if self.trouble then return end
  local ok, reason, code = open(self)
  if ok then ok, reason, code = self.file:write(data) end
  if not ok then self.trouble = { reason, code } end
end

--- Writes bytes that it reads of a stream itself.
-- @tparam stream stream one of the core's
-- @tparam integer max bytes
-- @treturn integer how many; false: none, there has been a failure, see @{write}; nothing at its end;
-- or nil, message, code, of the stream
function Incoming:drain(stream, max)
  if self.trouble then return false end
  local ok, reason, code = open(self)
  if not ok then
    self.trouble = { reason, code }
    return false
  end
  local count, why, errcode, is_file = self.file:take(stream, max)
  if not is_file then return count, why, errcode end
  self.trouble = { why, errcode }
  return false
end

--- Puts it in its place.
-- @tparam string digest its SHA-256, as the sender says
-- @tparam integer umask
-- @tparam boolean overwrite whether it may take another file's place
-- @treturn boolean true; or nil, message, code
function Incoming:finish(digest, umask, overwrite)
  local ok, reason, code = open(self)
  if ok then ok, reason, code = self.file:flush() end
  if not ok then return nil, reason, code end
  if self.file:digest() ~= digest then
    self.folder:remove(self.part)
    return nil, "the checksum is wrong", "EBADMSG"
  end
  ok, reason, code = self.file:set(self.mode & FILE_MODE & ~umask | OWNER, self.mtime)
  if not ok then return nil, reason, code end
  ok, reason, code = self.folder:rename(self.part, (names.split(self.path)), overwrite)
  if code == "EEXIST" then reason = "there is another file of that name" end
  return ok, reason, code
end

--- Closes it; what has come stays.
function Incoming:close()
  if self.file then self.file:close() end
end

return incoming
