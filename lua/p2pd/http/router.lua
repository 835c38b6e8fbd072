--- Which route a request takes. A route is a table that says all there is to say of it, once: what is
-- dispatched, what is checked, and what the OpenAPI description tells (see @{p2pd.http.openapi}):
--
-- `method`, `path` ("/v1/pipes/{id}"; "/..." at its end: any number of further segments), `id` (operation),
-- `summary`, `tag`, `query` and `params` (by name: a schema with a `description`), `headers` (the same, for
-- the description alone), `body` (schema of a JSON body, or "bytes"), `form` (what the body is when it has
-- that type: a description), `answers` (by status: `description`, `schema` or `type`), `handler`, `waits` (it
-- may wait: it is a task of its own, and ends when the client hangs up), `open` (no token is asked for),
-- `style` ("p2pd": answers as P2PD's).
-- @module p2pd.http.router
local problem = require "p2pd.http.problem"
local url = require "p2pd.http.url"

local router = {}

local Router = { __name = "p2pd.http.router" }
Router.__index = Router

local function compile(route)
  local path, rest = route.path:gsub("/%.%.%.$", "")
  local parts = {}
  for part in path:gmatch "[^/]+" do
    local name = part:match "^{([%w_]+)}$"
    parts[#parts + 1] = name and { name = name } or { text = part }
  end
  return { route = route, parts = parts, has_rest = rest > 0 }
end

--- @tparam {table,...} routes
function router.new(routes)
  local self = setmetatable({ by_first = {}, routes = routes }, Router)
  for _, route in ipairs(routes) do
    local one = compile(route)
    local first = one.parts[1] and one.parts[1].text or ""
    self.by_first[first] = self.by_first[first] or {}
    table.insert(self.by_first[first], one)
  end
  return self
end

-- Texts come before names: they are listed first.
local function params_of(one, segments)
  local count = #one.parts
  if #segments < count or #segments > count and not one.has_rest then return nil end
  local params = {}
  for i, part in ipairs(one.parts) do
    if part.name then
      params[part.name] = segments[i]
    elseif part.text ~= segments[i] then
      return nil
    end
  end
  if one.has_rest then params.rest = table.move(segments, count + 1, #segments, 1, {}) end
  return params
end

--- The `style` of the routes that begin as a target does, should there be none for the whole of it.
-- @tparam string target
-- @treturn ?string
function Router:style(target)
  local segments = url.split(target)
  local first = segments and self.by_first[segments[1] or ""]
  return first and first[1].route.style
end

--- Finds the route for a request.
-- @tparam string method
-- @tparam string target
-- @treturn table the route; or nil and a problem
-- @treturn table the path's parameters; `rest` has the further segments
-- @treturn string the raw query
function Router:find(method, target)
  local segments, query = url.split(target)
  if not segments then return nil, problem.new(400, query) end
  local allowed = {}
  for _, one in ipairs(self.by_first[segments[1] or ""] or {}) do
    local params = params_of(one, segments)
    if params and one.route.method == method then return one.route, params, query end
    if params then allowed[#allowed + 1] = one.route.method end
  end
  if #allowed == 0 then return nil, problem.new(404, "nothing is there") end
  return nil, problem.new(405, method .. " is not for this path", nil, { Allow = table.concat(allowed,
    ", ") })
end

return router
