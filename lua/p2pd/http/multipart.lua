--- Reads a form with files (multipart/form-data: RFC 7578, RFC 2046 section 5.1) piece by piece as it comes,
-- so that one of any size takes the memory of a few pieces. Pure: what it reads from is given.
-- @classmod p2pd.http.multipart
local url = require "p2pd.http.url"

local multipart = {}

local HEAD_MAX = 16 * 1024 -- bytes of a part's head
local PREAMBLE_MAX = 1024  -- bytes before the first part
local MALFORMED = "the form is malformed: "

local Reader = { __name = "p2pd.http.multipart" }
Reader.__index = Reader

-- -- headers

local UNESCAPED = { ["%22"] = '"', ["%0D"] = "\r", ["%0A"] = "\n" }

-- A quoted value from its first quote on, and where it ends. Browsers write quotes and line ends as %22, %0D
-- and %0A (HTML, section 4.10.22.8), others have a backslash before quotes.
local function read_quoted(text, at)
  local stop = at
  repeat
    stop = text:find('["\\]', stop + 1)
    local is_escape = stop and text:find('^\\["\\]', stop)
    if is_escape then stop = stop + 1 end
  until not stop or not is_escape and text:byte(stop) == ('"'):byte()
  if not stop then return nil end
  return text:sub(at + 1, stop - 1):gsub('\\(["\\])', "%1"):gsub("%%%x%x", UNESCAPED), stop + 1
end

-- The parameters of a header's value, by name: `form-data; name="a"; filename="b"`.
local function read_params(text)
  local params, at = {}, text:find(";", 1, true)
  while at do
    local name, first = text:match("^;%s*([%w*_-]+)=()", at)
    if not name then return params end
    local value
    if text:sub(first, first) == '"' then
      value, at = read_quoted(text, first)
    else
      value, at = text:match("^([^;%s]*)()", first)
    end
    if not value then return params end
    params[name:lower()] = params[name:lower()] or value
    at = text:find(";", at, true)
  end
  return params
end

--- The boundary of a form, as its Content-Type names it.
-- @tparam ?string kind
-- @treturn ?string nil when it is no form; or nil, message: it is one without a boundary
function multipart.boundary(kind)
  local is_form = (kind or ""):lower():match "^[^;]*":find "^multipart/form%-data%s*$"
  if not is_form then return nil end
  local boundary = read_params(kind).boundary or ""
  if #boundary > 70 or not boundary:find "^[%w'()+_,./:=? -]*[%w'()+_,./:=?-]$" then
    return nil, MALFORMED .. "its Content-Type has no valid boundary"
  end
  return boundary
end

-- `filename*` is that of older clients (RFC 5987).
local function part_of(head)
  for name, value in head:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do
    if name:lower() == "content-disposition" then
      local params = read_params(value)
      local encoded = (params["filename*"] or ""):match "^[Uu][Tt][Ff]%-8'[^']*'(.*)$"
      return { name = params.name or "", filename = encoded and url.decode(encoded) or params.filename }
    end
  end
  return { name = "" }
end

-- -- bytes

--- Begins.
-- @tparam string boundary
-- @tparam function recv gives the next bytes; nil at the end; or nil, message, code
-- @treturn multipart
function multipart.new(boundary, recv)
  return setmetatable({ delimiter = "\r\n--" .. boundary, recv = recv, data = "\r\n" }, Reader)
end

local function fill(self)
  local data, reason, code = self.recv()
  if data then
    self.data = self.data .. data
    return true
  end
  return nil, reason or MALFORMED .. "it ends before its last boundary", reason and code or "EINVAL"
end

local function take(self, count)
  local piece = self.data:sub(1, count)
  self.data = self.data:sub(count + 1)
  return piece
end

--- The next bytes of the present part. Waits.
-- @treturn string nil at the part's end; or nil, message, code
function Reader:read()
  while not self.is_between do
    local first = self.data:find(self.delimiter, 1, true)
    if first == 1 then
      take(self, #self.delimiter)
      self.is_between = true
      return nil
    end
    local surely = first and first - 1 or #self.data - #self.delimiter
    if surely > 0 then return take(self, surely) end
    local ok, reason, code = fill(self)
    if not ok then return nil, reason, code end
  end
end

-- To the next boundary.
local function skip(self)
  local left = self.has_begun and math.huge or PREAMBLE_MAX
  repeat
    local piece, reason, code = self:read()
    if reason then return nil, reason, code end
    left = left - #(piece or "")
    if left < 0 then return nil, MALFORMED .. "it does not begin with its boundary", "EINVAL" end
  until not piece
  self.has_begun = true
  return true
end

-- What comes after a boundary: the head of a part; or nothing, when that was the last one.
local function read_head(self)
  while true do
    if self.data:find("^%-%-") then return nil end
    local first = self.data:find("\r\n\r\n", 1, true)
    if first then
      local head = take(self, first + 3)
      if head:find "^[ \t]*\r\n" then return head end
      return nil, MALFORMED .. "something follows a boundary", "EINVAL"
    end
    if #self.data > HEAD_MAX then
      return nil, (MALFORMED .. "a part's head has more than %d bytes"):format(HEAD_MAX), "EMSGSIZE"
    end
    local ok, reason, code = fill(self)
    if not ok then return nil, reason, code end
  end
end

-- What follows the last boundary says nothing.
local function drain(self)
  local data, reason, code
  repeat data, reason, code = self.recv() until not data
  return nil, reason, code
end

--- The next part; what is left of the present one is skipped. Waits.
-- @treturn table `name`, and `filename` of one that is a file; nil at the end; or nil, message, code
function Reader:next()
  local ok, reason, code = skip(self)
  if not ok then return nil, reason, code end
  local head
  head, reason, code = read_head(self)
  if reason then return nil, reason, code end
  if not head then return drain(self) end
  self.is_between = false
  return part_of(head)
end

return multipart
