--- A request and its answer, as handlers have them.
--
-- `params`, `query` and `body` have been checked; `headers` are by name in lower case; `service` is the
-- server's, see @{p2pd.http}; `request` is the core's, for bodies of any size and answers in pieces.
-- @classmod p2pd.http.exchange
local deadline = require "p2pd.deadline"
local json = require "dkjson"
local problem = require "p2pd.http.problem"
local schema = require "p2pd.http.schema"
local url = require "p2pd.http.url"

local exchange = {}

exchange.BODY_MAX = 64 * 1024 -- bytes of a JSON body

local BODY_S = 10 -- for a JSON body to arrive

local Exchange = { __name = "p2pd.http.exchange" }
Exchange.__index = Exchange

--- @tparam request request
-- @tparam table service
function exchange.new(request, service)
  local method, target, headers = request:head()
  return setmetatable({ request = request, service = service, method = method, target = target,
    headers = headers }, Exchange)
end

-- What every answer says: nothing of it is for other pages, or to be kept.
local COMMON = {
  ["Cache-Control"] = "no-store",
  ["X-Content-Type-Options"] = "nosniff",
  ["Referrer-Policy"] = "no-referrer",
  ["Cross-Origin-Resource-Policy"] = "same-origin",
  ["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'",
}

-- P2PD's pages are files, whose origin is "null".
local function headers_of(self, kind, more)
  local headers = { ["Content-Type"] = kind }
  for name, value in pairs(COMMON) do headers[name] = value end
  local is_open = self.service.rules.allow_null_origin and self.style == "p2pd"
  if is_open and self.headers.origin == "null" then
    headers["Access-Control-Allow-Origin"] = "null"
    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
  end
  for name, value in pairs(more or {}) do headers[name] = value end
  return headers
end

-- -- answers

--- Answers with bytes.
-- @tparam integer status
-- @tparam string kind of content
-- @tparam string body
-- @tparam[opt] table more headers
-- @treturn boolean true; or nil, message, code
function Exchange:send(status, kind, body, more)
  self.status = status
  return self.request:answer(status, headers_of(self, kind, more), body)
end

--- Answers with a value, as JSON.
function Exchange:send_json(status, value, more)
  return self:send(status, "application/json", json.encode(value) .. "\n", more)
end

--- Answers without a body.
function Exchange:send_nothing(status)
  self.status = status
  local headers = headers_of(self)
  return self.request:answer(status, headers)
end

--- Answers with what went wrong.
-- @tparam problem failure
function Exchange:send_problem(failure)
  if self.style == "p2pd" then
    return self:send_json(failure.status, { error = failure.detail }, failure.headers)
  end
  return self:send(failure.status, problem.TYPE, json.encode(failure:object()) .. "\n", failure.headers)
end

--- Answers with bytes of a file.
-- @tparam integer status
-- @tparam string kind of content
-- @tparam file file
-- @tparam integer offset
-- @tparam integer length
-- @tparam[opt] table more headers
-- @treturn boolean true; or nil, message, code
function Exchange:send_file(status, kind, file, offset, length, more)
  self.status = status
  return self.request:answer_file(status, headers_of(self, kind, more), file, offset, length)
end

--- Begins an answer whose body follows.
-- @treturn stream to write it to, and to be ended by `shutdown`; or nil, message, code
function Exchange:begin(status, kind, more)
  self.status = status
  local ok, reason, code = self.request:begin(status, headers_of(self, kind, more))
  if not ok then return nil, reason, code end
  return self.request:stream()
end

-- -- what was asked

-- Checks values that are texts, by their schemas, and gives those that are missing their defaults.
local function read_values(values, abouts, where)
  for name in pairs(values) do
    if not abouts[name] then return problem.new(400, ("%s has no %s"):format(where, name)) end
  end
  local read = {}
  for name, about in pairs(abouts) do
    local value = values[name]
    if value ~= nil then
      value = schema.from_text(value, about)
      local fault = schema.find_fault(value, about, name)
      if fault then return problem.new(400, fault, "EINVAL") end
    elseif about.required then
      return problem.new(400, ("%s.%s is missing"):format(where, name), "EINVAL")
    else
      value = about.default
    end
    read[name] = value
  end
  return read
end

--- Reads the query as the route describes it.
-- @tparam string raw
-- @treturn ?problem
function Exchange:read_query(raw)
  local values, reason = url.query(raw)
  if not values then return problem.new(400, reason) end
  local read = read_values(values, self.route.query or {}, "the query")
  if problem.is(read) then return read end
  self.query = read
end

local function read_all(stream, most, limit)
  local pieces, length = {}, 0
  while true do
    stream:settimeout(limit:left())
    local piece, reason, code = stream:recv()
    if not piece and reason then
      return problem.new(code == "ETIMEDOUT" and 408 or 400, reason, code)
    end
    if not piece then return table.concat(pieces) end
    length = length + #piece
    if length > most then return problem.new(413, ("the body has more than %d bytes"):format(most)) end
    pieces[#pieces + 1] = piece
  end
end

--- Reads a whole body.
-- @tparam integer most bytes
-- @treturn string|problem
function Exchange:read_all(most)
  local declared = tonumber(self.headers["content-length"] or "0") or 0
  if declared > most then return problem.new(413, ("the body has more than %d bytes"):format(most)) end
  return read_all(self.request:stream(), most, deadline.after(BODY_S))
end

local function is_json(kind)
  return kind == nil or kind:lower():find "^application/json%s*;?" ~= nil
end

--- Reads a JSON body as the route describes it.
-- @treturn ?problem
function Exchange:read_body()
  if not is_json(self.headers["content-type"]) then
    return problem.new(415, "the body is to be application/json")
  end
  local text = self:read_all(exchange.BODY_MAX)
  if problem.is(text) then return text end
  local ok, value, _, reason = pcall(json.decode, text == "" and "{}" or text, 1, json.null)
  if not ok or value == nil then
    return problem.new(400, "the body is no JSON: " .. (ok and tostring(reason) or "too deep"), "EINVAL")
  end
  local fault = schema.find_fault(value, self.route.body, "body", self.service.schemas)
  if fault then return problem.new(400, fault, "EINVAL") end
  self.body = value
end

return exchange
