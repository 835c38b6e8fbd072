--- Whom a person means: an address as it was pasted, a bare node id, or the name of a contact.
-- Around it blanks, line ends, one pair of quotes and our own label `address:` are forgiven, and a line break
-- within, as terminals and mail make them. What is cut off is said to be so.
-- @module p2pd.peer
local address = require "p2pd.address"
local core = require "p2pd.core"
local families = require "p2pd.families"
local text_of = require "p2pd.text"

local peer = {}

local ID_LENGTHS = { 43, 44 } -- of a key of 32 bytes in base58, but for one in 2,000
local BROKERS = 3             -- of the settings that a bare node id stands for
local MARGIN = 256            -- bytes that may surround an address
local MAX_SHOWN = 60          -- bytes of a bad text that an error repeats
local QUOTES = { { '"', '"' }, { "'", "'" }, { "`", "`" }, { "<", ">" }, { "\u{201c}", "\u{201d}" },
  { "\u{2018}", "\u{2019}" }, { "\u{201e}", "\u{201c}" } }
local BLANKS = { "\u{a0}", "\u{feff}", "\u{200b}" } -- that "%s" does not know
local CUT = "the address is cut off: "
local BEGINNING = "^%d[%d,]*%-[%[0]" -- of an address

-- -- what surrounds it

local function trim(text)
  for _, blank in ipairs(BLANKS) do text = text:gsub(blank, " ") end
  return text:match "^%s*(.-)%s*$"
end

local function unquote(text)
  for _, pair in ipairs(QUOTES) do
    local first, last = pair[1], pair[2]
    if #text >= #first + #last and text:sub(1, #first) == first and text:sub(-#last) == last then
      return trim(text:sub(#first + 1, -#last - 1)), true
    end
  end
  return text, false
end

local function unlabel(text)
  return trim((text:gsub("^[Aa]ddress%s*:", "")))
end

--- A text without what a person's copy of it may have around it.
-- @tparam string text
-- @treturn string
function peer.strip(text)
  local stripped, was_quoted = unquote(trim(text))
  stripped = unlabel(stripped)
  if not was_quoted then stripped = unquote(stripped) end
  return (stripped:gsub("[ \t]*[\r\n]+%s*", ""))
end

-- -- what is wrong with it

local function show(text)
  local shown = text_of.printable(text, MAX_SHOWN)
  return #text > MAX_SHOWN and shown .. "..." or shown
end

local function has_dots(text)
  for _, dots in ipairs { "...", "\u{2026}" } do
    if text:sub(1, #dots) == dots or text:sub(-#dots) == dots then return true end
  end
  return false
end

-- Whether the parser has come to the end and wanted more.
local function is_short(text, fault)
  local at = math.tointeger(tonumber(fault:match "at byte (%d+)$"))
  return fault:find ": missing$" ~= nil or fault:find "^node id: empty" ~= nil
    or fault:find "no %] at its end$" ~= nil or at ~= nil and at > #text
end

local function count_of(id)
  return ("has %d characters instead of %d or %d"):format(#id, ID_LENGTHS[1], ID_LENGTHS[2])
end

local function describe_fault(text, fault)
  if text == "" then return "not a peer address: " .. fault end
  if has_dots(text) then return CUT .. "the dots stand for a part of it" end
  if text:find "^%d" and is_short(text, fault) then return CUT .. "its end is missing" end
  local head, id = text:match "^(.*%-)(%w+)$"
  if id and core.keys.is_id(id) and not head:find "[^%x.,:|%[%]-]" and not head:find(BEGINNING) then
    return ("%sits beginning is missing; the node id alone would do: %s"):format(CUT, id)
  end
  return "not a peer address: " .. fault
end

local function id_fault(id)
  if #id < ID_LENGTHS[2] then return ("%sits node id %s %s"):format(CUT, show(id), count_of(id)) end
  return ("the node id %s is no key"):format(show(id))
end

local function word_fault(word)
  if #word >= 20 and not word:find "[0OIl]" and #word < ID_LENGTHS[2] then
    return ("the node id is cut off: %s %s"):format(show(word), count_of(word))
  end
  return ("%s is neither an address nor a node id"):format(show(word))
end

-- -- reading

local function parse_id(id, settings)
  local mqtt = {}
  for offset = 0, math.min(BROKERS, settings and #settings.mqtt or BROKERS) - 1 do
    mqtt[#mqtt + 1] = offset
  end
  if not mqtt[1] then return nil, "a node id alone needs a broker in the settings", "EINVAL" end
  return { mqtt = mqtt, ipv4 = {}, ipv6 = {}, node_id = id }
end

local function parse_address(text, settings, insecure)
  local parsed, fault = address.parse(text, settings)
  if not parsed then return nil, describe_fault(text, fault), "EINVAL" end
  if insecure or core.keys.is_id(parsed.node_id) then return parsed end
  return nil, id_fault(parsed.node_id), "EINVAL"
end

--- Reads an address or a node id that a person has given. A bare node id stands for an address without
-- records at the first brokers of the settings.
-- @tparam string text
-- @tparam[opt] table settings when given, brokers beyond its `mqtt` list are refused
-- @tparam[opt] table options `insecure` (true: node ids that are no keys are taken too)
-- @treturn[1] table as @{p2pd.address.parse} gives it
-- @treturn[2] nil
-- @treturn[2] string what is wrong, for people
-- @treturn[2] string code: ENOENT for a word that is neither, else EINVAL
function peer.parse(text, settings, options)
  if #text > address.MAX_BYTES + MARGIN then return parse_address(text, settings) end -- says so
  local stripped = peer.strip(text)
  if core.keys.is_id(stripped) then return parse_id(stripped, settings) end
  if stripped:find "^[%w_]*%a[%w_]*$" then return nil, word_fault(stripped), "ENOENT" end
  return parse_address(stripped, settings, options and options.insecure)
end

--- The addresses that a person has named with an address: to connect there is his own wish.
-- @tparam table parsed as @{parse} gives it
-- @treturn table a set of IP addresses
function peer.named(parsed)
  local typed = {}
  for _, family in ipairs(families.ALL) do
    for _, record in ipairs(parsed[family]) do
      typed[record.external], typed[record.internal] = true, true
    end
  end
  return typed
end

--- Finds the address of whom a person means; contacts come before everything else.
-- @tparam string text an address, a node id, or the name of a contact
-- @tparam[opt] table options `settings`; `contacts`, with a function `find(name)` that returns an address
-- or a node id, or nil; `insecure` as for @{parse}
-- @treturn[1] string the address
-- @treturn[2] nil
-- @treturn[2] string what is wrong, for people
-- @treturn[2] string code
function peer.find(text, options)
  options = options or {}
  local name = #text <= address.MAX_BYTES and peer.strip(text)
  local known, why, errno
  if name and options.contacts then known, why, errno = options.contacts.find(name) end
  local parsed, reason, code = peer.parse(known or text, options.settings, options)
  if parsed then return address.format(parsed) end
  if known then reason = ("of the contact %s: %s"):format(show(name), reason) end
  if code == "ENOENT" and options.contacts and not known then
    if errno and errno ~= "ENOENT" then return nil, why, errno end
    reason = reason:gsub("neither an address nor a node id$", "neither an address, a node id nor a contact")
  end
  return nil, reason, code
end

return peer
