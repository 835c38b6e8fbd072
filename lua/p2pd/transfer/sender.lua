--- The side that sends. One task reads the receiver's answers; the other tells of entries ahead of the one
-- whose bytes it sends, so that small files do not cost a round trip each.
-- @classmod p2pd.transfer.sender
local format = require "p2pd.transfer.format"
local task = require "p2pd.task"
local text = require "p2pd.text"
local walk = require "p2pd.transfer.walk"
local wire = require "p2pd.transfer.wire"

local sender = {}

local AHEAD = 256   -- entries that the receiver knows of, and whose bytes have not been sent
local WINDOW = 1024 -- entries of which it has not said what has become of them
local SMALL = 64 * 1024 -- bytes of a file that is sent together with others
local END_S = 5     -- for the other side to end as well

local Sender = { __name = "p2pd.transfer.sender" }
Sender.__index = Sender

-- -- what the receiver says

local ANSWERS = {}

function ANSWERS.W(_, entry, fields)
  fields.kind, entry.answer = "W", fields
end

function ANSWERS.C(_, entry, fields)
  fields.kind, entry.answer = "C", fields
end

local function settle(self, entry, event)
  self.entries[entry.number] = nil
  self.pending = self.pending - 1
  entry.is_over, event.path, event.size = true, entry.path, entry.size
  if entry.kind == "file" or event.type == "failed" then self.on_event(event) end
end

function ANSWERS.K(self, entry, fields)
  settle(self, entry, { type = "file", how = fields.how, digest = entry.digest })
end

function ANSWERS.R(self, entry, fields)
  settle(self, entry, { type = "failed", reason = fields.reason })
end

local function take_answer(self, kind, body)
  local fields, reason, code = format.unpack(kind, body)
  if not fields then return nil, reason, code end
  if kind == "Q" then
    self.is_done = true
  elseif kind == "Z" then
    return nil, "the other side can't take more: " .. fields.reason, "ENOSPC"
  elseif kind == "S" then
    return nil, "the other side has stopped: " .. text.printable(fields.reason, 300), "ECANCELED"
  else
    local entry, handler = self.entries[fields.entry], ANSWERS[kind]
    if not entry or not handler then return nil, "not what p2pd sends", "EPROTO" end
    handler(self, entry, fields)
  end
  return true
end

local function read_answers(self)
  local ok, reason, code = true, nil, nil
  while ok and not self.is_done do
    local kind, body
    kind, body, code = self.wire:get()
    ok, reason = kind, body
    if kind then ok, reason, code = take_answer(self, kind, body) end
    self.changed:broadcast()
  end
  if not ok then self.broken = { reason, code } end
  self.changed:broadcast()
end

-- -- what is sent

-- Waits until a condition holds, or the pipe breaks.
local function wait_until(self, holds)
  if holds() then return true end
  local ok, reason, code = self.wire:flush()
  while ok and not self.broken and not holds() do self.changed:wait() end
  if self.broken then return nil, table.unpack(self.broken) end
  if not ok then return nil, reason, code end
  return true
end

-- What the receiver has said of the pipe's failure counts more than the failure itself.
local function put(self, kind, fields)
  if self.broken then return nil, table.unpack(self.broken) end
  return self.wire:put(kind, format.pack(kind, fields))
end

local function fail(self, entry, reason)
  entry.is_failed = true
  return put(self, "X", { entry = entry.number, reason = reason })
end

-- Whether the file begins as what the receiver has; it is read from there on, or from the beginning.
local function compare(self, entry, file, answer)
  if answer.offset == 0 then return true end
  local same = answer.offset <= entry.size and file:skip(answer.offset) and file:digest() == answer.digest
  if not same then
    local ok, reason = file:restart()
    if not ok then return fail(self, entry, reason) end
  else
    self.on_bytes(answer.offset)
  end
  if same and answer.offset == entry.size then entry.digest = answer.digest end
  entry.is_same = same and answer.kind == "C"
  return put(self, same and "Y" or "N", { entry = entry.number })
end

-- A small file leaves with what comes after it. How many bytes, and whether they end a frame; nothing at the
-- end; or nil, message, code, and true when the file has failed.
local function send_piece(self, entry, file)
  if entry.size > SMALL then return self.wire:give(file, format.BULK) end
  local data, count, is_last = file:read(format.BULK)
  if not data then return nil, count, is_last, count ~= nil end
  local ok, why, code = self.wire:add(data, not is_last)
  if not ok then return nil, why, code end
  return count, is_last
end

local function send_bytes(self, entry, file)
  while true do
    if self.broken then return nil, table.unpack(self.broken) end
    local count, is_last, code, is_file = send_piece(self, entry, file)
    if not count and is_file then return fail(self, entry, is_last) end
    if not count and code then return nil, is_last, code end
    if not count then break end
    self.on_bytes(count)
    if entry.is_over and is_last then break end -- of its frame
  end
  if entry.is_over then return put(self, "X", { entry = entry.number, reason = "not wanted any more" }) end
  if file:position() < entry.size then return fail(self, entry, "it has become shorter") end
  entry.digest = file:digest()
  return put(self, "E", entry)
