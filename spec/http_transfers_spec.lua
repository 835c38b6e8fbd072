-- Files over /v1: between two servers, and with the commands send and recv.
local client = require "spec.http"
local contacts = require "p2pd.contacts"
local core = require "p2pd.core"
local files = require "p2pd.http.files"
local format = require "p2pd.transfer.format"
local helper = require "spec.helper"
local inbox = require "p2pd.http.inbox"
local loopback = require "spec.loopback"
local schema = require "p2pd.http.schema"
local served = require "spec.served"
local task = require "p2pd.task"
local transfer = require "p2pd.transfer"
local url = require "p2pd.http.url"

local WAIT = 10
local NOBODY = "586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HR5"

local function sha256(path)
  local folder <close> = assert(core.folder.open "/")
  local _, size = assert(folder:stat(path:sub(2)))
  local file <close> = assert(folder:read(path:sub(2), size))
  assert(file:skip(size))
  return (file:digest():gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- What it is called is told when it has been sent.
local function target(peer, name, more)
  return ("/v1/transfers?to=%s&name=%s%s"):format(url.encode(peer), url.encode(name), more or "")
end

local function random(size)
  local file <close> = assert(io.open "/dev/urandom")
  return file:read(size)
end

local BYTES = { ["Content-Type"] = "application/octet-stream" }

describe("p2pd.http", function()
  local world = loopback.new(setup, teardown)
  local base

  before_each(function() base = helper.scratch() end)

  -- Two servers; the one that is far takes files as `rule` says.
  local function pair(fn, rule)
    return world:pair(function(alice, bob)
      local near <close> = served.new(alice, { files = base .. "/near" })
      local far <close> = served.new(bob, { files = base .. "/far", take_files = rule })
      fn(near, far)
    end, loopback.ALLOWING)
  end

  local function send(one, other, name, body, more, headers)
    local all = { ["Content-Type"] = "application/octet-stream" }
    for key, value in pairs(headers or {}) do all[key] = value end
    return one:call("POST", target(other.node.address, name, more), body, all)
  end

  local function is_as_described(one, kind, value)
    local fault = schema.find_fault(value, one.server.schemas[kind], kind, one.server.schemas)
    assert.is_nil(fault)
    return value
  end

  -- Waits until a server has a transfer in a state.
  local function wait_state(one, state)
    local found
    helper.wait_until(function()
      for _, entry in ipairs(one:call("GET", "/v1/transfers").json.transfers) do
        if entry.state == state then found = entry end
      end
      return found
    end)
    return found
  end

  describe("a file", function()
    it("goes to a peer, is listed, downloaded and removed", pair(function(near, far)
      local body = random(3000000)
      local sent = send(near, far, "Größe 1.bin", body)
      assert.equal(201, sent.status, sent.body)
      is_as_described(near, "Transfer", sent.json)
      assert.same({ "send", "done", far.node.id, #body, #body, 1 }, { sent.json.direction, sent.json.state,
        sent.json.peer, sent.json.bytes, sent.json.moved, sent.json.saved })
      local got = wait_state(far, "done")
      is_as_described(far, "Transfer", got)
      local item = got.items[1]
      assert.same({ "receive", near.node.id, "Größe 1.bin", "saved", sent.json.items[1].sha256 },
        { got.direction, got.peer, item.path, item.how, item.sha256 })
      assert.equal(sha256(("%s/far/%s/Größe 1.bin"):format(base, near.node.id)), item.sha256)
      local listed = far:call("GET", "/v1/files").json.files
      assert.equal(1, #listed)
      is_as_described(far, "File", listed[1])
      assert.same({ item.url, "Größe 1.bin", #body, false }, { listed[1].url, listed[1].name, listed[1].size,
        listed[1].partial })
      local answer = far:call("GET", item.url)
      assert.equal(200, answer.status)
      assert.is_true(answer.body == body)
      assert.equal("attachment; filename*=UTF-8''Gr%C3%B6%C3%9Fe%201.bin",
        answer.headers["content-disposition"])
      assert.equal(204, far:call("DELETE", item.url).status)
      assert.equal(404, far:call("GET", item.url).status)
      assert.same({}, { table.unpack(far:call("GET", "/v1/files").json.files) })
    end, "anyone"))

    it("is downloaded in parts, too, and its head alone", pair(function(near, far)
      local body = random(300000)
      assert.equal(201, send(near, far, "parts", body).status)
      local path = ("/v1/files/%s/parts"):format(near.node.id)
      local whole = far:call("GET", path)
      assert.same({ "300000", "bytes" }, { whole.headers["content-length"], whole.headers["accept-ranges"] })
      local function get(value, condition)
        return far:call("GET", path, nil, { Range = value, ["If-Range"] = condition })
      end
      local part = get("bytes=100000-199999", whole.headers.etag)
      assert.same({ 206, "bytes 100000-199999/300000", "100000" },
        { part.status, part.headers["content-range"], part.headers["content-length"] })
      assert.is_true(part.body == body:sub(100001, 200000))
      assert.is_true(get("bytes=-5", whole.headers["last-modified"]).body == body:sub(-5))
      local other = get("bytes=0-9", '"another"')
      assert.same({ 200, #body }, { other.status, #other.body })
      local none = get "bytes=300000-"
      assert.same({ 416, "bytes */300000" }, { none.status, none.headers["content-range"] })
      local asking <close> = far:begin("HEAD", path)
      local head = asking:head()
      assert.same({ 200, "300000", whole.headers.etag }, { head.status, head.headers["content-length"],
        head.headers.etag })
      asking:send("GET", path .. "-none", { Authorization = "Bearer " .. far.token })
      assert.equal(404, asking:receive().status)
    end, "anyone"))

    it("may be of unknown size, or empty", pair(function(near, far)
      local chunked = send(near, far, "chunked", "5\r\nhello\r\n0\r\n\r\n", nil,
        { ["Transfer-Encoding"] = "chunked" })
      assert.same({ 201, 5 }, { chunked.status, chunked.json.bytes })
      local empty = send(near, far, "empty", "")
      assert.same({ 201, 0 }, { empty.status, empty.json.bytes })
      assert.equal("hello", far:call("GET", ("/v1/files/%s/chunked"):format(near.node.id)).body)
      assert.equal("", far:call("GET", ("/v1/files/%s/empty"):format(near.node.id)).body or "")
    end, "anyone"))

    it("never takes another one's place, and may be sent again", pair(function(near, far)
      assert.equal(201, send(near, far, "a", "one").status)
      local other = send(near, far, "a", "two")
      assert.same({ 409, "a: there is another file of that name" }, { other.status, other.json.detail })
      local again = send(near, far, "a", "one")
      assert.same({ 201, "same" }, { again.status, again.json.items[1].how })
      assert.equal("one", far:call("GET", ("/v1/files/%s/a"):format(near.node.id)).body)
    end, "anyone"))

    it("is not sent by a name that is none, or to nobody", pair(function(near, far)
      for _, name in ipairs { "../a", "a/b", "/etc/passwd", "..", ".", "a.p2pd.part" } do
        assert.equal(400, send(near, far, name, "x").status, name)
      end
      assert.equal(400, near:call("POST", target(far.node.address, ("x"):rep(256)), "x", BYTES).status)
      assert.equal(400, near:call("POST", "/v1/transfers?to=nonsense&name=a", "x", BYTES).status)
      assert.equal(400, near:call("POST", "/v1/transfers?name=a", "x", BYTES).status)
      local nobody = ("0-[0,127.0.0.1,127.0.0.1,%d,1,1,0]-0-%s"):format(helper.free_port(), NOBODY)
      local answer = near:call("POST", target(nobody, "a", "&timeout=1"), "x", BYTES)
      assert.equal(502, answer.status, answer.body)
      assert.equal(401, client.request(near.port, "POST", target(far.node.address, "a"), BYTES, "x").status)
      local folder <close> = core.folder.open(base .. "/near")
      assert.equal("", (folder:list ".outgoing"))
    end, "anyone"))

    it("is sent in the background, and followed", pair(function(near, far)
      local begun = send(near, far, "b", ("x"):rep(100000), "&background=true")
      assert.same({ 202, "send" }, { begun.status, begun.json.direction })
      assert.equal("/v1/transfers/" .. begun.json.id, begun.headers.location)
      local over = near:call("GET", begun.headers.location .. "?wait=10").json
      assert.same({ "done", 100000 }, { over.state, over.moved })
      assert.equal(204, near:call("DELETE", begun.headers.location).status)
      assert.equal(404, near:call("GET", begun.headers.location).status)
      assert.equal(404, near:call("DELETE", begun.headers.location).status)
    end, "anyone"))

    it("that is broken off in the middle of its body is not sent", pair(function(near, far)
      local connection = near:begin("POST", target(far.node.address, "a"), { ["Content-Length"] = "100000" },
        "abc")
      wait_state(near, "uploading")
      connection:abort()
      helper.wait_until(function()
        local one = near:call("GET", "/v1/transfers").json.transfers[1]
        return one.state == "canceled" or one.state == "failed"
      end)
      assert.same({}, { table.unpack(far:call("GET", "/v1/transfers").json.transfers) })
      local folder <close> = core.folder.open(base .. "/near")
      assert.equal("", (folder:list ".outgoing"))
    end, "anyone"))
  end)

  describe("an offer", function()
    it("waits until somebody takes it", pair(function(near, far)
      local accepting <close> = task.spawn(far.call, far, "POST", "/v1/transfers/accept",
        '{"timeout":10}')
      local sent = send(near, far, "a", "hello")
      local accepted = accepting:join(WAIT)
      assert.same({ 201, 200, 5, 1 },
        { sent.status, accepted.status, accepted.json.bytes, accepted.json.files })
      local over = far:call("GET", ("/v1/transfers/%s?wait=10"):format(accepted.json.id)).json
      assert.equal("done", over.state)
      local again = far:call("POST", "/v1/transfers/accept", ('{"id":"%s"}'):format(over.id))
      assert.same({ 409, "it is done" }, { again.status, again.json.detail })
      assert.equal(404, far:call("POST", "/v1/transfers/accept", '{"id":"none"}').status)
      assert.equal(504, far:call("POST", "/v1/transfers/accept", '{"timeout":0}').status)
      assert.equal(400, far:call("POST", "/v1/transfers/accept", '{"more":0}').status)
    end))

    it("is refused, which the sender is told", pair(function(near, far)
      local sending <close> = task.spawn(send, near, far, "a", "hello")
      local offered = wait_state(far, "offered")
      assert.same({ near.node.id, "a", 5, 0 }, { offered.peer, offered.name, offered.bytes, offered.moved })
      assert.equal(204, far:call("DELETE", "/v1/transfers/" .. offered.id).status)
      local answer = sending:join(WAIT)
      assert.same({ 409, "a: it is not wanted" }, { answer.status, answer.json.detail })
      assert.equal("refused", far:call("GET", "/v1/transfers/" .. offered.id).json.state)
      assert.same({}, { table.unpack(far:call("GET", "/v1/files").json.files) })
    end))

    it("ends when nobody takes it in time", pair(function(near, far)
      local seconds = inbox.OFFER_S
      local _ <close> = setmetatable({}, { __close = function() inbox.OFFER_S = seconds end })
      inbox.OFFER_S = 0.05
      assert.equal(409, send(near, far, "a", "hello").status)
      assert.equal("nobody took it", wait_state(far, "refused").error)
    end))

    it("goes with its sender, who goes with his client", pair(function(near, far)
      local connection = near:begin("POST", target(far.node.address, "a"), { ["Content-Length"] = "5" },
        "hello")
      wait_state(far, "offered")
      connection:abort()
      assert.equal("canceled", wait_state(near, "canceled").state)
      assert.equal("failed", wait_state(far, "failed").state)
      local offered <close> = task.spawn(send, near, far, "b", "hello")
      wait_state(far, "offered")
      assert.equal(204, near:call("DELETE", "/v1/transfers/" .. wait_state(near, "running").id).status)
      local answer = offered:join(WAIT)
      assert.same({ 409, "ECANCELED" }, { answer.status, answer.json.code })
    end))

    it("is one of a few", pair(function(near, far)
      local most = inbox.PEER_MAX
      local _ <close> = setmetatable({}, { __close = function() inbox.PEER_MAX = most end })
      inbox.PEER_MAX = 1
      local first <close> = task.spawn(send, near, far, "a", "hello")
      wait_state(far, "offered")
      local second <close> = near.node:connect(far.node.address, { protocol = transfer.PROTOCOL })
      helper.write(base .. "/b", "b")
      assert.is_nil((transfer.send(second, { base .. "/b" })))
      assert.equal(200, far:call("POST", "/v1/transfers/accept", "{}").status)
      assert.equal(201, first:join(WAIT).status)
    end))

    it("is told as an event", pair(function(near, far)
      local events <close> = far:begin("GET", "/v1/events")
      assert.equal(200, events:head().status)
      local sending <close> = task.spawn(send, near, far, "a", "hello")
      local states = {}
      for line in function() return (events.stream:read()) end do
        local state = line:match '^data: .*"direction":"receive"' and line:match '"state":"(%w+)"'
        if state then states[#states + 1] = state end
        if state == "offered" then far:call("POST", "/v1/transfers/accept", "{}") end
        if state == "done" then break end
      end
      assert.same({ "offered", "running", "done" }, states)
      assert.equal(201, sending:join(WAIT).status)
    end))
  end)

  describe("with the commands", function()
    it("p2pd send reaches a server", pair(function(_, far)
      helper.write(base .. "/photo", ("y"):rep(300000))
      local child <close> = helper.p2pd { "send", base .. "/photo", far.node.address, "--settings",
        world.path, "--interface", "lo", env = { XDG_DATA_HOME = base } }
      local got = wait_state(far, "done")
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
      assert.same({ "photo", sha256(base .. "/photo") }, { got.items[1].path, got.items[1].sha256 })
    end, "anyone"))

    it("p2pd recv takes what a server sends", pair(function(near)
      os.execute(("LD_PRELOAD= mkdir '%s/to'"):format(base))
      local child <close> = helper.p2pd { "recv", "--allow", near.node.id, "--to", base .. "/to",
        "--settings", world.path, "--interface", "lo", stderr = "pipe", env = { XDG_DATA_HOME = base } }
      local address
      repeat address = child:stderr():read():match "p2pd send FILE%.%.%. (%S+)" until address
      local answer = near:call("POST", target(address, "letter"), "dear bob", BYTES)
      assert.equal(201, answer.status, answer.body)
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
      assert.equal("dear bob", helper.read(base .. "/to/letter"))
    end))
  end)

  it("keeps what has come when it is broken off, apart, and goes on from there", pair(function(near, far)
    helper.write(base .. "/big", random(12000000))
    do
      local pipe <close> = near.node:connect(far.node.address, { protocol = transfer.PROTOCOL })
      local moved = 0
      local sending <close> = task.spawn(transfer.send, pipe, { base .. "/big" }, {
        on_bytes = function(count) moved = moved + count end })
      assert.truthy(sending)
      helper.wait_until(function() return moved > 2000000 end)
    end
    assert.equal("failed", wait_state(far, "failed").state)
    local listed = far:call("GET", "/v1/files").json.files
    assert.same({ 1, "big", true }, { #listed, listed[1].name, listed[1].partial })
    assert.equal(400, far:call("GET", listed[1].url).status)
    local answer = send(near, far, "big", helper.read(base .. "/big"))
    assert.same({ 201, "resumed" }, { answer.status, answer.json.items[1].how })
    local path = ("%s/far/%s/big"):format(base, near.node.id)
    assert.equal(sha256(base .. "/big"), sha256(path))
  end, "anyone"))

  it("tells that the disk is full", helper.task(function()
    local disk <close> = served.small_disk()
    if not disk then return pending "no small file system can be mounted here" end
    local small = disk.path
    local alice <close> = world:start(loopback.ALLOWING)
    local bob <close> = world:start(loopback.ALLOWING)
    local near <close> = served.new(alice, { files = base .. "/near" })
    local far <close> = served.new(bob, { files = small, take_files = "anyone" })
    local answer = send(near, far, "large", ("x"):rep(3000000))
    assert.equal(409, answer.status)
    assert.matches("large: no room: %d+ bytes are free", answer.json.detail)
    assert.matches("no room", wait_state(far, "failed").error)
    local whole = send(far, near, "a", ("x"):rep(3000000))
    assert.same({ 507, "ENOSPC" }, { whole.status, whole.json.code })
    assert.matches("no room", whole.json.detail)
    local chunks = ("10000\r\n%s\r\n"):format(("x"):rep(65536)):rep(40) .. "0\r\n\r\n"
    local own = send(far, near, "a", chunks, nil, { ["Transfer-Encoding"] = "chunked" })
    assert.same({ 507, "ENOSPC" }, { own.status, own.json.code })
    local folder <close> = core.folder.open(small)
    assert.equal("", (folder:list ".outgoing"))
  end))

  it("takes contacts' files without asking, and when many come, and offers those of others",
    helper.task(function()
    local name_of, most = contacts.name_of, inbox.MAX
    local _ <close> = setmetatable({}, { __close = function()
      contacts.name_of, inbox.MAX = name_of, most
    end })
    local alice <close> = world:start(loopback.ALLOWING)
    local bob <close> = world:start(loopback.ALLOWING)
    contacts.name_of = function(peer) return peer == alice.id and "alice" or nil end
    local near <close> = served.new(alice, { files = base .. "/near", take_files = "contacts" })
    local far <close> = served.new(bob, { files = base .. "/far", take_files = "contacts" })
    inbox.MAX = 0
    assert.equal(201, send(near, far, "a", "x").status)
    inbox.MAX = 1
    local sending <close> = task.spawn(send, far, near, "a", "x")
    assert.equal(bob.id, wait_state(near, "offered").peer)
    assert.not_equal("done", sending:status())
  end))

  it("counts transfers by their outcome", pair(function(near, far)
    assert.equal(201, send(near, far, "a", "x").status)
    assert.equal(409, send(near, far, "a", "y").status)
    local text = near:call("GET", "/v1/metrics").body
    assert.matches('p2pd_transfers_total{direction="send",outcome="done"} 1\n', text, 1, true)
    assert.matches('p2pd_transfers_total{direction="send",outcome="failed"} 1\n', text, 1, true)
  end, "anyone"))

  it("gives out and removes nothing for random paths", pair(function(near, far)
    assert.equal(201, send(near, far, "a", "x").status)
    helper.write(base .. "/a", "outside")
    math.randomseed(11)
    local parts = { near.node.id, "..", ".", "a", "%2f", "/", "%2e%2e", ".outgoing", "%ff", "a.p2pd.part",
      "%0a", "~" }
    local list = "/v1/files"
    local own = ("%s/%s/a"):format(list, near.node.id)
    for _ = 1, 500 do
      local path = { "/v1/files" }
      for _ = 1, math.random(6) do path[#path + 1] = parts[math.random(#parts)] end
      local there = table.concat(path, "/")
      local answer = far:call(math.random(2) == 1 and "GET" or "DELETE", there)
      local plain = there:gsub("/+", "/"):gsub("/$", "")
      if plain ~= own and plain ~= list then
        assert.is_true(answer.status >= 400 and answer.status < 500, there .. " " .. answer.status)
      elseif answer.status == 204 then
        assert.equal(201, send(near, far, "a", "x").status)
      end
    end
    assert.equal("outside", helper.read(base .. "/a"))
  end, "anyone"))

  it("has to be told rightly whose files to take", served.one(world, function(near)
    assert.error_matches(function()
      require("p2pd.http").serve(near.node, { port = 0, files = base, take_files = "friends" })
    end, "take_files")
  end))

  it("has no files without a folder", served.one(world, function(near)
    assert.equal(501, near:call("GET", "/v1/files").status)
    assert.equal(501, near:call("POST", target(near.node.address, "a"), "x", BYTES).status)
    assert.equal(501, near:call("POST", "/v1/transfers/accept", "{}").status)
    assert.same({}, { table.unpack(near:call("GET", "/v1/transfers").json.transfers) })
  end))

  it("cancels what comes, which the sender is told, and takes what he sends next", pair(function(near, far)
    local pipe <close> = near.node:connect(far.node.address, { protocol = transfer.PROTOCOL })
    pipe:write((">Bs4"):pack(("H"):byte(), format.hello(format.SENDER, { files = 1, bytes = 1 })),
      (">Bs4"):pack(("F"):byte(), format.pack("F", { entry = 1, size = 1, mtime = 0, mode = 0, path = "a" })))
    local running = wait_state(far, "running")
    assert.equal(204, far:call("DELETE", "/v1/transfers/" .. running.id).status)
    assert.equal("canceled", far:call("GET", "/v1/transfers/" .. running.id).json.state)
    local told = pipe:read "a" or ""
    assert.matches(format.pack("S", { reason = "it was canceled" }), told, 1, true)
    assert.equal(201, send(near, far, "a", "x").status)
  end, "anyone"))

  it("is told that the other side has stopped, and does not try again", world:pair(function(alice, bob)
    local near <close> = served.new(alice, { files = base .. "/near" })
    local place = files.new(base .. "/far"):place_for(alice.id)
    local receiving <close> = task.spawn(function()
      local pipe <close> = bob:accept(transfer.PROTOCOL, WAIT)
      local came = task.condition()
      return transfer.receive(pipe, place, { on_bytes = function() came:broadcast() end, stop = function()
        came:wait()
        return "enough"
      end })
    end)
    local answer = near:call("POST", target(bob.address, "a"), ("x"):rep(20000000), BYTES)
    assert.same({ 409, "ECANCELED", "the other side has stopped: enough" },
      { answer.status, answer.json.code, answer.json.detail })
    assert.equal("ECANCELED", select(3, receiving:join(WAIT)))
  end, loopback.ALLOWING))
end)
