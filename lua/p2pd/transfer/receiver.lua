--- The side that receives. What comes is written beside its place, and gets there when it is whole and its
-- checksum is right; what was begun before is taken up where it ended.
-- @classmod p2pd.transfer.receiver
local admission = require "p2pd.transfer.admission"
local core = require "p2pd.core"
local format = require "p2pd.transfer.format"
local incoming = require "p2pd.transfer.incoming"
local names = require "p2pd.transfer.names"
local task = require "p2pd.task"
local text = require "p2pd.text"
local tree = require "p2pd.transfer.tree"
local wire = require "p2pd.transfer.wire"

local receiver = {}

local RESUMED_MAX = 4           -- unfinished files that are held open at a time
local ROOM_FROM = 1024 * 1024   -- bytes of a file for which the disk is asked whether it has room
local END_S = 5
local FULL = { ENOSPC = true, EDQUOT = true, EROFS = true }

local Receiver = { __name = "p2pd.transfer.receiver" }
Receiver.__index = Receiver

local function put(self, kind, fields)
  return self.wire:put(kind, format.pack(kind, fields))
end

local function without_path(reason)
  return (reason:gsub("^.*: ", ""))
end

-- -- what has become of an entry

local function accept(self, item, how, digest)
  self.on_event { type = "file", path = item.path, size = item.size, digest = digest, how = how }
  return put(self, "K", { entry = item.entry, how = how })
end

local function refuse(self, item, reason)
  item.is_failed = true
  if item.close then item:close() end
  reason = text.printable(reason, 300)
  self.on_event { type = "failed", path = item.path, size = item.size, reason = reason }
  return put(self, "R", { entry = item.entry, reason = reason })
end

-- A file that could not be written. With a full disk nothing else will be.
local function give_up(self, item, reason, code)
  local ok, why, errcode = refuse(self, item, without_path(reason))
  if not ok or not FULL[code] then return ok, why, errcode end
  put(self, "Z", { reason = without_path(reason) })
  return nil, "nothing more can be written: " .. without_path(reason), code
end

local function safe(self, item)
  local path, reason = names.make_safe(item.path)
  if path then
    item.path = path
    return true
  end
  item.path = text.printable(item.path, 200)
  return false, refuse(self, item, reason)
end

-- -- files: what is wanted of them

local function first(self)
  return self.items[self.at]
end

local function add(self, item)
  self.last = self.last + 1
  self.items[self.last] = item
end

local function drop_first(self)
  local item = first(self)
  item:close()
  if item.is_resumed then self.resumed = self.resumed - 1 end
  self.items[self.at] = nil
  self.at = self.at + 1
end

-- The digest of what is there already.
local function digest_of(self, path, size)
  local file <close>, reason, code = self.folder:read(path, size)
  if not file then return nil, reason, code end
  local ok
  ok, reason, code = file:skip(size)
  if not ok then return nil, reason, code end
  return file:digest()
end

local function want(self, item, offset, digest)
  return put(self, "W", { entry = item.entry, offset = offset, digest = digest or format.NO_DIGEST })
end

local function has_room(self, item)
  if item.size - item.offset < ROOM_FROM then return true end
  local room = self.folder:room()
  return not room or room >= item.size - item.offset, room
end

-- So many unfinished ones are held open at a time; others begin anew.
local function resume(self, item)
  if self.resumed >= RESUMED_MAX then return nil end
  local digest = item:resume()
  if digest then self.resumed = self.resumed + 1 end
  return digest
end

local function want_file(self, item)
  local digest = resume(self, item)
  local fits, room = has_room(self, item)
  if not fits then
    if digest then self.resumed = self.resumed - 1 end
    return refuse(self, item, ("no room: %d bytes are free, and it has %d"):format(room, item.size))
  end
  add(self, item)
  return want(self, item, item.offset, digest)
end

