--- What was mapped on routers, on disk, so that what a crash leaves behind is removed by the next start:
-- `$XDG_STATE_HOME/p2pd/port-mappings`, or below `$HOME/.local/state`. Each line is a JSON object that adds
-- or takes away an entry; whole lines are appended, so nodes share the file without a lock.
-- @module p2pd.port_mapping.ledger
local core = require "p2pd.core"
local json = require "dkjson"

local ledger = {}

local SIZE_MAX = 1 << 20   -- bytes that are read; a larger file is none of ours
local AGE_MAX = 7 * 86400  -- seconds, UPnP's longest lifetime
local COMPACT_AT = 1 << 14 -- bytes

-- The XDG base directory specification has programs ignore a path that is not absolute.
local function path()
  local state, home = os.getenv "XDG_STATE_HOME", os.getenv "HOME"
  if state and state:sub(1, 1) == "/" then return state .. "/p2pd/port-mappings" end
  if home and home:sub(1, 1) == "/" then return home .. "/.local/state/p2pd/port-mappings" end
end

local function read_file(name)
  local file <close> = io.open(name, "rb")
  return file and file:read(SIZE_MAX) or ""
end

-- Who runs: a process id, and when it started, as another may have that id later.
local function started_at(pid)
  local stat = read_file(("/proc/%d/stat"):format(pid))
  local fields, n = {}, 0
  for field in (stat:match "%)(.*)$" or ""):gmatch "%S+" do
    n = n + 1
    fields[n] = field
  end
  return fields[20]
end

local own

local function owner()
  own = own or { pid = tonumber(read_file "/proc/self/stat":match "^%d+") }
  own.start = own.start or own.pid and started_at(own.pid)
  return own
end

local function is_alive(entry)
  return math.type(entry.pid) == "integer" and started_at(entry.pid) == entry.start
end

local function append(entry)
  local name = path()
  if not name or not core.keys.make_folders(name) then return nil end
  local file <close> = io.open(name, "ab")
  if not file then return nil end
  file:setvbuf "full"
  return file:write(json.encode(entry), "\n")
end

-- The entries that were added and not taken away, by key.
local function outstanding(name)
  local entries = {}
  for line in read_file(name):gmatch "[^\n]+" do
    local entry = json.decode(line)
    if type(entry) == "table" and type(entry.key) == "string" then
      local is_young = os.time() - (tonumber(entry.time) or 0) < AGE_MAX
      entries[entry.key] = type(entry.record) == "table" and is_young and entry or nil
    end
  end
  return entries
end

-- Without the lines that cancel each other out. What another process adds meanwhile is lost: then a crash of
-- that one leaves a mapping until it expires.
local function compact(name, entries)
  if #read_file(name) < COMPACT_AT then return end
  local file = io.open(name .. ".new", "wb")
  if not file then return end
  for _, entry in pairs(entries) do file:write(json.encode(entry), "\n") end
  file:close()
  os.rename(name .. ".new", name)
end

--- Notes a mapping.
-- @tparam string protocol its module's name
-- @tparam table target of the protocol
-- @tparam table record of the lease
-- @treturn string a key for @{remove}
function ledger.add(protocol, target, record)
  local who, key = owner(), {}
  for i = 1, 8 do key[i] = ("%02x"):format(core.random.bytes(1):byte()) end
  local entry = { key = table.concat(key), protocol = protocol, gateway = target.gateway, nic = target.nic,
    pid = who.pid, start = who.start, time = os.time(), record = record }
  append(entry)
  return entry.key
end

--- Forgets a mapping.
-- @tparam string key
function ledger.remove(key)
  append { key = key }
end

--- What processes that have ended left on a gateway.
-- @tparam table target
-- @treturn {table,...} each `key`, `protocol`, `record`
function ledger.orphans(target)
  local name, list = path(), {}
  if not name then return list end
  local entries = outstanding(name)
  compact(name, entries)
  for _, entry in pairs(entries) do
    if entry.gateway == target.gateway and entry.nic == target.nic and not is_alive(entry) then
      list[#list + 1] = entry
    end
  end
  return list
end

return ledger
