--- A client for the specs of HTTP, to send what no well-behaved one would.
local core = require "p2pd.core"
local json = require "dkjson"

local http = { WAIT = 10 }

local Client = {}
Client.__index = Client

--- Connects.
-- @tparam integer port
-- @tparam[opt] string ip
-- @treturn client to be closed; `stream` is the connection
function http.connect(port, ip)
  local stream = assert(core.tcp.connect(ip or "127.0.0.1", port, nil, http.WAIT))
  stream:settimeout(http.WAIT)
  return setmetatable({ stream = stream }, Client)
end

function Client:close()
  self.stream:close()
end

--- Hangs up without a word.
function Client:abort()
  self.stream:abort()
end

Client.__close = Client.close

--- Sends a request.
-- @tparam string method
-- @tparam string target
-- @tparam[opt] table headers by name; a Host is added, unless it is false
-- @tparam[opt] string body
function Client:send(method, target, headers, body)
  local lines = { ("%s %s HTTP/1.1"):format(method, target) }
  local all = { Host = "localhost" }
  for name, value in pairs(headers or {}) do all[name] = value end
  if body and not all["Transfer-Encoding"] then all["Content-Length"] = all["Content-Length"] or #body end
  for name, value in pairs(all) do
    if value then lines[#lines + 1] = ("%s: %s"):format(name, value) end
  end
  return self.stream:write(table.concat(lines, "\r\n"), "\r\n\r\n", body or "")
end

local function read_chunks(stream)
  local pieces = {}
  while true do
    local size = tonumber((assert(stream:read(), "the answer is broken off"):match "^%x+"), 16)
    local piece = stream:read(size + 2) or ""
    assert(#piece == size + 2, "the answer is broken off")
    if size == 0 then return table.concat(pieces) end
    pieces[#pieces + 1] = piece:sub(1, size)
  end
end

--- Reads an answer's head.
-- @treturn table status, headers (by name in lower case); nil at the connection's end
function Client:head()
  local first = self.stream:read()
  if not first then return nil end
  local answer = { status = tonumber(first:match "^HTTP/1.1 (%d+)"), headers = {} }
  for line in function() return (self.stream:read()) end do
    local name, value = line:match "^([^:]+): *(.-)\r?$"
    if not name then break end
    answer.headers[name:lower()] = value
  end
  return answer
end

--- Reads an answer.
-- @treturn table status, headers, body, json (of a JSON body); nil at the connection's end
function Client:receive()
  local answer = self:head()
  if not answer then return nil end
  local length = tonumber(answer.headers["content-length"])
  if answer.headers["transfer-encoding"] == "chunked" then
    answer.body = read_chunks(self.stream)
  elseif length and length > 0 then
    answer.body = self.stream:read(length)
  end
  if (answer.headers["content-type"] or ""):find "json" then answer.json = json.decode(answer.body, 1,
    json.null) end
  return answer
end

--- A request and its answer, on a connection of its own.
-- @tparam integer port
-- @return as receive
function http.request(port, method, target, headers, body)
  local client <close> = http.connect(port)
  client:send(method, target, headers, body)
  return client:receive()
end

return http
