local guard = require "p2pd.http.guard"
local json = require "dkjson"
local problem = require "p2pd.http.problem"
local range = require "p2pd.http.range"
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

describe("p2pd.http.problem", function()
  describe("or_found()", function()
    local shown = {}
    local function find(call) return call.there and "it" or problem.new(404, "nothing is there") end
    local handler = problem.or_found(find, function(call, found)
      shown = { call, found }
      return "done"
    end)

    it("hands to a handler what its request is about", function()
      local call = { there = true }
      assert.equal("done", handler(call))
      assert.same({ call, "it" }, shown)
    end)

    it("answers with the problem when that is not there, and does not ask the handler", function()
      shown = nil
      local failure = handler {}
      assert.is_true(problem.is(failure))
      assert.same({ 404, "nothing is there" }, { failure.status, failure.detail })
      assert.is_nil(shown)
    end)
  end)
end)

describe("p2pd.http.range", function()
  local VALIDATORS = range.validators(1000, 1790000000500000000)

  it("tells versions", function()
    assert.same({ ETag = '"18d75b8441c06500-3e8"', ["Last-Modified"] = "Mon, 21 Sep 2026 14:13:20 GMT" },
      VALIDATORS)
    assert.equal("Sun, 06 Nov 1994 08:49:37 GMT", range.date(784111777)) -- RFC 9110 section 5.6.7
    assert.not_equal(VALIDATORS.ETag, range.validators(1000, 1790000000500000001).ETag)
  end)

  local function find(value, condition, size)
    return range.find({ range = value, ["if-range"] = condition }, size or 1000, VALIDATORS)
  end

  it("finds one part", function()
    for value, part in pairs { ["bytes=0-0"] = { 0, 1 }, ["bytes=0-999"] = { 0, 1000 },
      ["bytes=10-19"] = { 10, 10 },
      ["bytes=990-"] = { 990, 10 }, ["bytes=990-5000"] = { 990, 10 }, ["bytes=-1"] = { 999, 1 },
      ["bytes=-5000"] = { 0, 1000 } } do
      assert.same(part, { find(value) }, value)
    end
  end)

  it("takes for all what is none, or more than one, or for another version", function()
    for _, value in ipairs { "", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b",
      "bytes=99999999999999999999-" } do
      assert.is_nil((find(value)), value)
    end
    assert.is_nil((range.find({}, 1000, VALIDATORS)))
    assert.is_nil((find("bytes=0-1", '"other"')))
    assert.is_nil((find("bytes=0-1", "Mon, 21 Sep 2026 14:13:21 GMT")))
    assert.same({ 0, 2 }, { find("bytes=0-1", VALIDATORS.ETag) })
    assert.same({ 0, 2 }, { find("bytes=0-1", VALIDATORS["Last-Modified"]) })
  end)

  it("says that there is no such part", function()
    for _, value in ipairs { "bytes=1000-", "bytes=1000-1001", "bytes=-0" } do
      assert.is_false((find(value)))
    end
    assert.is_false((find("bytes=0-", nil, 0)))
    assert.is_false((find("bytes=-5", nil, 0)))
  end)
end)