-- Something has that name. When it may be the same file, the sender is asked to compare.
local function consider(self, item, kind, size)
  if kind == "folder" then return refuse(self, item, "there is a folder of that name") end
  if kind == "file" and size == item.size then
    local digest = digest_of(self, item.path, size)
    if digest then
      item.compares, item.digest = true, digest
      add(self, item)
      return put(self, "C", { entry = item.entry, offset = size, digest = digest })
    end
  end
  if not self.overwrite then return refuse(self, item, "there is another file of that name") end
  return want_file(self, item)
end

local HANDLERS = {}

function HANDLERS.F(self, item)
  local is_safe, ok, reason, code = safe(self, item)
  if not is_safe then return ok, reason, code end
  item = incoming.new(self.folder, item)
  local kind, size, errcode = self.folder:stat(item.path)
  if kind then return consider(self, item, kind, size) end
  if errcode ~= "ENOENT" then return refuse(self, item, without_path(size)) end
  return want_file(self, item)
end

-- -- files: their bytes

local function take_bytes(self, length)
  local item = first(self)
  if not item or item.compares or not item.is_failed and item.offset + length > item.size then
    return nil, "not what p2pd sends", "EPROTO"
  end
  item.offset = item.offset + length
  local function write(data)
    if not item.is_failed then item:write(data) end
    self.on_bytes(#data)
  end
  local function drain(stream, missing)
    local count, reason, code = false, nil, nil
    if not item.is_failed then count, reason, code = item:drain(stream, missing) end
    if count then self.on_bytes(count) end
    return count, reason, code
  end
  local ok, reason, code = self.wire:pieces(length, write, drain)
  if not ok then return nil, reason, code end
  if item.trouble and not item.is_failed then return give_up(self, item, table.unpack(item.trouble)) end
  return true
end

-- The item that the sender speaks of has to be the one whose turn it is.
local function present(self, fields)
  local item = first(self)
  if item and item.entry == fields.entry then return item end
  return nil, "not what p2pd sends", "EPROTO"
end

function HANDLERS.Y(self, fields)
  local item, reason, code = present(self, fields)
  if not item then return nil, reason, code end
  if not item.compares then
    self.on_bytes(item.offset)
    return true
  end
  drop_first(self)
  self.on_bytes(item.size)
  return accept(self, item, "same", item.digest)
end

-- The sender waits for what we want instead: the item stays the first one.
local function want_instead(self, item)
  item.compares = nil
  return want(self, item, 0)
end

function HANDLERS.N(self, fields)
  local item, reason, code = present(self, fields)
  if not item then return nil, reason, code end
  if item.compares and self.overwrite then return want_instead(self, item) end
  if item.compares then
    drop_first(self)
    return refuse(self, item, "there is another file of that name")
  end
  local ok, why, errcode = item:restart()
  if not ok then return give_up(self, item, why, errcode) end
  return true
end

function HANDLERS.E(self, fields)
  local item, reason, code = present(self, fields)
  if not item or item.compares then return nil, reason or "not what p2pd sends", code or "EPROTO" end
  local ok, why, errcode = true, nil, nil
  if not item.is_failed then
    ok, why, errcode = item:finish(fields.digest, self.umask, self.overwrite)
    if ok then
      ok, why, errcode = accept(self, item, item.is_resumed and "resumed" or "saved", fields.digest)
    else
      ok, why, errcode = give_up(self, item, why, errcode)
    end
  end
  drop_first(self)
  return ok, why, errcode
end

-- The sender has no more of it; what has come stays, for another time.
function HANDLERS.X(self, fields)
  if fields.entry == 0 then
    self.on_event { type = "failed", reason = text.printable(fields.reason, 300) }
    return true
  end
  local item, reason, code = present(self, fields)
  if not item then return nil, reason, code end
  local ok, why, errcode = true, nil, nil
  if not item.is_failed then ok, why, errcode = refuse(self, item, fields.reason) end
  drop_first(self)
  return ok, why, errcode
end

-- -- folders and links

-- A folder's permissions and time come when all is in it.
function HANDLERS.T(self, item)
  local path = names.make_safe(item.path)
  if path then tree.finish_folder(self.folder, path, item.mode & ~self.umask, item.mtime) end
  return true
end

local function make_by(make)
  return function(self, item)
    local is_safe, ok, reason, code = safe(self, item)
    if not is_safe then return ok, reason, code end
    local how, fault = make(self.folder, item, self.overwrite)
    if not how then return refuse(self, item, without_path(fault)) end
    return put(self, "K", { entry = item.entry, how = how })
  end
end

HANDLERS.D, HANDLERS.L = make_by(tree.make_folder), make_by(tree.make_link)

-- -- all of it

local ANNOUNCES = { F = true, D = true, L = true }
local CHANGES = { F = true, D = true, L = true, T = true }

-- Of a transfer that is not wanted each entry is refused.
local function decline(self, kind, fields)
  if not ANNOUNCES[kind] then return true end
  fields.path = text.printable(fields.path, 200)
  return refuse(self, fields, self.declined)
end

local function ask(self, path)
  local ok, reason, code = self.admission:ask(self.total, path)
  if not ok then return nil, reason, code end
  self.declined = self.declined or reason
  return true
end

local function take_frame(self, kind, body)
  if kind == format.BULK then return take_bytes(self, body) end
  local fields, reason, code = format.unpack(kind, body)
  local ok = fields
  if fields and CHANGES[kind] then ok, reason, code = ask(self, fields.path) end
  if not ok then return nil, reason, code end
  if self.declined then return decline(self, kind, fields) end
  local handler = HANDLERS[kind]
  if not handler then return nil, "not what p2pd sends", "EPROTO" end
  return handler(self, fields)
end

local function say_hello(self)
  local ok, reason, code = self.wire:put("H", format.hello(format.RECEIVER))
  if not ok then return nil, reason, code end
  local kind, body, errcode = self.wire:get()
  if not kind then return nil, body, errcode end
  local total
  total, reason, code = format.check_hello(kind, body, format.SENDER)
  if not total then return nil, reason, code end
  self.total = total
  self.on_event { type = "begin", files = total.files, bytes = total.bytes }
  return true
end

local function run(self)
  local ok, reason, code = say_hello(self)
  while ok do
    local kind, body, errcode = self.admission:get(format.BULK)
    if not kind then return nil, body, errcode end
    if kind == "Q" then return put(self, "Q", {}) end
    ok, reason, code = take_frame(self, kind, body)
  end
  return nil, reason, code
end

-- Until all has come, or nothing more is wanted, which the sender is told: it need not come back.
local function run_until(self, stop)
  if not stop then return run(self) end
  local result = task.race {
    function() return table.pack(run(self)) end,
    function() return { why = stop() } end,
  }
  if not result.why then return table.unpack(result, 1, result.n) end
  put(self, "S", { reason = result.why })
  return nil, result.why, "ECANCELED"
end

--- Receives what the other side sends.
-- @tparam pipe pipe
-- @tparam string path of the folder into which it goes
-- @tparam table options `overwrite`, `admit`, `on_event` (function: `type` "begin" with `files` and `bytes`;
-- "file" or "failed" with `path`, `size`, `digest`, `how`, `reason`), `on_bytes` (function of a number),
-- `stop` (function that waits until nothing more is wanted, and returns why)
-- @treturn boolean true; or nil, message, code
function receiver.run(pipe, path, options)
  local folder <close>, reason, code = core.folder.open(path)
  if not folder then return nil, reason, code end
  local line <close> = wire.new(pipe, true)
  local self = setmetatable({ wire = line, folder = folder, overwrite = options.overwrite or false,
    admission = admission.new(line, options.admit), on_event = options.on_event, on_bytes = options.on_bytes,
    umask = tree.umask(), items = {}, at = 1, last = 0, resumed = 0 }, Receiver)
  local _ <close> = setmetatable({}, { __close = function()
    for i = self.at, self.last do self.items[i]:close() end
  end })
  local ok
  ok, reason, code = run_until(self, options.stop)
  line:finish(END_S)
  return ok, reason, code
end

return receiver
