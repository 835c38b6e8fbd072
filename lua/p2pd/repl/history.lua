--- The file of what was typed before: an input of several lines is one entry. A line that goes on in the next
-- one ends in a backslash, as in a shell.
-- @module p2pd.repl.history
local core = require "p2pd.core"

local history = {}

local ENTRIES_MAX = 1000 -- that are loaded

--- Where it is.
-- @treturn ?string nil: there is no home
function history.path()
  local home = os.getenv "HOME"
  local data = os.getenv "XDG_DATA_HOME" or home and home .. "/.local/share"
  return data and data .. "/p2pd/history"
end

--- An entry as lines of the file.
-- @tparam string entry
-- @treturn string without the last line's end
function history.encode(entry)
  local lines = entry:gsub("\n", "\\\n")
  return lines:sub(-1) == "\\" and lines .. " " or lines
end

--- The entries of a file's text.
-- @tparam string text
-- @treturn {string,...}
function history.decode(text)
  local entries, begun = {}, nil
  for line in text:gmatch "([^\n]*)\n" do
    begun = begun and begun .. "\n" .. line or line
    if begun:sub(-1) == "\\" then
      begun = begun:sub(1, -2)
    else
      entries[#entries + 1], begun = begun, nil
    end
  end
  entries[#entries + 1] = begun and begun:gsub("\n$", "") or nil
  return table.move(entries, math.max(1, #entries - ENTRIES_MAX + 1), #entries, 1, {})
end

--- What the file has.
-- @tparam ?string path
-- @treturn {string,...} the oldest first
function history.load(path)
  local file <close> = path and io.open(path, "rb")
  return file and history.decode(file:read "a") or {}
end

--- Adds an entry to the file.
-- @tparam ?string path
-- @tparam string entry
-- @treturn boolean true; or nil, message, code
function history.save(path, entry)
  if not path then return nil, "there is no home", "ENOENT" end
  return core.editline.save(path, history.encode(entry))
end

return history
