--- Names of files that somebody else has chosen, made safe: they stay below the folder that receives, show no
-- characters that are not to be seen, and take the place of none of ours. Pure.
-- @module p2pd.transfer.names
local core = require "p2pd.core"
local text = require "p2pd.text"

local names = {}

local PATH_MAX, NAME_MAX = 4095, 255 -- bytes
local DEPTH_MAX = 200 -- folders within each other
local PART = ".p2pd.part"

--- How the names of unfinished files end.
names.PART = PART

local function parts_of(path)
  local parts = {}
  for part in (path .. "/"):gmatch "([^/]*)/" do parts[#parts + 1] = part end
  return parts
end

local function find_fault(part)
  if part == "" or part == "." or part == ".." then return ('"%s" in it'):format(part) end
  if #part > NAME_MAX then return ("a name of more than %d bytes"):format(NAME_MAX) end
  if part:sub(-#PART) == PART then return ("a name that ends in %s, as unfinished files' do"):format(PART) end
end

-- Hidden characters and what is no UTF-8 become underscores.
local function show(part)
  local shown = text.printable(part, NAME_MAX)
  return shown == part and part or (shown:gsub("%?", "_"))
end

--- A path as it may be used here.
-- @tparam string path parts separated by slashes
-- @treturn string the path, with other names where there were control characters; or nil and what is wrong
function names.make_safe(path)
  if #path > PATH_MAX then return nil, "a path too long" end
  if path:sub(1, 1) == "/" then return nil, "an absolute path" end
  local parts = parts_of(path)
  if #parts > DEPTH_MAX then return nil, ("more than %d folders within each other"):format(DEPTH_MAX) end
  for i, part in ipairs(parts) do
    local fault = find_fault(part)
    if fault then return nil, "not a safe path: " .. fault end
    parts[i] = show(part)
  end
  return table.concat(parts, "/")
end

--- Whether a symbolic link stays within the tree that it is sent with: it goes up first, not above the top,
-- and then only down, so that no other link on its way leads elsewhere.
-- @tparam string path of the link
-- @tparam string target
-- @treturn boolean
function names.stays_within(path, target)
  if target == "" or target:sub(1, 1) == "/" or #target > PATH_MAX or target:find "%c" then return false end
  local depth, goes_down = #parts_of(path) - 1, false
  for _, part in ipairs(parts_of((target:gsub("/+$", "")))) do
    if part == ".." then
      depth = depth - 1
      if goes_down or depth < 1 then return false end
    elseif part ~= "." and part ~= "" then
      goes_down = true
    end
  end
  return depth >= 1
end

--- The last part of a path, and what is before it.
-- @tparam string path
-- @treturn string name
-- @treturn string folder, "" for none
function names.split(path)
  local folder, name = path:match "^(.*)/([^/]*)$"
  return name or path, folder or ""
end

--- Where a file is kept until it is whole: beside its place.
-- @tparam string path
-- @treturn string
function names.part_of(path)
  local name, folder = names.split(path)
  if #name + #PART > NAME_MAX then
    local mark = ("%016x"):format(("I8"):unpack(core.keys.mac("part", name)))
    name = name:sub(1, NAME_MAX - #PART - #mark - 1) .. "~" .. mark
  end
  return (folder == "" and "" or folder .. "/") .. name .. PART
end

return names
