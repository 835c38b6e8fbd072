--- The page in the browser: files of this folder, or of the executable.
-- @module p2pd.http.page
local embedded = package.preload["p2pd.embedded"] and require "p2pd.embedded"
local problem = require "p2pd.http.problem"

local page = {}

-- Nothing that is not ours runs, loads or frames; what peers send is shown as text, and saved through blobs.
local POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
  .. "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

local TYPES = {
  html = "text/html; charset=utf-8",
  css = "text/css; charset=utf-8",
  js = "text/javascript; charset=utf-8",
  svg = "image/svg+xml",
}

--- The files by name, with the kind of their content.
page.FILES = {}
for _, name in ipairs { "index.html", "style.css", "icon.svg", "app.js", "api.js", "dom.js", "network.js",
  "peers.js", "talk.js", "files.js", "frames.js" } do
  page.FILES[name] = TYPES[name:match "%a+$"]
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

--- A file's text.
-- @tparam string name
-- @treturn ?string nil when there is none
function page.text(name)
  if not page.FILES[name] then return nil end
  local own = package.searchpath("p2pd.http.page", package.path)
  local text = own and read((own:gsub("%.lua$", "/" .. name)))
  if text or not embedded then return text end
  return (embedded.source("p2pd.http.page/" .. name))
end

local function send_file(call, name)
  local text = page.text(name)
  if not text then return problem.new(404, "the page has no such file") end
  return call:send(200, page.FILES[name], text, { ["Content-Security-Policy"] = POLICY })
end

page.ROUTES = {
  { method = "GET", path = "/", id = "getPage", tag = "page", open = true,
    handler = function(call) return send_file(call, "index.html") end,
    summary = "A page for people.", answers = { [200] = { description = "The page.", type = "text/html" } } },
  { method = "GET", path = "/page/{file}", id = "getPageFile", tag = "page", open = true,
    params = { file = { type = "string", description = "A file's name." } },
    handler = function(call) return send_file(call, call.params.file) end,
    summary = "What the page consists of.",
    answers = { [200] = { description = "A file of the page.", type = "text/javascript" } } },
}

return page
