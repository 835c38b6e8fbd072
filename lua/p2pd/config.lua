--- Settings: where they come from, and what a legal one looks like.
-- A settings file is a Lua chunk that returns a table with any of the keys `mqtt`, `stun`, `ntp`, `turn`,
-- each a list of servers, and `silence`, seconds. It sees no globals, and strings have no methods. Every
-- error names the file, the list and the entry.
-- @module p2pd.config
local chunk = require "p2pd.config.chunk"
local defaults = require "p2pd.settings"
local options = require "p2pd.options"
local proxy = require "p2pd.proxy"

local config = {}

local MAX_HOST = 253      -- characters, RFC 1035 section 2.3.4
local MAX_PATH = 1024     -- characters of a WebSocket's
local MAX_SILENCE = 86400 -- seconds
local MAX_SHOWN = 40      -- characters of a bad value that an error repeats

local function show(value)
  if type(value) == "table" or type(value) == "function" then return "a " .. type(value) end
  if type(value) ~= "string" then return tostring(value) end
  local clipped = #value > MAX_SHOWN and value:sub(1, MAX_SHOWN) .. "..." or value
  return '"' .. clipped:gsub("[%c\"\\\x80-\xff]", function(c) return ("\\%d"):format(c:byte()) end) .. '"'
end

-- -- fields: each check returns what is wrong, or nil

local function host_fault(value)
  if value == nil then return "missing" end
  if type(value) ~= "string" then return show(value) .. " is not a string" end
  if value == "" then return "empty" end
  if #value > MAX_HOST then return ("longer than %d characters"):format(MAX_HOST) end
  if value:find "[^%w%.:_%%-]" then return show(value) .. " is not a host name or an IP address" end
end

local function port_fault(value)
  if value == nil then return "missing" end
  if math.type(value) ~= "integer" then return show(value) .. " is not an integer" end
  if value < 1 or value > 65535 then return ("%d is not 1 to 65535"):format(value) end
end

local function boolean_fault(value)
  if value ~= nil and type(value) ~= "boolean" then return show(value) .. " is not true or false" end
end

local function text_fault(value)
  if value == nil then return nil end
  if type(value) ~= "string" then return show(value) .. " is not a string" end
  if value:find("\0", 1, true) then return "has a NUL byte" end
end

local TRANSPORTS = { udp = true, tcp = true, tls = true }

local function transport_fault(value)
  if value ~= nil and not TRANSPORTS[value] then return show(value) .. ' is not "udp", "tcp" or "tls"' end
end

local function path_fault(value)
  if value == nil then return nil end
  if type(value) ~= "string" then return show(value) .. " is not a string" end
  if not value:find "^/[\x21-\x7e]*$" or #value > MAX_PATH then return show(value) .. " is not a path" end
end

local function proxy_fault(value)
  if value == nil or value == false then return nil end
  if type(value) ~= "string" then return show(value) .. " is neither a URL nor false" end
  local ok, fault = proxy.parse(value)
  if not ok then return show(value) .. ": " .. fault end
end

local function silence_fault(value)
  if type(value) ~= "number" then return show(value) .. " is not a number of seconds" end
  if not (value >= 1 and value <= MAX_SILENCE) then
    return ("%s is not 1 to %d seconds"):format((tostring(value):gsub("^%-nan", "nan")), MAX_SILENCE)
  end
end

local NUMBERS = { silence = silence_fault }

local LISTS = {
  mqtt = { host = host_fault, port = port_fault, tls = boolean_fault, ca = text_fault, cert = text_fault,
    key = text_fault, user = text_fault, pass = text_fault, websocket = path_fault, proxy = proxy_fault },
  stun = { host = host_fault, port = port_fault, behaviour = boolean_fault },
  ntp = { host = host_fault, port = port_fault },
  turn = { host = host_fault, port = port_fault, transport = transport_fault, user = text_fault,
    pass = text_fault, realm = text_fault, ca = text_fault },
}

-- By list: a field, and the one without which it makes no sense. "": the entry needs it always.
local NEEDS = {
  mqtt = { { "pass", "user" }, { "ca", "tls" }, { "cert", "tls" }, { "key", "cert" } },
  turn = { { "", "user" }, { "", "pass" } },
  stun = {}, ntp = {},
}

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function find_entry_fault(entry, checks, needs)
  if type(entry) ~= "table" then return ": " .. show(entry) .. " is not a table" end
  for _, field in ipairs(sorted_keys(checks)) do
    local fault = checks[field](entry[field])
    if fault then return ("%s: %s"):format("." .. field, fault) end
  end
  for _, field in ipairs(sorted_keys(entry)) do
    if not checks[field] then return (": no field is called %s"):format(show(field)) end
  end
  for _, pair in ipairs(needs) do
    local field, needed = table.unpack(pair)
    if (field == "" or entry[field]) and not entry[needed] then
      if field == "" then return (".%s: missing"):format(needed) end
      return (".%s: needs %s as well"):format(field, needed)
    end
  end
