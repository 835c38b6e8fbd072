local guard = require "p2pd.http.guard"
local json = require "dkjson"
local router = require "p2pd.http.router"
local schema = require "p2pd.http.schema"
local url = require "p2pd.http.url"

describe("p2pd.http.url", function()
  it("splits and decodes", function()
    assert.same({ { "a b", "c/d" }, "x=1" }, { url.split "/a%20b//c%2Fd?x=1" })
    assert.same({ a = "b c", d = "", ["e f"] = "&" }, url.query "a=b+c&d&e+f=%26&&")
    assert.same({}, url.query "")
    for _, target in ipairs { "*", "", "http://a/", "/%", "/%g0",
      "/a%00" } do assert.is_nil((url.split(target))) end
    assert.is_nil((url.query "a=%"))
  end)

  it("encodes what it decodes", function()
    local bytes = {}
    for i = 1, 255 do bytes[i] = string.char(i) end
    local text = table.concat(bytes)
    assert.equal(text, url.decode(url.encode(text)))
  end)
end)

describe("p2pd.http.router", function()
  local routes = router.new {
    { method = "GET", path = "/" }, { method = "GET", path = "/a/accept" }, { method = "GET",
      path = "/a/{id}" },
    { method = "POST", path = "/a/{id}" }, { method = "GET", path = "/b/{x}/..." },
  }

  it("prefers texts, and gives parameters", function()
    assert.equal("/", routes:find("GET", "/").path)
    assert.equal("/a/accept", routes:find("GET", "/a/accept").path)
    local route, params, query = routes:find("POST", "/a/accept?q")
    assert.same({ "/a/{id}", { id = "accept" }, "q" }, { route.path, params, query })
    assert.same({ x = "1", rest = { "2", "3" } }, select(2, routes:find("GET", "/b/1/2/3")))
    assert.same({ x = "1", rest = {} }, select(2, routes:find("GET", "/b/1")))
  end)

  it("tells 404 from 405", function()
    assert.equal(404, select(2, routes:find("GET", "/a")).status)
    assert.equal(404, select(2, routes:find("GET", "/a/b/c")).status)
    local failure = select(2, routes:find("DELETE", "/a/b"))
    assert.same({ 405, "GET, POST" }, { failure.status, failure.headers.Allow })
  end)
end)

describe("p2pd.http.schema", function()
  local ABOUT = { type = "object", required = { "a" }, additionalProperties = false, properties = {
    a = { type = "integer", minimum = 1, maximum = 3 }, b = { type = "array", items = { type = "string" },
      maxItems = 2 },
    c = { type = { "string", "null" }, enum = { "x", "y" } }, d = { ["$ref"] = "#/x/Text" } } }

  local function fault_of(text)
    return schema.find_fault(json.decode(text, 1, json.null), ABOUT, "it", { Text = { type = "string",
      minLength = 2 } })
  end

  it("lets pass what is as described", function()
    for _, text in ipairs { '{"a":1}', '{"a":3,"b":[],"c":"x","d":"ab"}', '{"a":2.0,"b":["x","y"]}' } do
      assert.is_nil(fault_of(text))
    end
  end)

  it("says what is not", function()
    for text, fault in pairs { ["{}"] = "it.a is missing", ['{"a":0}'] = "it.a is not from 1 to 3",
      ['{"a":1.5}'] = "it.a is not of type integer", ['{"a":1,"e":1}'] = "it has no property e",
      ['{"a":1,"b":[1]}'] = "it.b[0] is not of type string",
        ['{"a":1,"b":["","",""]}'] = "it.b has too many items",
      ['{"a":1,"b":{}}'] = "it.b is not of type array", ['{"a":1,"c":"z"}'] = "it.c is none of x, y",
      ['{"a":1,"d":"a"}'] = "it.d is too short", ["[]"] = "it is not of type object",
        ["null"] = "it is not of type object" } do
      assert.equal(fault, fault_of(text))
    end
  end)
end)

describe("p2pd.http.guard", function()
  it("compares texts", function()
    assert.is_true(guard.are_equal("abc", "abc"))
    assert.is_false(guard.are_equal("abc", "abd"))
    assert.is_false(guard.are_equal("abc", "abc\0"))
    assert.is_false(guard.are_equal("", "a"))
  end)

  it("knows names that are ours", function()
    assert.is_true(guard.is_own_host("192.0.2.1:80", { ["192.0.2.1"] = true }))
    assert.is_false(guard.is_own_host("192.0.2.2:80", { ["192.0.2.1"] = true }))
    assert.is_true(guard.is_own_host(nil, {}))
  end)
end)
