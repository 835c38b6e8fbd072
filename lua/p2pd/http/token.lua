--- The token that lets a program of this user's use the API: a file that is the user's alone tells it.
-- @module p2pd.http.token
local core = require "p2pd.core"

local token = {}

local MIN = 16 -- characters

--- A new one: 256 random bits in hexadecimal digits.
-- @treturn string
function token.new()
  return (core.random.bytes(32):gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- The XDG base directory specification has programs ignore a path that is not absolute.
local function folder()
  for _, place in ipairs { { "XDG_RUNTIME_DIR", "" }, { "XDG_STATE_HOME", "" }, { "HOME",
    "/.local/state" } } do
    local path = os.getenv(place[1])
    if path and path:sub(1, 1) == "/" then return path .. place[2] end
  end
end

--- Where it is written: `$XDG_RUNTIME_DIR/p2pd/http-PORT.token`, or in `$XDG_STATE_HOME` or
-- `$HOME/.local/state` when that is not set.
-- @tparam string|integer port
-- @treturn string; or nil, message, code
function token.path(port)
  local place = folder()
  if not place then return nil, "neither XDG_RUNTIME_DIR nor HOME is set: no place for a token", "ENOENT" end
  return ("%s/p2pd/http-%s.token"):format(place, port)
end

--- Reads one that is there.
-- @tparam string path of a file that nobody else may read
-- @treturn string; or nil, message, code
function token.read(path)
  local text, reason, code = core.private_file.read(path)
  if not text then return nil, reason, code end
  local found = text:match "^%s*([%w_-]+)%s*$"
  if not found or #found < MIN then
    return nil, ("%s: a token of %d or more letters and digits expected"):format(path, MIN), "EINVAL"
  end
  return found
end

local File = { __name = "p2pd.http.token" }
File.__index = File

--- Takes the file away.
function File:close()
  if self.path then os.remove(self.path) end
  self.path = nil
end

File.__close = File.close

--- Writes it to a file that goes when it is closed.
-- @tparam string path
-- @tparam string text
-- @treturn file with `path` and `close()`; or nil, message, code
function token.write(path, text)
  os.remove(path) -- of a server that has not ended in order
  local ok, reason, code = core.private_file.swap(path, "", text .. "\n")
  if not ok then return nil, reason, code end
  return setmetatable({ path = path }, File)
end

--- Writes it to where this user's programs look for it (@{path}).
-- @tparam string|integer port
-- @tparam string text
-- @treturn file as from @{write}; or nil, message, code
function token.publish(port, text)
  local path, reason, code = token.path(port)
  if not path then return nil, reason, code end
  return token.write(path, text)
end

return token
