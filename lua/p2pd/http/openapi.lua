--- The OpenAPI 3.1 description, made of the routes.
-- @module p2pd.http.openapi
local describe = require "p2pd.http.describe"
local version = require "p2pd.version"

local openapi = {}

local BYTES, FORM = "application/octet-stream", "multipart/form-data"

local function sorted_names(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function copy_without_description(about)
  local copy = {}
  for key, value in pairs(about) do
    if key ~= "description" and key ~= "required" then copy[key] = value end
  end
  return copy
end

local function add_parameters(list, set, place)
  for _, name in ipairs(sorted_names(set or {})) do
    list[#list + 1] = { name = name, ["in"] = place, required = place == "path" or set[name].required,
      description = set[name].description, schema = copy_without_description(set[name]) }
  end
end

local function answer_of(about)
  local content
  if about.schema then content = { ["application/json"] = { schema = about.schema } } end
  if about.type then content = { [about.type] = {} } end
  return { description = about.description, content = content }
end

local function answers_of(route)
  local answers = {}
  for status, about in pairs(route.answers) do answers[tostring(status)] = answer_of(about) end
  answers.default = { description = "What went wrong.",
    content = { ["application/problem+json"] = { schema = describe.ref "Problem" } } }
  return answers
end

local function form_of(description)
  local file = { type = "string", contentMediaType = BYTES }
  return { schema = { type = "object", description = description,
    additionalProperties = { type = "array", items = file } } }
end

local function body_of(route)
  if not route.body then return nil end
  if route.form then return { content = { [BYTES] = {}, [FORM] = form_of(route.form) } } end
  if route.body == "bytes" then return { content = { [BYTES] = {} } } end
  return { required = route.body.required ~= nil,
    content = { ["application/json"] = { schema = route.body } } }
end

local function operation(route)
  local parameters = describe.list()
  add_parameters(parameters, route.params, "path")
  add_parameters(parameters, route.query, "query")
  add_parameters(parameters, route.headers, "header")
  return { operationId = route.id, summary = route.summary, tags = describe.list { route.tag },
    parameters = parameters, requestBody = body_of(route), responses = answers_of(route),
    security = route.open and describe.list() or nil }
end

--- Makes the document.
-- @tparam {table,...} routes
-- @treturn table
function openapi.describe(routes)
  local paths = {}
  for _, route in ipairs(routes) do
    paths[route.path] = paths[route.path] or {}
    paths[route.path][route.method:lower()] = operation(route)
  end
  return {
    openapi = "3.1.0",
    info = { title = "p2pd", version = version, license = { name = "MIT", identifier = "MIT" },
      description = "Pipes between programs, wherever they sit. docs/http.md tells how it is used." },
    servers = describe.list { { url = "/" } },
    paths = paths,
    components = { schemas = describe.SCHEMAS,
      securitySchemes = { token = { type = "http", scheme = "bearer" } } },
    security = describe.list { { token = describe.list() } },
  }
end

return openapi
