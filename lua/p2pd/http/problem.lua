--- What is told when a request fails: problem details (RFC 9457).
-- @module p2pd.http.problem
local text = require "p2pd.text"

local problem = {}

problem.TYPE = "application/problem+json"

local TITLES = {
  [400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden", [404] = "Not Found",
  [405] = "Method Not Allowed", [408] = "Request Timeout", [409] = "Conflict", [410] = "Gone",
  [413] = "Content Too Large", [415] = "Unsupported Media Type",
  [416] = "Range Not Satisfiable", [421] = "Misdirected Request",
  [426] = "Upgrade Required", [429] = "Too Many Requests", [500] = "Internal Server Error",
  [501] = "Not Implemented", [502] = "Bad Gateway", [503] = "Service Unavailable", [504] = "Gateway Timeout",
  [507] = "Insufficient Storage",
}

local Problem = { __name = "p2pd.http.problem" }
Problem.__index = Problem

--- It may stand where something to be closed would.
function Problem.__close() end

function Problem:__tostring()
  return ("%d %s: %s"):format(self.status, self.title, self.detail)
end

--- Makes one.
-- @tparam integer status
-- @tparam string detail one sentence
-- @tparam[opt] string code such as "ETIMEDOUT"
-- @tparam[opt] table headers that the answer gets, too
-- @treturn problem
function problem.new(status, detail, code, headers)
  return setmetatable({ status = status, title = TITLES[status] or "Error", code = code,
    detail = text.printable(detail), headers = headers }, Problem)
end

--- Whether a value is one.
function problem.is(value)
  return getmetatable(value) == Problem
end

-- What a failure of the world's is in HTTP, by its code.
local STATUS = {
  EINVAL = 400, EACCES = 403, ETIMEDOUT = 504, EHOSTUNREACH = 502, ECONNRESET = 502, EPIPE = 502,
  ECONNREFUSED = 502, EPROTO = 502, EBADF = 410, EBUSY = 503, EEXIST = 409, ECANCELED = 409, ENOENT = 404,
  EMSGSIZE = 413, ENOSPC = 507, EDQUOT = 507, EROFS = 507,
}

--- A failure of the world's: nil, message, code.
-- @tparam string reason
-- @tparam[opt] string code
-- @treturn problem
function problem.of(reason, code)
  return problem.new(STATUS[code] or 502, reason or "it has failed", code)
end

--- The object that is sent.
-- @treturn table
function Problem:object()
  return { type = "about:blank", title = self.title, status = self.status, detail = self.detail,
    code = self.code }
end

--- A handler that is given what a request is about; when that is not there the problem is the answer.
-- @tparam function find of the call: what it is about, or a problem
-- @tparam function handler of the call and what was found
-- @treturn function of the call
function problem.or_found(find, handler)
  return function(call)
    local found = find(call)
    if problem.is(found) then return found end
    return handler(call, found)
  end
end

return problem
