--- HTTP to a gateway: one request on a connection of its own (RFC 9112). What comes back is a stranger's:
-- it has a limit of size and of time.
-- @module p2pd.port_mapping.http
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local endpoint = require "p2pd.endpoint"

local http = {}

http.BODY_MAX = 65536 -- bytes

local HEAD_MAX = 8192 -- bytes

local function authority(ip, port)
  return endpoint.format((ip:gsub("%%.*", "")), port)
end

local function compose(target, request)
  local lines = {
    ("%s %s HTTP/1.1"):format(request.method, request.path),
    "Host: " .. authority(target.ip, target.port),
    "Connection: close",
  }
  for _, header in ipairs(request.headers or {}) do lines[#lines + 1] = header end
  if request.body then lines[#lines + 1] = "Content-Length: " .. #request.body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (request.body or "")
end

local function parse_head(text)
  local status = tonumber(text:match "^HTTP/1%.%d (%d%d%d)")
  if not status then return nil, "no HTTP", "EBADMSG" end
  local headers = {}
  for name, value in text:gmatch "\r\n([%w%-]+):[ \t]*([^\r\n]*)" do headers[name:lower()] = value end
  return { status = status, headers = headers }
end

-- The body of chunks (RFC 9112 section 7.1); nil while the last one is not there.
local function join_chunks(data)
  local parts, at = {}, 1
  while true do
    local size, next_at = data:match("^(%x+)[^\r\n]*\r\n()", at)
    size = size and #size <= 6 and tonumber(size, 16)
    if not size then return nil end
    if size == 0 then return table.concat(parts) end
    if #data < next_at + size + 1 then return nil end
    parts[#parts + 1] = data:sub(next_at, next_at + size - 1)
    at = next_at + size + 2
  end
end

-- The body, as far as the response is complete.
local function complete_body(response, data, ended)
  if (response.headers["transfer-encoding"] or ""):lower():find "chunked" then return join_chunks(data) end
  local length = tonumber((response.headers["content-length"] or ""):match "^%d+$")
  if length and #data >= length then return data:sub(1, length) end
  return ended and not length and data or nil
end

-- The response that the bytes are; false when they are the beginning of one; or nil, reason, code.
local function parse(data, ended)
  local head, rest = data:find("\r\n\r\n", 1, true)
  if not head then
    if #data > HEAD_MAX then return nil, "a head without end", "EMSGSIZE" end
    return false
  end
  local response, reason, code = parse_head(data:sub(1, head + 1))
  if not response then return nil, reason, code end
  local body = data:sub(rest + 1)
  if #body > http.BODY_MAX + HEAD_MAX then return nil, "an answer without end", "EMSGSIZE" end
  response.body = complete_body(response, body, ended)
  return response.body and response or false
end

local function read_response(stream, limit)
  local data = ""
  while true do
    stream:settimeout(limit:left())
    local more, reason, code = stream:recv()
    if not more and reason then return nil, reason, code end
    data = data .. (more or "")
    local response
    response, reason, code = parse(data, not more)
    if response ~= false then return response, reason, code end
    if not more then return nil, "the answer is cut off", "EBADMSG" end
  end
end

--- Sends a request and reads the answer. Waits.
-- @tparam table target `ip`, `port`; `nic`: our address
-- @tparam table request `method`, `path`, `headers` (lines), `body`
-- @tparam number timeout seconds
-- @treturn table `status`, `headers` (by names in small letters), `body`; or nil, message, code
function http.request(target, request, timeout)
  local limit = deadline.after(timeout)
  local stream <close>, reason, code = core.tcp.connect(target.ip, target.port, { ip = target.nic }, timeout)
  if not stream then return nil, reason, code end
  stream:settimeout(limit:left())
  local ok
  ok, reason, code = stream:write(compose(target, request))
  if not ok then return nil, reason, code end
  return read_response(stream, limit)
end

return http