end

local function answer(self, entry, file)
  local wanted = entry.answer
  entry.answer = nil
  local ok, reason, code = compare(self, entry, file, wanted)
  if not ok or entry.is_failed then return ok, reason, code end
  if wanted.kind == "W" then return send_bytes(self, entry, file) end
  return true
end

-- Answers until nothing more can be wanted.
local function serve_file(self, entry)
  repeat
    local ok, reason, code = wait_until(self, function() return entry.answer or entry.is_over end)
    if not ok then return nil, reason, code end
    if entry.is_over then return true end
    local file <close>, why = entry.root.folder:read(entry.inner, entry.size)
    local was_wanted = entry.answer.kind == "W"
    if file then
      ok, reason, code = answer(self, entry, file)
    else
      ok, reason, code = fail(self, entry, (why:gsub("^.*: ", "")))
    end
    if not ok then return nil, reason, code end
  until was_wanted or entry.is_same or entry.is_failed
  return true
end

local function serve(self, entry)
  if entry.kind == "end" then return put(self, "T", entry) end
  return serve_file(self, entry)
end

local KINDS = { file = "F", folder = "D", link = "L" }

-- Tells of an entry; files, and the ends of folders, wait until it is their turn.
local function announce(self, entry)
  if entry.kind == "failure" then
    self.on_event { type = "failed", path = entry.path, reason = entry.reason }
    return put(self, "X", { entry = 0, reason = ("%s: %s"):format(entry.path, entry.reason) })
  end
  if entry.kind == "file" or entry.kind == "end" then table.insert(self.queue, entry) end
  if entry.kind == "end" then return true end
  self.count = self.count + 1
  entry.number, entry.entry = self.count, self.count
  self.entries[self.count], self.pending = entry, self.pending + 1
  return put(self, KINDS[entry.kind], entry)
end

local function announce_more(self)
  while not self.is_walked and #self.queue - self.served < AHEAD and self.pending < WINDOW do
    local entry = self.walk:next()
    if not entry then
      self.is_walked = true
      return true
    end
    local ok, reason, code = announce(self, entry)
    if not ok then return nil, reason, code end
  end
  return true
end

-- The first of the queue; what was served is dropped now and then.
local function take_next(self)
  self.served = self.served + 1
  local entry = self.queue[self.served]
  if self.served >= AHEAD then
    self.queue = table.move(self.queue, self.served + 1, #self.queue, 1, {})
    self.served = 0
  end
  return entry
end

local function send_all(self)
  while true do
    local ok, reason, code = announce_more(self)
    if not ok then return nil, reason, code end
    local entry = take_next(self)
    if not entry and self.is_walked then return true end
    if entry then
      ok, reason, code = serve(self, entry)
    else
      self.served = self.served - 1
      ok, reason, code = wait_until(self, function() return self.pending < WINDOW end)
    end
    if not ok then return nil, reason, code end
  end
end

local function run(self)
  local ok, reason, code = self.wire:put("H", format.hello(format.SENDER, self.total))
  if ok then ok, reason, code = self.wire:flush() end
  if not ok then return nil, reason, code end
  local kind, body, errcode = self.wire:get()
  if not kind then return nil, body, errcode end
  ok, reason, code = format.check_hello(kind, body, format.RECEIVER)
  if not ok then return nil, reason, code end
  local reader <close> = task.spawn(read_answers, self)
  ok, reason, code = send_all(self)
  if ok then ok, reason, code = wait_until(self, function() return self.pending == 0 end) end
  if ok then ok, reason, code = put(self, "Q", {}) end
  if ok then ok, reason, code = wait_until(self, function() return self.is_done end) end
  if not ok and not self.broken then reader:join(END_S) end -- what the other side had to say
  if self.broken then return nil, table.unpack(self.broken) end
  return ok, reason, code
end

--- Sends files and folders.
-- @tparam pipe pipe on which the other side receives
-- @tparam {string,...} paths
-- @tparam table options `total` (files, bytes: see `walk.count`), `on_event` (function of each file's
-- end: `type` "file" or "failed", `path`, `size`, `digest`, `how`, `reason`), `on_bytes` (function of a
-- number)
-- @treturn boolean true; or nil, message, code
function sender.run(pipe, paths, options)
  local tree <close>, reason, code = walk.new(paths)
  if not tree then return nil, reason, code end
  local line <close> = wire.new(pipe, false)
  local self = setmetatable({ wire = line, walk = tree, total = options.total, on_event = options.on_event,
    on_bytes = options.on_bytes, changed = task.condition(), entries = {}, count = 0, pending = 0,
    queue = {}, served = 0 }, Sender)
  local ok
  ok, reason, code = run(self)
  line:finish(ok and END_S or 0)
  return ok, reason, code
end

return sender
