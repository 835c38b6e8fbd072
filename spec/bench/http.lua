--- A node over HTTP: requests a second on one core; a pipe's throughput through /v1's streaming and through a
-- WebSocket against the pipe itself; what a thousand listeners to events wait; what `serve` adds to a node.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local http = require "spec.http"
local json = require "dkjson"
local servers = require "p2pd.lab.servers"
local task = require "p2pd.task"
local testbed = require "spec.bench.testbed"
local frame = require "spec.websocket_frame"

local REQUESTS, CONNECTIONS, DEPTH = 40000, 4, 25
local ROUNDS, BYTES, PIECE = 5, 256 << 20, 65536
local LISTENERS = 1000
local SETTLE_S = 2

local function start_serve(settings)
  local child = harness.start { cpu = 1, os.getenv "P2PD_EXE" or "./p2pd", "serve", "--interface", "lo",
    "--settings", settings, "--http", "127.0.0.1:0" }
  local port, token = child:line():match "^http://127%.0%.0%.1:(%d+)/#(%x+)$"
  child:line()
  child:line()
  return { child = child, port = tonumber(port), headers = { Authorization = "Bearer " .. token } }
end

-- -- requests

local function cpu_s(pid)
  return tonumber(harness.read_file(("/proc/%d/schedstat"):format(pid)):match "%d+") / 1e9
end

-- The same answer each time, but for what changes in it: so they are counted by their status lines.
local function count_answers(server, count)
  local connection <close> = http.connect(server.port)
  local request = ("GET /v1/node HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\n\r\n")
    :format(server.headers.Authorization):rep(DEPTH)
  local answered = 0
  while answered < count do
    connection.stream:write(request)
    local wanted = answered + DEPTH
    local rest = ""
    while answered < wanted do
      local data = rest .. connection.stream:recv()
      local found = select(2, data:gsub("HTTP/1%.1 200 OK\r\n", ""))
      answered, rest = answered + found, data:sub(-16):match "H[^\n]*$" or ""
    end
    core.task.sleep(0)
  end
end

