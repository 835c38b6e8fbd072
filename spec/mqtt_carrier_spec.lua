local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"

local WAIT, online, to, exchange = mqtt.WAIT, mqtt.online, mqtt.to, mqtt.exchange

local function refused(options)
  local client <close> = core.mqtt.open(options)
  local ok, message, code = client:wait_online(WAIT)
  assert.is_nil(ok)
  return message, code
end

local function check_exchange(options)
  local a <close> = online(options)
  local b <close> = online(options, function(client) client:subscribe "spec/way" end)
  for _, size in ipairs { 1, 100, 200, 60000 } do
    local text = ("x"):rep(size)
    assert.equal(text, select(2, exchange(a, b, "spec/way", text)))
  end
end

-- mosquitto with a listener for WebSockets, beside the other one that it cannot do without.
local function web_broker(options)
  local port = helper.free_port()
  local lines = { ("listener %d 127.0.0.1"):format(port), "protocol websockets" }
  if options.tls then lines[3] = "certfile cert.pem\nkeyfile key.pem" end
  options.config = table.concat(lines, "\n")
  local broker = helper.mosquitto(options)
  broker.port = port
  return broker
end

-- A server that answers each request with the same bytes.
local function http_server(answer)
  return mqtt.serve(function(accepted)
    local stream <close> = accepted
    stream:recv()
    stream:write(answer)
    stream:shutdown()
    stream:recv()
  end)
end

describe("p2pd.mqtt", function()
  local plain, secure, web

  setup(function()
    plain, secure = helper.mosquitto {}, helper.mosquitto { tls = true }
    web = web_broker {}
  end)
  teardown(helper.close_all)

  describe("a WebSocket", function()
    it("carries MQTT", helper.task(function()
      check_exchange(to(web, { websocket = "/mqtt" }))
    end))

    it("carries it through TLS", helper.task(function()
      local broker <close> = web_broker { tls = true }
      check_exchange(to(broker, { websocket = "/mqtt", tls = true, ca = broker.ca }))
    end))

    it("brings what was published before a close", helper.task(function()
      local options = to(web, { websocket = "/" })
      local b <close> = online(options, function(client) client:subscribe "spec/last" end)
      local a = online(options)
      for i = 1, 20 do assert(a:publish("spec/last", ("%d %s"):format(i, ("x"):rep(1000)))) end
      a:close()
      for i = 1, 20 do assert.matches("^" .. i .. " ", (select(2, b:receive(WAIT)))) end
    end))

    it("ends when the broker does", helper.task(function()
      local broker <close> = web_broker {}
      local client <close> = online(to(broker, { websocket = "/mqtt" }))
      broker:stop()
      assert.equal("offline", client:wait_change("online", WAIT))
      assert.equal("the broker closed the connection", select(2, client:state()))
    end))

    it("says what the server has against it", helper.task(function()
      for answer, expected in pairs {
        ["HTTP/1.1 404 Not Found\r\n\r\n"] = "WebSocket: the broker refuses: 404 Not Found",
        ["HTTP/1.1 101 Ok\r\n\r\n"] = "WebSocket: the answer is no upgrade to a WebSocket",
        ["HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"] =
          "WebSocket: the answer is not to our WebSocket key",
        ["SSH-2.0-x\r\n"] = "WebSocket: this port does not speak HTTP",
        ["HTTP/1.1 2"] = "WebSocket: the connection was closed instead of an answer",
        [""] = "WebSocket: the connection was closed instead of an answer",
        [("HTTP/1.1 200 Ok\r\n"):rep(1000)] = "WebSocket: this port does not speak HTTP",
      } do
        local server <close> = http_server(answer)
        assert.matches(expected, refused(to(server, { websocket = "/mqtt" })), 1, true)
      end
    end))

    it("has a path", function()
      for _, path in ipairs { "", "mqtt", "/a b", "/\r\n", "/" .. ("x"):rep(1024) } do
        assert.error_matches(function() core.mqtt.open { host = "a", websocket = path } end, "'websocket'")
      end
    end)
  end)

  describe("a proxy", function()
    it("leads to brokers, with and without TLS", helper.task(function()
      local proxy <close> = helper.tinyproxy {}
      local by = { proxy_host = proxy.host, proxy_port = proxy.port }
      check_exchange(to(plain, by))
      by.tls, by.ca = true, secure.ca
      check_exchange(to(secure, by))
      assert.matches("CONNECT 127.0.0.1:" .. secure.port, proxy:log(), 1, true)
    end))

    it("is told who we are", helper.task(function()
      local proxy <close> = helper.tinyproxy { user = "me", pass = "secret" }
      local by = { proxy_host = proxy.host, proxy_port = proxy.port, proxy_user = "me" }
      by.proxy_pass = "secret"
      check_exchange(to(plain, by))
      by.proxy_pass = "guess"
      local message, code = refused(to(plain, by))
      assert.matches("proxy: the proxy refuses: 40[17] ", message)
      assert.equal("EACCES", code)
    end))

    it("carries a WebSocket", helper.task(function()
      local proxy <close> = helper.tinyproxy {}
      check_exchange(to(web, { proxy_host = proxy.host, proxy_port = proxy.port, websocket = "/mqtt" }))
    end))

    it("that is not there is named", helper.task(function()
      local by = { proxy_host = "127.0.0.1", proxy_port = helper.free_port() }
      assert.matches("TCP connect to the proxy: Connection refused", (refused(to(plain, by))))
    end))

    it("may not say more than it should", helper.task(function()
      local server <close> = http_server "HTTP/1.1 200 Ok\r\n\r\nmore"
      local by = { proxy_host = server.host, proxy_port = server.port }
      assert.matches("proxy: what the proxy sends is not expected", (refused(to(plain, by))))
    end))
  end)

  describe("a certificate of ours", function()
    local strict

    setup(function()
      strict = helper.mosquitto { tls = true, config = "require_certificate true\ncafile cert.pem\n" }
    end)

    it("is shown to a broker that wants one", helper.task(function()
      local options = to(strict, { tls = true, ca = strict.ca, cert = strict.ca,
        key = strict.folder .. "/key.pem" })
      check_exchange(options)
    end))

    it("is missed by name", helper.task(function()
      local message, code = refused(to(strict, { tls = true, ca = strict.ca }))
      assert.matches("the server wants a client certificate", message)
      assert.equal("EACCES", code)
    end))

    it("must be readable, and fit its key", helper.task(function()
      local _, other = helper.certificate(helper.scratch())
      for _, key in ipairs { "/nowhere", other } do
        local message = refused(to(strict, { tls = true, ca = strict.ca, cert = strict.ca, key = key }))
        assert.matches("our certificate and its key cannot be read, or do not belong together", message)
      end
    end))
  end)

  describe("a wrong port", function()
    it("that speaks no TLS is named", helper.task(function()
      assert.matches("does this port speak TLS?", refused(to(plain, { tls = true, ca = secure.ca })), 1, true)
    end))

    it("that speaks TLS is named", helper.task(function()
      local message = refused(to(secure))
      assert.is_truthy(message:find "this port speaks TLS" or message:find "is it for TLS?", message)
    end))

    it("that speaks HTTP is named", helper.task(function()
      local server <close> = http_server "HTTP/1.1 400 Bad Request\r\n\r\n"
      assert.matches("this port speaks HTTP", (refused(to(server))))
    end))
  end)
end)
