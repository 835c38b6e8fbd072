--- What a request asks for: paths and queries (RFC 3986). Pure.
-- @module p2pd.http.url
local url = {}

local function from_hex(digits)
  return string.char(tonumber(digits, 16))
end

--- Percent-decodes.
-- @tparam string text
-- @treturn string; or nil, message
function url.decode(text)
  if not text:find("%", 1, true) then return text end
  if text:gsub("%%%x%x", ""):find("%", 1, true) then return nil, "a % without two hexadecimal digits" end
  local decoded = text:gsub("%%(%x%x)", from_hex)
  if decoded:find("\0", 1, true) then return nil, "a NUL" end
  return decoded
end

--- Percent-encodes all but unreserved characters.
-- @tparam string text
-- @treturn string
function url.encode(text)
  return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- Parts a request's target into the decoded segments of its path and its raw query.
-- @tparam string target in origin form, RFC 9112 section 3.2.1
-- @treturn {string,...}; or nil, message
-- @treturn string
function url.split(target)
  local path, query = target:match "^(/[^?]*)%??(.*)$"
  if not path then return nil, "the target is no path" end
  local segments = {}
  for raw in path:sub(2):gmatch "[^/]+" do
    local segment, reason = url.decode(raw)
    if not segment then return nil, "the path has " .. reason end
    segments[#segments + 1] = segment
  end
  return segments, query
end

--- A query's values by name; the last one of a name counts.
-- @tparam string text
-- @treturn table; or nil, message
function url.query(text)
  local values = {}
  for pair in text:gmatch "[^&]+" do
    local raw_name, raw_value = pair:match "^([^=]*)=?(.*)$"
    local name, value = url.decode((raw_name:gsub("+", " "))), url.decode((raw_value:gsub("+", " ")))
    if not name or not value then return nil, "the query is malformed" end
    values[name] = value
  end
  return values
end

return url