local function requests(settings)
  local server = start_serve(settings)
  local _ <close> = server.child
  count_answers(server, 1000)
  local pid = server.child:pid()
  local before, began = cpu_s(pid), harness.now()
  local children = {}
  for i = 1, CONNECTIONS do children[i] = task.spawn(count_answers, server, REQUESTS // CONNECTIONS) end
  for _, child in ipairs(children) do assert(child:join() == nil and child:status() == "done") end
  local wall, cpu = harness.now() - began, cpu_s(pid) - before
  local rate = REQUESTS / cpu
  return { what = "/v1/node, requests a second of one core's time",
    ours = ("%.0f (%.0f by the clock)"):format(rate, REQUESTS / wall), theirs = "5000", ratio = rate / 5000,
    goal = ">= 5000", met = rate >= 5000 }
end

-- -- throughput

local function open_pipe(server, address)
  local headers = { Authorization = server.headers.Authorization, ["Content-Type"] = "application/json" }
  local answer = http.request(server.port, "POST", "/v1/pipes", headers, json.encode { address = address })
  assert(answer.status == 201, answer.body)
  return "/v1/pipes/" .. answer.json.id
end

local function wait_for_ok(server, path)
  local answer = http.request(server.port, "GET", path .. "/data?wait=60", server.headers)
  assert(answer.body == "ok\n", answer.status)
end

local function by_streaming(server, address)
  local path = open_pipe(server, address)
  local connection <close> = http.connect(server.port)
  local piece, began = ("x"):rep(PIECE), harness.now()
  connection:send("POST", path .. "/data", { Authorization = server.headers.Authorization,
    ["Content-Length"] = BYTES })
  for _ = 1, BYTES // PIECE do assert(connection.stream:write(piece)) end
  assert(connection:receive().status == 200)
  http.request(server.port, "POST", path .. "/end", server.headers)
  wait_for_ok(server, path)
  return BYTES / (harness.now() - began)
end

local function by_websocket(server, address)
  local path = open_pipe(server, address)
  local connection <close> = http.connect(server.port)
  connection:send("GET", path .. "/websocket", { Authorization = server.headers.Authorization,
    Connection = "Upgrade", Upgrade = "websocket", ["Sec-WebSocket-Version"] = "13",
    ["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ==" })
  assert(connection:head().status == 101)
  local bytes, began = frame.encode_masked(frame.BINARY, ("x"):rep(PIECE), "\1\2\3\4"), harness.now()
  for _ = 1, BYTES // PIECE do assert(connection.stream:write(bytes)) end
  connection.stream:write(frame.encode_masked(frame.PING, "", "\1\2\3\4"))
  assert(connection.stream:read(2) == frame.encode(frame.PONG, "")) -- so all before it is in the pipe
  http.request(server.port, "POST", path .. "/end", server.headers)
  assert(connection.stream:read(5):sub(3) == "ok\n")
  return BYTES / (harness.now() - began)
end

local function by_pipe(settings, address)
  local source <close> = harness.peer(1, "http_pipe", "source", settings, address, BYTES)
  return BYTES / source:numbers()
end

local function throughput(settings)
  local sink <close> = harness.peer(2, "http_pipe", "sink", settings)
  local address = sink:line()
  local server = start_serve(settings)
  local _ <close> = server.child
  local rows = {}
  for _, way in ipairs { { "/v1's streaming", by_streaming }, { "a WebSocket", by_websocket } } do
    local found = harness.alternate(ROUNDS, { function() return way[2](server, address) end,
      function() return by_pipe(settings, address) end })
    rows[#rows + 1] = { what = "throughput through " .. way[1] .. ", against the pipe itself",
      ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
        theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
      ratio = found.ratios[2], goal = ">= 0.5", met = found.ratios[2] >= 0.5 }
  end
  return rows
end

-- -- listeners, memory

local function resident(pid)
  return harness.proc(pid, "status", "VmRSS") * 1024 / 1e6
end

local function memory(settings)
  local node <close> = testbed.node(settings)
  local server = start_serve(settings)
  local _ <close> = server.child
  http.request(server.port, "GET", "/v1/node", server.headers)
  core.task.sleep(SETTLE_S)
  local plain, served = resident(node:pid()), resident(server.child:pid())
  return { what = "memory that serve adds to a node", ours = ("%.2f MB"):format(served - plain),
    theirs = ("node %.1f MB"):format(plain), goal = "<= 2 MB", met = served - plain <= 2 }
end

local function listeners(settings)
  local server = start_serve(settings)
  local _ <close> = server.child
  local before = resident(server.child:pid())
  local all <close> = task.hold()
  for i = 1, LISTENERS do
    all[i], all.n = http.connect(server.port), i
    all[i]:send("GET", "/v1/events", server.headers)
  end
  for i = 1, LISTENERS do
    repeat local line = all[i].stream:read() until line:find "from here on"
    all[i].stream:read(3)
  end
  local began = harness.now()
  local headers = { Authorization = server.headers.Authorization, ["Content-Type"] = "application/json" }
  http.request(server.port, "POST", "/v1/dials", headers, '{"address":"self","exclusive":true}')
  for i = 1, LISTENERS do
    repeat local line = all[i].stream:read() until line:find '"state":"running"'
  end
  return { what = ("an event until %d listeners have it"):format(LISTENERS),
    ours = ("%.0f ms (%.1f KiB each)"):format((harness.now() - began) * 1000,
      (resident(server.child:pid()) - before) * 1e6 / LISTENERS / 1024) }
end

return function()
  local settings = servers.settings { brokers = { servers.mosquitto() } }
  local rows = { requests(settings) }
  for _, row in ipairs(throughput(settings)) do rows[#rows + 1] = row end
  rows[#rows + 1] = listeners(settings)
  rows[#rows + 1] = memory(settings)
  servers.close_all()
  return rows
end