end

local function find_list_fault(list, checks, needs)
  if type(list) ~= "table" then return ": " .. show(list) .. " is not a list" end
  local n = #list
  for _, key in ipairs(sorted_keys(list)) do
    if math.type(key) ~= "integer" or key < 1 or key > n then
      return (": %s is no place in a list"):format(show(key))
    end
  end
  for i = 1, n do
    local fault = find_entry_fault(list[i], checks, needs)
    if fault then return ("[%d]%s"):format(i, fault) end
  end
end

local function find_fault(key, value)
  if NUMBERS[key] then
    local fault = NUMBERS[key](value)
    return fault and ("%s: %s"):format(key, fault)
  end
  if not LISTS[key] then return ("no setting is called %s"):format(show(key)) end
  local fault = find_list_fault(value, LISTS[key], NEEDS[key])
  return fault and key .. fault
end

--- Checks every entry of a settings table.
-- @tparam table settings
-- @tparam[opt="settings"] string source what errors call it
-- @treturn[1] table the settings
-- @treturn[2] nil
-- @treturn[2] string such as "settings.lua: mqtt[2].port: 70000 is not 1 to 65535"
-- @treturn[2] string "EINVAL"
function config.check(settings, source)
  source = source or "settings"
  if type(settings) ~= "table" then
    return nil, ("%s: %s, and not a table of settings"):format(source, show(settings)), "EINVAL"
  end
  for _, key in ipairs(sorted_keys(settings)) do
    local fault = find_fault(key, settings[key])
    if fault then return nil, ("%s: %s"):format(source, fault), "EINVAL" end
  end
  return settings
end

-- -- files

--- Reads a settings file and checks it. The chunk is Lua text, never bytecode, and sees no globals.
-- @tparam string path
-- @treturn[1] table the file's own keys; see @{resolve} for those of the defaults beside them
-- @treturn[2] nil
-- @treturn[2] string message that begins with the path
-- @treturn[2] string "ENOENT", "EACCES", "EIO", "EFBIG", or "EINVAL" for what the file says
function config.load(path)
  local settings, reason, code = chunk.load(path)
  if code then return nil, reason, code end
  return config.check(settings or nil, path)
end

--- Where the user keeps a file of ours: in `$XDG_CONFIG_HOME/p2pd`, or `$HOME/.config/p2pd`.
-- @tparam string name of the file
-- @treturn ?string nil when there is no home
function config.path(name)
  local folder = os.getenv "XDG_CONFIG_HOME"
  if folder and folder:sub(1, 1) == "/" then return ("%s/p2pd/%s"):format(folder, name) end
  local home = os.getenv "HOME"
  if home and home:sub(1, 1) == "/" then return ("%s/.config/p2pd/%s"):format(home, name) end
end

--- Settings with some keys replaced, each as a whole.
-- @tparam table base
-- @tparam[opt] table over
-- @treturn table a new one; neither argument is changed
-- @function merge
config.merge = options.merge

-- The user's own settings file, when there is one.
local function load_own()
  local path = config.path "settings.lua"
  if not path then return {} end
  local own, reason, code = config.load(path)
  if code == "ENOENT" then return {} end
  return own, reason, code
end

local function load_given(given)
  if given == nil then return load_own() end
  if type(given) == "string" then return config.load(given) end
  return config.check(given)
end

--- The settings to use: those given, else those of the file that $P2PD_SETTINGS names, else those of the
-- user's own file, `$XDG_CONFIG_HOME/p2pd/settings.lua`, else the defaults. What is given replaces the
-- defaults' keys; the other keys are the defaults'.
-- @tparam[opt] table|string given settings or the path of a file
-- @treturn[1] table complete settings
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function config.resolve(given)
  local environment = os.getenv "P2PD_SETTINGS"
  if given == nil and environment ~= "" then given = environment end
  local over, reason, code = load_given(given)
  if not over then return nil, reason, code end
  return config.merge(defaults, over)
end

return config
