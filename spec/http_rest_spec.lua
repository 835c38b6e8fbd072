-- The paths of P2PD's REST API. docs/http.md has the walk through them by curl.
local client = require "spec.http"
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local served = require "spec.served"
local task = require "p2pd.task"
local url = require "p2pd.http.url"

local TEST, ANSWER = "long_p2pd_test_string_abcd123", "got p2pd test string"

describe("p2pd.http.rest", function()
  local world = loopback.new(setup, teardown)

  local function get(near, path, status)
    local answer = client.request(near.port, "GET", path)
    assert.equal(status or 200, answer.status, path .. " " .. tostring(answer.body))
    return answer.json
  end

  local function opened(fn, options)
    return served.one(world, function(near)
      get(near, "/open/con/self")
      fn(near)
    end, options)
  end

  it("opens connections by name, once", opened(function(near)
    assert.is_string(get(near, "/open/con/self", 409).error)
    local info = get(near, "/info/con")
    assert.same({ "con", "direct connect", 0, 2 }, { info.name, info.strategy, info.error, #info.laddr })
    assert.equal(0, get(near, "/close/con").error)
    assert.is_string(get(near, "/info/con", 404).error)
    get(near, "/open/con/self")
  end))

  it("opens connections to peers", served.two(world, function(near, far)
    local info = get(near, "/open/bob/" .. url.encode(far.node.address) .. "/timeout/10")
    assert.equal(0, info.error)
    get(near, "/send/bob/" .. TEST)
    assert.equal(ANSWER, get(near, "/recv/bob/timeout/10").data)
  end))

  it("says why a connection is none", served.one(world, function(near)
    assert.matches("address", get(near, "/open/con/nobody", 400).error)
    assert.matches("timeout", get(near, "/open/con/self/timeout/x", 400).error)
    assert.matches("parameter", get(near, "/open/con/self/other/1", 400).error)
    assert.matches("parameter", get(near, "/open/con/self/timeout", 400).error)
    assert.matches("name", get(near, "/open/" .. ("n"):rep(300) .. "/self", 400).error)
    get(near, "/open/con/self/protocol/" .. url.encode "a b", 400)
  end))

  it("takes names and texts with every byte but NUL", served.one(world, function(near)
    local name, text = "a/b ?&#\xff%", TEST .. " /\xc3\xa4"
    get(near, "/open/" .. url.encode(name) .. "/self")
    assert.equal(#text, get(near, ("/send/%s/%s"):format(url.encode(name), url.encode(text))).sent)
    assert.equal(ANSWER, get(near, "/recv/" .. url.encode(name) .. "/timeout/10").data)
    get(near, "/info/a%00b", 400)
  end))

  it("gives up waiting for a message", opened(function(near)
    assert.is_string(get(near, "/recv/con/timeout/0.05", 504).error)
    get(near, "/recv/con/timeout/x", 400)
    get(near, "/recv/con/name/none", 404)
    get(near, "/recv/none", 404)
  end))

  it("delivers messages to every subscription that they match", opened(function(near)
    assert.equal("[b'test', None]", get(near, "/sub/con/name/some/msg_p/test").sub)
    assert.equal("[b'^nothing$', None]", get(near, "/sub/con/name/other/msg_p/%5Enothing%24").sub)
    local from = ("('%s', 0)"):format(get(near, "/info/con").raddr[1])
    get(near, "/sub/con/name/from/msg_p/got/addr_p/" .. url.encode(from))
    get(near, "/sub/con/name/elsewhere/addr_p/" .. url.encode "('9.9.9.9', 0)")
    get(near, "/send/con/" .. TEST)
    for _, name in ipairs { "all", "some", "from" } do
      assert.equal(ANSWER, get(near, "/recv/con/timeout/10/name/" .. name).data)
    end
    for _, name in ipairs { "other", "elsewhere" } do get(near, "/recv/con/timeout/0/name/" .. name, 504) end
    assert.equal("[None, None]", client.request(near.port, "DELETE", "/sub/con/name/all").json.unsub)
    assert.equal(404, client.request(near.port, "DELETE", "/sub/con/name/all").status)
    get(near, "/recv/con", 404)
    for target, status in pairs { ["/open/con"] = 404, ["/info"] = 404, ["/version"] = 405 } do
      local answer = client.request(near.port, "POST", target)
      assert.same({ status, "string" }, { answer.status, type(answer.json.error) }, target)
    end
  end))

  it("refuses patterns that are malformed, too long, or take too much", opened(function(near)
    assert.matches("msg_p", get(near, "/sub/con/name/x/msg_p/%28", 400).error)
    get(near, "/sub/con/name/x/msg_p/" .. ("a"):rep(2000), 400)
    get(near, "/sub/con/name/x/addr_p/nowhere", 400)
    get(near, "/sub/con/msg_p/x", 400)
    get(near, "/sub/con/name/x/msg_p/" .. url.encode "^(g+)+(o+)+(t+)+(.*)*(.*)*(.*)*z$")
    get(near, "/send/con/" .. TEST)
    assert.equal(ANSWER, get(near, "/recv/con/timeout/10").data)
    get(near, "/recv/con/timeout/0/name/x", 504)
    for i = 1, 62 do get(near, "/sub/con/name/" .. i) end
    get(near, "/sub/con/name/63", 503)
  end))

  it("sends and receives bytes", opened(function(near)
    local sent = client.request(near.port, "POST", "/binary/con",
      { ["Content-Type"] = "application/octet-stream" }, TEST)
    assert.same({ 29, "con" }, { sent.json.sent, sent.json.name })
    local got = client.request(near.port, "GET", "/binary/con/timeout/10")
    assert.same({ ANSWER, "application/octet-stream" }, { got.body, got.headers["content-type"] })
  end))

  it("gives bytes that are no UTF-8 as Latin-1 in JSON", served.two(world, function(near, far)
    local accepting = task.spawn(far.call, far, "POST", "/v1/pipes/accept", "{}")
    get(near, "/open/con/" .. url.encode(far.node.address) .. "/protocol/none")
    local id = accepting:join().json.id
    far:call("POST", "/v1/pipes/" .. id .. "/data", "\xff\xfe")
    assert.equal("\xc3\xbf\xc3\xbe", get(near, "/recv/con/timeout/10").data)
    far:call("DELETE", "/v1/pipes/" .. id)
    assert.is_string(get(near, "/recv/con/timeout/10", 410).error)
  end))

  it("holds the sender back while nobody reads", served.two(world, function(near, far)
    local accepting = task.spawn(far.call, far, "POST", "/v1/pipes/accept", "{}")
    get(near, "/open/con/" .. url.encode(far.node.address) .. "/protocol/none")
    local pipe = far.server.pipes:find(accepting:join().json.id).pipe
    pipe:settimeout(1)
    local ok, _, code
    repeat ok, _, code = pipe:write(("x"):rep(1000000)) until not ok
    assert.equal("ETIMEDOUT", code)
    assert.is_true(near.server.named:find("con").subs.all.weight < 2 * 1024 * 1024)
  end))

  it("makes a tunnel of the HTTP connection", opened(function(near)
    local one <close> = client.connect(near.port)
    one.stream:write("GET /tunnel/con HTTP/1.1\r\n\r\n")
    assert.equal(101, one:head().status)
    get(near, "/tunnel/con", 409)
    one.stream:write(TEST)
    assert.equal(ANSWER, one.stream:read(#ANSWER))
    one:close()
    helper.wait_until(function() return not near.server.named:find("con").tunnel end)
    get(near, "/send/con/" .. TEST)
    assert.equal(ANSWER, get(near, "/recv/con/timeout/10").data)
  end))

  it("makes one for a page that is a file, as P2PD's documentation asks for it", opened(function(near)
    local one <close> = client.connect(near.port)
    one.stream:write("GET /tunnel/con HTTP/1.1\r\nOrigin: null\r\n\r\n")
    assert.equal(101, one:head().status)
    one.stream:write(TEST)
    assert.equal(ANSWER, one.stream:read(#ANSWER))
    get(near, "/close/con")
    assert.is_nil(one.stream:read(1))
  end, { allow_null_origin = true }))
end)

describe("p2pd.core.pattern", function()
  it("finds, within limits", function()
    local pattern <close> = assert(core.pattern.compile "b(c|d)$")
    assert.is_true(pattern:find "abd")
    assert.is_false(pattern:find "abdx")
    assert.is_true(pattern:find "\0\xffbc")
    local bomb <close> = assert(core.pattern.compile "^(a+)+$")
    assert.same({ nil, "the pattern takes too much", "E2BIG" }, { bomb:find(("a"):rep(100) .. "c") })
  end)

  it("refuses what is no pattern", function()
    for _, text in ipairs { "(", "[", "a{2,1}", "\\C", ("a"):rep(1025), ("("):rep(500) .. (")"):rep(500) } do
      local pattern, reason, code = core.pattern.compile(text)
      assert.same({ nil, "EINVAL" }, { pattern, code }, text)
      assert.is_string(reason)
    end
    local pattern = assert(core.pattern.compile "a")
    pattern:close()
    pattern:close()
    assert.has_error(function() pattern:find "a" end)
  end)
end)
