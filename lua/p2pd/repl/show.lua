--- Values as text for people: tables with their keys sorted, objects with their fields, on one line where
-- they fit. However large or tangled a value is, the text is short.
-- @module p2pd.repl.show
local keywords = require "p2pd.repl.keywords"
local members = require "p2pd.repl.members"
local text = require "p2pd.text"

local show = {}

local DEPTH, WIDTH = 4, 80
local STRING_MAX = 300 -- bytes of a string inside a table
local ENTRIES_MAX = 64 -- of one table
local TOTAL_MAX = 500  -- entries of a whole value
local INDENT = "  "

local COLOURS = { string = "green", number = "yellow", boolean = "yellow", ["nil"] = "dim" }

-- The text as it is when it has no control characters and is UTF-8, else with escapes.
local function quote(value)
  local cut = #value > STRING_MAX and value:sub(1, STRING_MAX) or value
  local escaped = cut:gsub("[\\\"]", "\\%0"):gsub("\n", "\\n"):gsub("\r", "\\r"):gsub("\t", "\\t")
  if not utf8.len(escaped) then
    escaped = escaped:gsub("[\x80-\xff]", function(c) return ("\\x%02x"):format(c:byte()) end)
  end
  escaped = escaped:gsub("[\0-\31\127]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return ('"%s"%s'):format(escaped, #cut < #value and (" .. (%d bytes)"):format(#value) or "")
end

-- Keys of one kind by value, kinds one after the other.
local RANK = { number = 1, string = 2, boolean = 3 }

local function is_before(a, b)
  local rank_a, rank_b = RANK[type(a)] or 4, RANK[type(b)] or 4
  if rank_a ~= rank_b then return rank_a < rank_b end
  if rank_a <= 2 then return a < b end
  return tostring(a) < tostring(b)
end

local function sorted_keys(t)
  local keys = {}
  for key in next, t do
    if key == key then keys[#keys + 1] = key end
  end
  pcall(table.sort, keys, is_before) -- a __tostring may fail
  return keys
end

local function is_name(key)
  return type(key) == "string" and key:find "^[%a_][%w_]*$" ~= nil and not keywords[key]
end

-- -- rendering: each function returns the text, and its columns without colours ---------------------------

local render

local function columns_of(shown)
  return utf8.len(shown) or #shown
end

local function tostring_of(value)
  local ok, said = pcall(tostring, value)
  return ok and text.printable(said, STRING_MAX) or "(its __tostring failed)"
end

local function plain(value, self)
  local kind = type(value)
  local shown = kind == "string" and quote(value) or tostring_of(value)
  return self.paint(shown, COLOURS[kind] or "dim"), columns_of(shown)
end

-- What an object says of itself, or its class's name; and whether it is the former.
local function title_of(value)
  local meta = debug.getmetatable(value)
  if type(meta) ~= "table" then return nil end
  if rawget(meta, "__tostring") ~= nil then return tostring_of(value), true end
  local name = rawget(meta, "__name")
  return type(name) == "string" and name or nil
end

local function render_key(key, self)
  if is_name(key) then return key .. " = ", #key + 3 end
  local shown, width = plain(key, self)
  return "[" .. shown .. "] = ", width + 5
end

local function add(entries, shown, width)
  entries[#entries + 1] = shown
  entries.width = (entries.width or 0) + width + 2
end

-- The array's part without keys, then the rest.
local function collect(t, self, depth)
  local entries, nth = {}, 1
  local keys = sorted_keys(t)
  for i, key in ipairs(keys) do
    self.total = self.total + 1
    if i > ENTRIES_MAX or self.total > TOTAL_MAX then
      add(entries, self.paint(("... %d more"):format(#keys - i + 1), "dim"), 12)
      break
    end
    local label, label_width = "", 0
    if key == nth then nth = nth + 1 else label, label_width = render_key(key, self) end
    local shown, width = render(rawget(t, key), self, depth, label_width)
    add(entries, label .. shown, label_width + width)
  end
  return entries
end

-- Entries in braces: on one line if that is no wider than what is left.
local function enclose(entries, self, depth, before, title)
  local head, head_width = title and title .. " " or "", title and columns_of(title) + 1 or 0
  if #entries == 0 then return head .. "{}", head_width + 2 end
  local width = head_width + entries.width + 2
  local indent = INDENT:rep(depth)
  if before + #indent + width <= self.width then
    return ("%s{ %s }"):format(head, table.concat(entries, ", ")), width
  end
  local inner = ",\n" .. indent .. INDENT
  local lines = table.concat(entries, inner)
  return ("%s{\n%s%s%s,\n%s}"):format(head, indent, INDENT, lines, indent), self.width + 1
end

local function render_table(value, self, depth, before, title)
  if self.above[value] then
    return self.paint("<cycle>", "dim"), #"<cycle>"
  end
  local listed = members.fields(value)
  local fields = listed or value
  if depth >= self.depth and next(fields) ~= nil then
    local cut = (title and title .. " " or "") .. "{...}"
    return cut, columns_of(cut)
  end
  self.above[value] = true
  local entries = collect(fields, self, listed and self.depth or depth + 1)
  self.above[value] = nil
  return enclose(entries, self, depth, before, title)
end

-- The outermost object is shown with its members, those inside of it by what they say of themselves.
function render(value, self, depth, before)
  local is_object = members.listed(value) ~= nil
  if type(value) ~= "table" and not is_object then return plain(value, self) end
  local title, has_text = title_of(value)
  if has_text and not (is_object and depth == 0) then return title, columns_of(title) end
  return render_table(value, self, depth, before, title)
end

--- A value as text for people.
-- @param value
-- @tparam[opt] table options width (columns, 80), depth (of tables in tables, 4), paint (function of a text
-- and a colour's name that returns the text in it)
-- @treturn string strings as they are, numbers and the like as `tostring` has them
function show.text(value, options)
  options = options or {}
  local self = {
    width = options.width or WIDTH,
    depth = options.depth or DEPTH,
    paint = options.paint or function(shown) return shown end,
    above = {},
    total = 0,
  }
  return type(value) == "string" and value or (render(value, self, 0, 0))
end

return show
