--- The page in the browser.
-- @module p2pd.http.page
local page = {}

local POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
  .. "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

local TEXT = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>p2pd</title>
<h1>p2pd</h1>
<p>A node runs here. Programs use it by <code>/v1</code>,
  which <a href="/v1/openapi.json">describes itself</a>.</p>
</html>
]]

local function show(call)
  return call:send(200, "text/html; charset=utf-8", TEXT, { ["Content-Security-Policy"] = POLICY })
end

page.ROUTES = {
  { method = "GET", path = "/", id = "getPage", tag = "page", handler = show, open = true,
    summary = "A page for people.", answers = { [200] = { description = "The page.", type = "text/html" } } },
}

return page
