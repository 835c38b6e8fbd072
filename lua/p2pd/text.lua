--- Text that others have written, made fit for a terminal and a log. Pure.
-- @module p2pd.text
local text = {}

-- Characters that are not to be seen, or that change what is: controls (C0, DEL, C1), bidirectional
-- formatting (Unicode TR9), line separators, zero-width ones, tags.
local HIDDEN = {
  { 0x00, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x61c, 0x61c }, { 0x180e, 0x180e },
  { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xd800, 0xdfff }, { 0xfdd0, 0xfdef },
  { 0xfeff, 0xfeff }, { 0xfff0, 0xfffb }, { 0xfffe, 0xffff }, { 0xe0000, 0xe0fff },
}

local function is_hidden(code)
  for _, range in ipairs(HIDDEN) do
    if code >= range[1] and code <= range[2] then return true end
  end
  return code > 0x10ffff
end

--- The same text with a "?" for each character that is not to be printed, and for each byte that is no UTF-8.
-- @tparam string bytes
-- @tparam[opt=512] integer most bytes of the result
-- @treturn string
function text.printable(bytes, most)
  most = most or 512
  if #bytes <= most and not bytes:find "[^\x20-\x7e]" then return bytes end
  local parts, at, length = {}, 1, 0
  while at <= #bytes do
    local last = utf8.len(bytes, at, at) and utf8.offset(bytes, 2, at) or at + 1
    local part = bytes:sub(at, last - 1)
    local code = utf8.len(part) == 1 and utf8.codepoint(part)
    if not code or is_hidden(code) then part = "?" end
    if length + #part > most then break end
    parts[#parts + 1], length, at = part, length + #part, last
  end
  return table.concat(parts)
end

--- Words on lines that are no longer than a width; a word that is longer is broken.
-- @tparam string words
-- @tparam integer width bytes
-- @tparam[opt=""] string first what the first line begins with
-- @tparam[opt=first] string rest what the others begin with
-- @treturn {string,...} lines, at least one
function text.wrap(words, width, first, rest)
  local lines, line, is_empty = {}, first or "", true
  rest = rest or line
  local function turn()
    lines[#lines + 1], line, is_empty = line, rest, true
  end
  for word in words:gmatch "%S+" do
    if not is_empty and #line + 1 + #word > width then turn() end
    line, is_empty = is_empty and line .. word or line .. " " .. word, false
    while #line > width do
      local left = line:sub(width + 1)
      line = line:sub(1, width)
      turn()
      line, is_empty = line .. left, false
    end
  end
  lines[#lines + 1] = line
  return lines
end

return text
