local core = require "p2pd.core"
local helper = require "spec.helper"
local http = require "p2pd.http"
local json = require "dkjson"
local lfs = require "lfs"
local loopback = require "spec.loopback"
local schema = require "p2pd.http.schema"
local served = require "spec.served"
local task = require "p2pd.task"

local WAIT = 10

describe("p2pd.http", function()
  local world = loopback.new(setup, teardown)

  local function one(fn, options) return served.one(world, fn, options) end

  describe("requests", function()
    it("that fit no path, method or type are told so", one(function(near)
      assert.equal(404, near:call("GET", "/v1/none").status)
      assert.equal(404, near:call("GET", "/v1/pipes/../node").status)
      assert.equal(404, near:call("GET", "/etc/passwd").status)
      assert.equal(404, near:call("GET", "/static/..%2f..%2fetc%2fpasswd").status)
      local answer = near:call("DELETE", "/v1/pipes")
      assert.same({ 405, "GET, POST" }, { answer.status, answer.headers.allow })
      assert.equal(400, near:call("GET", "/v1/pipes/%00").status)
      assert.equal(400, near:call("GET", "/v1/pipes/%zz").status)
      assert.equal(400, near:call("GET", "http://localhost/v1/node").status)
      assert.equal(400, near:call("GET", "/v1/node?what=1").status)
      assert.equal(415, near:call("POST", "/v1/pipes", "{}", { ["Content-Type"] = "text/plain" }).status)
    end))

    it("with bodies that are not as described are told why", one(function(near)
      for _, case in ipairs { { "", "address is missing" }, { "[]", "not of type object" }, { "{",
        "no JSON" },
        { '{"address":1}', "address is not of type string" }, { '{"address":"x","more":1}',
          "no property more" },
        { '{"address":"x","policy":"other"}', "none of race, sequence" },
        { '{"address":"x","timeout":-1}', "timeout is not from" }, { '{"address":"x"}',
          "neither an address" },
        { '{"address":"self","strategies":["none"]}', "none" }, { '{"address":"self","protocol":"a b"}',
          "protocol" },
        { ("["):rep(60000), "no JSON" }, { "null", "type object" }, { '{"address":null}', "type string" } } do
        local answer = near:call("POST", "/v1/pipes", case[1])
        assert.equal(400, answer.status, case[1]:sub(1, 50))
        assert.matches(case[2], answer.json.detail, 1, true)
      end
      assert.equal(413, near:call("POST", "/v1/pipes", (" "):rep(100000)).status)
    end))

    it("are answered while the log tells what failed in a handler", one(function(near)
      near.node.stats = function() error "broken by the spec" end
      local write, line = core.log.write, nil
      core.log.write = function(_, text) line = text end
      local answer = near:call("GET", "/v1/metrics")
      core.log.write = write
      assert.matches("broken by the spec", line)
      assert.equal(500, answer.status)
      assert.is_nil(answer.json.detail:find "spec")
    end))

    it("of random bytes leave the server in order", one(function(near)
      math.randomseed(7)
      local targets = { "/v1/pipes/", "/recv/", "/open/a/", "/sub/x/name/y/msg_p/", "/v1/events?" }
      local bytes = { "%00", "%", "/", "..", "%2f", "\xff", "?", "&", "=", "a", "%ff", ";", "+", "'" }
      for _ = 1, 500 do
        local parts = { targets[math.random(#targets)] }
        for _ = 1, math.random(8) do parts[#parts + 1] = bytes[math.random(#bytes)] end
        local target = table.concat(parts)
        local answer = near:call(math.random(2) == 1 and "GET" or "DELETE", target, nil,
          { Connection = "close" })
        assert.is_true(answer ~= nil and answer.status >= 400 and answer.status < 500, target)
      end
      local body = { "{", "}", '"address"', ":", ",", "[", "]", "1e999", "null", '"\\u0000"', "true", "\xff" }
      for _ = 1, 500 do
        local parts = {}
        for _ = 1, math.random(12) do parts[#parts + 1] = body[math.random(#body)] end
        assert.equal(400, near:call("POST", "/v1/dials", table.concat(parts)).status, table.concat(parts))
      end
      assert.equal(200, near:call("GET", "/v1/node").status)
    end))
  end)

  describe("the description", function()
    local METHODS = { get = "GET", head = "HEAD", post = "POST", delete = "DELETE" }

    local function answers_to(near)
      local id, other = served.join(near, near.far)
      near.far:call("POST", "/v1/pipes/" .. other .. "/data", "x",
        { ["Content-Type"] = "application/octet-stream" })
      local dial = near:call("POST", "/v1/dials", ('{"address":"%s"}'):format(near.far.node.address))
      local session = near.node:sessions()[1].id
      return {
        ["/v1/node"] = "", ["/v1/address"] = "", ["/v1/peers"] = "", ["/v1/sessions"] = "",
          ["/v1/pipes"] = "",
        ["/v1/dials"] = "", ["/v1/sessions/{id}"] = session, ["/v1/pipes/{id}"] = id,
        ["/v1/dials/{id}"] = dial.json.id, ["/v1/openapi.json"] = "", ["/version"] = "", ["/ifs"] = "",
          ["/addr"] = "",
      }
    end

    it("has every handler, and answers that are as it says", served.two(world, function(near, far)
      near.far = far
      local document = near:call("GET", "/v1/openapi.json").json
      assert.equal("3.1.0", document.openapi)
      local count, ids = 0, {}
      for path, methods in pairs(document.paths) do
        for method, operation in pairs(methods) do
          assert.is_string(METHODS[method], path)
          assert.is_nil(ids[operation.operationId])
          ids[operation.operationId], count = true, count + 1
          for name in path:gmatch "{(%w+)}" do
            assert.equal(name, operation.parameters[1] and name)
          end
        end
      end
      assert.equal(#http.routes(), count)
      local ranges = document.paths["/v1/files/{peer}/..."].get.parameters
      assert.same({ "If-Range", "header" }, { ranges[2].name, ranges[2]["in"] })
      for path, value in pairs(answers_to(near)) do
        local about = document.paths[path].get.responses["200"].content["application/json"].schema
        local answer = near:call("GET", (path:gsub("{%w+}", value)))
        assert.equal(200, answer.status, path)
        assert.is_nil(schema.find_fault(answer.json, about, path, document.components.schemas))
      end
      local failed = near:call("GET", "/v1/pipes/none")
      assert.is_nil(schema.find_fault(failed.json, document.components.schemas.Problem, "problem"))
    end))
  end)

  describe("pipes", function()
    it("carry bodies of any size both ways, and end", served.two(world, function(near, far)
      local id, other = served.join(near, far)
      local bytes = ("0123456789abcdef"):rep(200000)
      for _, way in ipairs { { near, id, far, other }, { far, other, near, id } } do
        local from, from_id, to, to_id = table.unpack(way)
        local receiving = task.spawn(to.call, to, "GET", "/v1/pipes/" .. to_id .. "/data")
        local sent = from:call("POST", "/v1/pipes/" .. from_id .. "/data", bytes,
          { ["Content-Type"] = "application/octet-stream" })
        assert.same({ 200, #bytes }, { sent.status, sent.json.sent })
        assert.equal(204, from:call("POST", "/v1/pipes/" .. from_id .. "/end").status)
        local received = receiving:join(WAIT)
        assert.equal(200, received.status)
        assert.is_true(received.body == bytes)
      end
      assert.equal("ended", near:call("GET", "/v1/pipes/" .. id).json.state)
      assert.equal(204, near:call("DELETE", "/v1/pipes/" .. id).status)
      assert.equal(404, near:call("GET", "/v1/pipes/" .. id).status)
    end))

    it("are polled: something, nothing, the end", served.two(world, function(near, far)
      local id, other = served.join(near, far)
      local path = "/v1/pipes/" .. id .. "/data"
      assert.equal(204, near:call("GET", path .. "?wait=0.05").status)
      local polling = task.spawn(near.call, near, "GET", path .. "?wait=10&max=3")
      far:call("POST", "/v1/pipes/" .. other .. "/data", "abcdef")
      assert.equal("abc", polling:join(WAIT).body)
      assert.equal("def", near:call("GET", path .. "?wait=10").body)
      far:call("POST", "/v1/pipes/" .. other .. "/end")
      assert.equal(410, near:call("GET", path .. "?wait=10").status)
    end))

    it("are read by one at a time, also after a reader has gone", served.two(world, function(near, far)
      local id, other = served.join(near, far)
      local path = "/v1/pipes/" .. id .. "/data"
      local reader = near:begin("GET", path)
      assert.equal(200, reader:head().status)
      assert.equal(409, near:call("GET", path .. "?wait=1").status)
      reader:abort()
      helper.wait_until(function() return near:call("GET", path .. "?wait=0").status == 204 end)
      far:call("POST", "/v1/pipes/" .. other .. "/data", "still")
      assert.equal("still", near:call("GET", path .. "?wait=10").body)
    end))

    it("that fail break off what reads them", served.two(world, function(near, far)
      local id, other = served.join(near, far, ',"exclusive":true')
      local reader <close> = near:begin("GET", "/v1/pipes/" .. id .. "/data")
      assert.equal(200, reader:head().status)
      far.server.pipes:find(other).pipe.stream:abort()
      local rest = reader.stream:read "a" or ""
      helper.wait_until(function() return near:call("GET", "/v1/pipes/" .. id).json.state ~= "open" end)
      if near:call("GET", "/v1/pipes/" .. id).json.state == "failed" then
        assert.is_nil(rest:find("0\r\n\r\n", 1, true))
      end
      far:call("DELETE", "/v1/pipes/" .. other)
    end))

    it("that are closed wake who reads them", served.two(world, function(near, far)
      local id = served.join(near, far)
      local polling = task.spawn(near.call, near, "GET", "/v1/pipes/" .. id .. "/data?wait=10")
      task.sleep(0.05)
      assert.equal(204, near:call("DELETE", "/v1/pipes/" .. id).status)
      assert.is_true(polling:join(WAIT).status >= 400)
    end))

    it("are given back when their client has gone before", served.two(world, function(near, far)
      local waiting = near:begin("POST", "/v1/pipes/accept", { ["Content-Type"] = "application/json" }, "{}")
      task.sleep(0.05)
      waiting:abort()
      task.sleep(0.05)
      served.join(far, near)
      assert.equal(1, near.server.pipes.count)
    end))

    it("of peers that can't be reached are problems", one(function(near)
      local answer = near:call("POST", "/v1/pipes", '{"address":"0-[0,127.0.0.1,127.0.0.1,1,1,1,0]-0-'
        .. require("spec.nodes").new_id() .. '","timeout":0.3,"strategies":["direct"]}')
      assert.is_true(answer.status == 502 or answer.status == 504, answer.body)
      assert.matches("direct", answer.json.detail)
    end))
  end)

  describe("contacts", function()
    it("are named, dialed by name, and removed", served.two(world, function(near, far)
      local body = ('{"name":"bob-of-http","address":"%s"}'):format(far.node.address)
      assert.equal(201, near:call("POST", "/v1/contacts", body).status)
      local list = near:call("GET", "/v1/contacts").json.contacts
      local ids = {}
      for _, contact in ipairs(list) do ids[contact.name] = contact.id end
      assert.equal(far.node.id, ids["bob-of-http"])
      assert.equal(201, near:call("POST", "/v1/pipes", '{"address":"bob-of-http"}').status)
      local taken = ('{"name":"bob-of-http","address":"%s"}'):format(near.node.address)
      assert.equal(409, near:call("POST", "/v1/contacts", taken).status)
      assert.equal(204, near:call("DELETE", "/v1/contacts/bob-of-http").status)
      assert.equal(404, near:call("DELETE", "/v1/contacts/bob-of-http").status)
      assert.equal(400, near:call("POST", "/v1/contacts", '{"name":"x","address":"y"}').status)
    end))
  end)

  it("finds a peer by a code, and says what is wrong with one", served.two(world, function(near, far)
    local offer <close> = assert(require("p2pd.code").offer(far.node))
    local answer = near:call("POST", "/v1/pipes", ('{"address":"%s"}'):format(offer.text))
    assert.equal(201, answer.status, answer.body)
    assert.equal(far.node.id, answer.json.peer)
    answer = near:call("POST", "/v1/pipes", '{"address":"4-ambre-canoe-violin"}')
    assert.equal(400, answer.status)
    assert.matches('is it "amber"', answer.json.detail)
  end))

  describe("dials", function()
    it("report while they run, and are cancelled", one(function(near)
      local address = "0-[0,127.0.0.1,127.0.0.1,1,1,1,0]-0-" .. require("spec.nodes").new_id()
      local begun = near:call("POST", "/v1/dials", ('{"address":"%s","timeout":10}'):format(address))
      assert.same({ 202, "running" }, { begun.status, begun.json.state })
      helper.wait_until(function()
        local report = near:call("GET", begun.headers.location).json
        return report.state == "running" and #report.attempts > 0
      end)
      assert.equal(204, near:call("DELETE", begun.headers.location).status)
      assert.equal(404, near:call("GET", begun.headers.location).status)
      assert.is_nil(next(near.node.dials))
    end))

    -- The states that it goes through until it is over, as events tell them, and its last report.
    local function follow(near, address)
      local following <close> = near:begin("GET", "/v1/events")
      following:head()
      local begun = near:call("POST", "/v1/dials", ('{"address":"%s"}'):format(address))
      assert.equal(202, begun.status)
      local states, report = {}
      repeat
        local line = assert(following.stream:read())
        report = line:find '^data: .*"attempts"' and json.decode(line:sub(7))
        if report then states[#states + 1] = report.state end
      until report and (report.error or report.pipe)
      return begun.json, states, report
    end

    it("by a code are there at once, and find the peer while they run", served.two(world, function(near, far)
      local offer <close> = assert(require("p2pd.code").offer(far.node))
      local begun, states, report = follow(near, offer.text)
      assert.same({ "redeeming", offer.text }, { begun.state, begun.address })
      assert.same({ "redeeming", "running", "connected" }, states)
      assert.equal(far.node.id, near:call("GET", "/v1/pipes/" .. report.pipe).json.peer)
      assert.equal(far.node.id, report.address:match "[^-]+$")
    end))

    it("by a code that is wrong fail", served.two(world, function(near, far)
      local offer <close> = assert(require("p2pd.code").offer(far.node))
      local _, states, report = follow(near, offer.text:match "^%d+" .. "-amber-canoe-violin")
      assert.same({ "redeeming", "failed" }, states)
      assert.same({ "EACCES", 0 }, { report.code, #report.attempts })
      local typed = near:call("POST", "/v1/dials", '{"address":"4-ambre-canoe-violin"}')
      assert.equal(400, typed.status)
    end))

    it("lead to a pipe", served.two(world, function(near, far)
      local begun = near:call("POST", "/v1/dials", ('{"address":"%s"}'):format(far.node.address))
      local report
      helper.wait_until(function()
        report = near:call("GET", begun.headers.location).json
        return report.state ~= "running"
      end)
      assert.equal("connected", report.state)
      assert.equal(200, near:call("GET", "/v1/pipes/" .. report.pipe).status)
    end))
  end)

  describe("events", function()
    local function read_events(connection, wanted)
      local events, event = {}, {}
      while not events[wanted] do
        local size = tonumber(connection.stream:read():match "^%x+", 16)
        for line in connection.stream:read(size + 2):gmatch "([^\n]*)\n" do
          local key, value = line:match "^(%w+): (.*)$"
          if key then event[key] = value end
          if line == "" and event.event then events[event.event], event = event, {} end
        end
      end
      return events
    end

    it("tell the present state, and what happens; and go on where they were", served.two(world,
      function(near, far)
      local following <close> = near:begin("GET", "/v1/events")
      assert.equal("text/event-stream", following:head().headers["content-type"])
      local events = read_events(following, "address")
      assert.equal(near.node.address, json.decode(events.address.data).address)
      served.join(near, far)
      events = read_events(following, "dial")
      assert.is_string(events.dial.id)
      local later <close> = near:begin("GET", "/v1/events", { ["Last-Event-ID"] = events.dial.id })
      later:head()
      local rest = read_events(later, "pipe")
      assert.is_nil(rest.address)
      local lost <close> = near:begin("GET", "/v1/events", { ["Last-Event-ID"] = "abc-1" })
      lost:head()
      rest = read_events(lost, "address")
      assert.is_table(rest.missed)
    end))

    it("have a thousand listeners", one(function(near)
      local all <close> = task.hold()
      for i = 1, 1000 do
        all[i], all.n = near:begin("GET", "/v1/events"), i
      end
      for i = 1, 1000 do
        all[i]:head()
        read_events(all[i], "address")
      end
      near.server.feed:publish("refusal", { reason = "a spec" })
      for i = 1, 1000 do assert.matches("a spec", read_events(all[i], "refusal").refusal.data) end
    end), 60)

    it("end with the node", served.two(world, function(near)
      local following <close> = near:begin("GET", "/v1/events", { Connection = "close" })
      following:head()
      near.node:close()
      assert.matches("0\r\n\r\n$", following.stream:read "a")
    end))
  end)

  describe("metrics", function()
    it("count dials, and are OpenMetrics", served.two(world, function(near, far)
      served.join(near, far)
      local answer = near:call("GET", "/v1/metrics")
      assert.matches("openmetrics", answer.headers["content-type"])
      assert.matches('p2pd_dials_total{strategy="direct",outcome="connected"} 1\n', answer.body, 1, true)
      assert.matches("\n# EOF\n$", answer.body)
      local known = {}
      for line in answer.body:gmatch "[^\n]+" do
        local name = line:match "^# TYPE (%S+) %w+$"
        if name then
          assert.is_nil(known[name])
          known[name] = true
        elseif line:sub(1, 1) ~= "#" then
          assert.matches("^[%w_]+%b{} %-?[%d.e+-]+$", (line:gsub("^([%w_]+) ", "%1{} ")))
        end
      end
    end))
  end)

  describe("serve()", function()
    it("listens on a unix socket, too", helper.task(function()
      local node <close> = world:start()
      local path = helper.scratch() .. "/api.sock"
      local server <close> = assert(http.serve(node, { path = path }))
      assert.equal("rw-------", lfs.attributes(path, "permissions"))
      local child <close> = assert(core.process.spawn { "curl", "-s", "--unix-socket", path,
        "http://localhost/version", stdout = "pipe", env = { LD_PRELOAD = "" } })
      assert.matches("P2PD", child:stdout():read "a")
      assert.equal(path, server:getsockname())
    end))

    it("fails when the port is taken", one(function(near)
      local server, _, code = http.serve(near.node, { port = near.port })
      assert.same({ nil, "EADDRINUSE" }, { server, code })
    end))

    it("raises for unknown options", one(function(near)
      assert.has_error(function() http.serve(near.node, { prot = 1 }) end)
    end))

    it("closes pipes and answers with it", helper.task(function()
      local alice <close> = world:start()
      local bob <close> = world:start()
      local near = served.new(alice)
      local far <close> = served.new(bob)
      local id = served.join(near, far)
      local reader <close> = near:begin("GET", "/v1/pipes/" .. id .. "/data")
      assert.equal(200, reader:head().status)
      near.server:close()
      near.server:close()
      assert.is_nil((reader.stream:read "a" or ""):match "0\r\n\r\n")
    end))
  end)
end)
