--- Files that are Lua tables: text that returns a table, sees no globals, and ends.
-- @module p2pd.config.chunk
local chunk = {}

local MAX_BYTES = 1024 * 1024 -- of a file
local MAX_STEPS = 1000000     -- virtual machine instructions that it may take
local MAX_KIB = 64 * 1024     -- memory that it may take, looked at after each instruction

--- Reads a file.
-- @tparam string path
-- @treturn string its text; or nil, message, code
function chunk.read(path)
  local file, reason, errno = io.open(path, "r")
  if not file then return nil, reason, errno == 2 and "ENOENT" or errno == 13 and "EACCES" or "EIO" end
  local text
  text, reason = file:read(MAX_BYTES + 1)
  file:close()
  if not text and reason then return nil, ("%s: %s"):format(path, reason), "EIO" end
  text = text or ""
  if #text > MAX_BYTES then
    return nil, ("%s: longer than %d bytes"):format(path, MAX_BYTES), "EFBIG"
  end
  return text
end

-- Counts instructions and memory.
local function new_watch()
  local steps, most = 0, collectgarbage "count" + MAX_KIB
  return function()
    steps = steps + 1
    if steps > MAX_STEPS then error("it does not end", 0) end
    if collectgarbage "count" > most then error("it takes too much memory", 0) end
  end
end

-- Strings have no methods meanwhile: pattern matching in C could not be stopped.
local function without_methods()
  local meta = debug.getmetatable ""
  debug.setmetatable("", nil)
  return setmetatable({}, { __close = function() debug.setmetatable("", meta) end })
end

-- In a coroutine of its own, so that an endless loop can be stopped and a yield goes nowhere.
local function evaluate(fn)
  local thread <close> = setmetatable({ co = coroutine.create(fn) },
    { __close = function(self) coroutine.close(self.co) end })
  debug.sethook(thread.co, new_watch(), "", 1)
  local _ <close> = without_methods()
  local ok, value = coroutine.resume(thread.co)
  if ok and coroutine.status(thread.co) ~= "dead" then return false, "it yields" end
  return ok, value
end

--- Evaluates the text of a file: Lua, never bytecode.
-- @tparam string text
-- @tparam string path what messages call it
-- @return what it returns; or nil, message that begins with the path, code ("EINVAL")
function chunk.evaluate(text, path)
  local fn, reason = load(text:gsub("^#[^\n]*", ""), "@" .. path, "t", {})
  if not fn then return nil, reason, "EINVAL" end
  local ok, value = evaluate(fn)
  if ok then return value end
  reason = tostring(value)
  if reason:sub(1, #path) ~= path then reason = ("%s: %s"):format(path, reason) end
  return nil, reason, "EINVAL"
end

--- Reads a file and evaluates it.
-- @tparam string path
-- @return what it returns, false when that is nothing; or nil, message, code
function chunk.load(path)
  local text, reason, code = chunk.read(path)
  if not text then return nil, reason, code end
  local value
  value, reason, code = chunk.evaluate(text, path)
  if code then return nil, reason, code end
  if value == nil then return false end
  return value
end

return chunk
