local proxy = require "p2pd.proxy"

describe("p2pd.proxy", function()
  describe("parse()", function()
    for url, expected in pairs {
      ["http://proxy.example:3128"] = { host = "proxy.example", port = 3128 },
      ["proxy.example:8080/"] = { host = "proxy.example", port = 8080 },
      ["HTTP://10.0.0.1"] = { host = "10.0.0.1", port = 80 },
      ["http://[::1]:8080/x"] = { host = "::1", port = 8080 },
      ["http://me@p:1"] = { host = "p", port = 1, user = "me" },
      ["http://me:p%40ss:word@p:1"] = { host = "p", port = 1, user = "me", pass = "p@ss:word" },
    } do
      it("reads " .. url, function() assert.same(expected, proxy.parse(url)) end)
    end

    for _, url in ipairs {
      "", "http://", "https://p:1", "socks5://p:1", "p:0", "p:70000", "p q", "[::1", "a%0d@p:1",
    } do
      it("refuses " .. url, function() assert.is_nil((proxy.parse(url))) end)
    end
  end)

  describe("choose()", function()
    local function choose(server, env)
      local found = proxy.choose(server, function(name) return env[name] end)
      return found and found.host
    end
    local secure = { host = "broker.example.org", port = 8883, tls = true }
    local plain = { host = "192.0.2.7", port = 1883 }

    it("goes by the environment", function()
      local env = { https_proxy = "http://s:1", http_proxy = "http://p:1" }
      assert.equal("s", choose(secure, env))
      assert.equal("p", choose(plain, env))
      assert.equal("s", choose(secure, { HTTPS_PROXY = "http://s:1" }))
      assert.is_nil(choose(plain, { HTTP_PROXY = "http://p:1" }))
      assert.is_nil(choose(secure, {}))
      assert.is_nil(choose(secure, { https_proxy = "socks5://s:1" }))
    end)

    it("makes the environment's exceptions", function()
      for _, list in ipairs {
        "*", "example.org", "a.b, .example.org", "*.example.org", "broker.example.org:8883", "EXAMPLE.ORG",
      } do
        assert.is_nil(choose(secure, { https_proxy = "http://s:1", no_proxy = list }), list)
      end
      for _, list in ipairs { "", "ample.org", "org.example", "broker.example.org:1" } do
        assert.equal("s", choose(secure, { https_proxy = "http://s:1", no_proxy = list }), list)
      end
      assert.is_nil(choose(plain, { http_proxy = "http://p:1", no_proxy = "192.0.2.7" }))
    end)

    it("leaves loopback alone, unless the settings name a proxy", function()
      for _, host in ipairs { "127.0.0.9", "::1", "localhost" } do
        assert.is_nil(choose({ host = host, port = 1 }, { http_proxy = "http://p:1" }))
        assert.equal("q", choose({ host = host, port = 1, proxy = "http://q:1" }, {}))
      end
    end)

    it("takes none when the settings say so", function()
      assert.is_nil(choose({ host = "a", port = 1, proxy = false }, { http_proxy = "http://p:1" }))
    end)
  end)
end)
