-- Who may use a server: tokens, hosts, origins, and what is said before a body.
local client = require "spec.http"
local helper = require "spec.helper"
local http = require "p2pd.http"
local loopback = require "spec.loopback"
local served = require "spec.served"

describe("p2pd.http", function()
  local world = loopback.new(setup, teardown)

  local function one(fn, options) return served.one(world, fn, options) end

  describe("who gets in", function()
    it("asks for the token at /v1, and compares all of it", one(function(near)
      local wrong = near.token:gsub("^.", function(c) return c == "0" and "1" or "0" end)
      for _, value in ipairs { "", "Bearer", "Bearer x", "Bearer " .. wrong, "Bearer " .. near.token .. "0",
        "Basic " .. near.token, "Bearer " .. ("a"):rep(5000) } do
        local answer = client.request(near.port, "GET", "/v1/node", { Authorization = value })
        assert.same({ 401, "application/problem+json", 401 },
          { answer.status, answer.headers["content-type"], answer.json.status })
        assert.matches("^Bearer", answer.headers["www-authenticate"])
      end
      assert.equal(200, near:call("GET", "/v1/node").status)
    end))

    it("says no before a body, to a client that waits for the word", one(function(near)
      local connection <close> = client.connect(near.port)
      connection:send("POST", "/v1/pipes", { ["Content-Length"] = 50000000, Expect = "100-continue" })
      assert.equal(401, connection:receive().status)
    end))

    it("stays in order after a thousand wrong tokens", one(function(near)
      local connection <close> = client.connect(near.port)
      for i = 1, 1000 do
        connection:send("GET", "/v1/node", { Authorization = "Bearer " .. i })
        assert.equal(401, connection:receive().status)
      end
      assert.equal(200, near:call("GET", "/v1/node").status)
    end))

    it("refuses names that are not loopback's, whatever they point to", one(function(near)
      for _, host in ipairs { "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80",
        "1.2.3.4",
        "[::2]", "", "localhost, evil.example", "127.0.0.1@evil.example", "localhost:80:80" } do
        local answer = near:call("GET", "/v1/node", nil, { Host = host })
        assert.equal(421, answer.status, host)
        assert.equal(421, client.request(near.port, "GET", "/version", { Host = host }).status, host)
      end
      for _, host in ipairs { "localhost", "LOCALHOST:1", "127.0.0.1:" .. near.port, "127.9.9.9",
        "[::1]:5" } do
        assert.equal(200, near:call("GET", "/v1/node", nil, { Host = host }).status, host)
      end
    end))

    it("refuses before a body is sent", one(function(near)
      local function refused(headers)
        headers["Content-Length"] = 1000000
        local connection <close> = near:begin("POST", "/v1/pipes", headers)
        return connection:receive().status
      end
      assert.equal(401, refused { Authorization = "Bearer wrong" })
      assert.equal(403, refused { Origin = "http://evil.example" })
      assert.equal(415, refused { ["Content-Type"] = "text/plain" })
      assert.equal(413, refused { ["Content-Type"] = "application/json" })
      assert.equal(421, refused { Host = "evil.example" })
    end))

    it("takes a proxy's name, and then asks for the token everywhere", one(function(near)
      local host = { Host = "P2PD.example.org" }
      assert.equal(200, near:call("GET", "/v1/node", nil, host).status)
      assert.equal(200, near:call("GET", "/version", nil, { Host = "p2pd.example.org:443" }).status)
      assert.equal(401, client.request(near.port, "GET", "/version", host).status)
      assert.equal(200, client.request(near.port, "GET", "/", host).status)
      assert.equal(421, near:call("GET", "/v1/node", nil, { Host = "evil.p2pd.example.org" }).status)
      local foreign = { Host = host.Host, Origin = "http://evil.example" }
      assert.equal(403, near:call("GET", "/v1/node", nil, foreign).status)
      assert.equal(200, near:call("GET", "/v1/node", nil, { Host = "p2pd.example.org",
        Origin = "https://p2pd.example.org" }).status)
    end, { hosts = { "P2pd.example.org" } }))

    it("takes no names that are none", one(function(near)
      for _, name in ipairs { "", "a/b", "a:80", "http://a", "a b", "*", ("a"):rep(300), 1 } do
        assert.has_error(function() http.serve(near.node, { hosts = { name } }) end)
      end
      assert.has_error(function() http.serve(near.node, { hosts = "a" }) end)
    end))

    it("refuses what foreign pages send", one(function(near)
      local own = "http://localhost"
      for _, headers in ipairs { { Origin = "http://evil.example" }, { Origin = "null" }, { Origin = "" },
        { Origin = own, ["Sec-Fetch-Site"] = "cross-site" }, { ["Sec-Fetch-Site"] = "cross-site" },
        { ["Sec-Fetch-Site"] = "same-site" }, { Origin = "http://localhost:1" } } do
        assert.equal(403, near:call("GET", "/v1/node", nil, headers).status)
        local answer = client.request(near.port, "GET", "/version", headers)
        assert.equal(403, answer.status)
        assert.is_nil(answer.headers["access-control-allow-origin"])
      end
      for _, headers in ipairs { { Origin = own }, { Origin = own, ["Sec-Fetch-Site"] = "same-origin" },
        { ["Sec-Fetch-Site"] = "none" } } do
        assert.equal(200, near:call("GET", "/v1/node", nil, headers).status)
      end
    end))

    it("lets files' pages use P2PD's paths when told to, and nothing else", one(function(near)
      local headers = { Origin = "null", ["Sec-Fetch-Site"] = "cross-site" }
      local answer = client.request(near.port, "GET", "/version", headers)
      assert.same({ 200, "null" }, { answer.status, answer.headers["access-control-allow-origin"] })
      assert.equal(403, near:call("GET", "/v1/node", nil, headers).status)
      headers.Origin = "http://evil.example"
      assert.equal(403, client.request(near.port, "GET", "/version", headers).status)
    end, { allow_null_origin = true }))

    it("changes nothing by GET", function()
      for _, route in ipairs(http.routes()) do
        if route.path:find "^/v1/" then
          assert.is_truthy(({ GET = 1, HEAD = 1, POST = 1, DELETE = 1 })[route.method])
          if route.method == "GET" or route.method == "HEAD" then assert.is_nil(route.body) end
        end
      end
    end)

    it("says what browsers are to keep to", one(function(near)
      local page = client.request(near.port, "GET", "/")
      assert.equal(200, page.status)
      assert.matches("default-src 'none'", page.headers["content-security-policy"], 1, true)
      local answer = near:call("GET", "/v1/node")
      assert.same({ "nosniff", "no-store" },
        { answer.headers["x-content-type-options"], answer.headers["cache-control"] })
    end))

    it("needs a token of one's own for an address that others reach, and asks for it but for the page itself",
      helper.task(function()
      local node <close> = world:start()
      assert.has_error(function() http.serve(node, { ip = "0.0.0.0", port = 0 }) end)
      local near <close> = served.new(node, { ip = "0.0.0.0", token = "0123456789abcdef" })
      assert.equal(401, client.request(near.port, "GET", "/version").status)
      assert.equal(401, client.request(near.port, "GET", "/none").status)
      assert.equal(200, near:call("GET", "/version").status)
      assert.equal(200, client.request(near.port, "GET", "/").status)
      assert.equal(200, client.request(near.port, "GET", "/page/app.js").status)
    end))
  end)
end)
