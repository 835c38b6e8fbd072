--- Temporary folders, files and ports; all folders go when the process ends.
-- @module p2pd.lab.scratch
local scratch = {}

local folders = {}
local PORTS_FROM, PORTS_TO = 20000, 31999 -- below the kernel's own range, so nobody gets one by accident

-- P2PD_PORTS=FROM-TO keeps processes that run side by side apart.
local function port_range()
  local from, to = (os.getenv "P2PD_PORTS" or ""):match "^(%d+)%-(%d+)$"
  from, to = math.tointeger(from) or PORTS_FROM, math.tointeger(to) or PORTS_TO
  return from, to - from + 1
end

local FROM, PORTS = port_range()
local next_port = math.random(0, PORTS - 1)

local function quote(text)
  return "'" .. text:gsub("'", [['\'']]) .. "'"
end

--- A fresh folder.
-- @treturn string its absolute path
function scratch.folder()
  local pattern = (os.getenv "TMPDIR" or "/tmp") .. "/p2pd-XXXXXXXX"
  local made <close> = assert(io.popen("LD_PRELOAD= mktemp -d " .. quote(pattern)))
  local path = assert(made:read "l", "cannot make a folder " .. pattern)
  folders[#folders + 1] = path
  return path
end

--- Removes every folder that was given out.
function scratch.remove_all()
  local paths = {}
  for i, path in ipairs(folders) do paths[i] = quote(path) end
  folders = {}
  if paths[1] then os.execute("LD_PRELOAD= rm -rf " .. table.concat(paths, " ")) end
end

--- Writes a whole file.
-- @tparam string path
-- @tparam string text
-- @treturn string the path
function scratch.write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
  return path
end

--- Reads a whole file.
-- @tparam string path
-- @treturn string its text, empty when there is no such file
function scratch.read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a" or ""
end

local function add_used_ports(used, path)
  for port in scratch.read(path):gmatch "%d+: %x+:(%x+) " do
    used[tonumber(port, 16)] = true
  end
end

--- A port that nothing on this machine uses for TCP or UDP, and that was not given out before.
-- Somebody may still take it before you do: try another one then.
-- @treturn integer the port
function scratch.free_port()
  local used = {}
  for _, name in ipairs { "tcp", "tcp6", "udp", "udp6" } do
    add_used_ports(used, "/proc/net/" .. name)
  end
  for _ = 1, PORTS do
    next_port = (next_port + 1) % PORTS
    if not used[FROM + next_port] then return FROM + next_port end
  end
  error "every port is in use"
end

scratch.at_exit = setmetatable({}, { __gc = scratch.remove_all })

return scratch
