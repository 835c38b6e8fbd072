-- Several files and folders over /v1: forms, how they are read, and what the peer gets.
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local multipart = require "p2pd.http.multipart"
local served = require "spec.served"
local upload = require "p2pd.http.upload"
local url = require "p2pd.http.url"

local WAIT = 10
local BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
local KIND = { ["Content-Type"] = "multipart/form-data; boundary=" .. BOUNDARY }

-- Of pairs of filename and bytes, as a browser writes it.
local function form_of(files)
  local parts = {}
  for _, file in ipairs(files) do
    parts[#parts + 1] = ('--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n')
      :format(BOUNDARY, file[1]) .. "Content-Type: application/octet-stream\r\n\r\n" .. file[2] .. "\r\n"
  end
  return table.concat(parts) .. "--" .. BOUNDARY .. "--\r\n"
end

-- Gives a text out in pieces.
local function pieces(text, size)
  local at = 1
  return function()
    if at > #text then return nil end
    at = at + size
    return text:sub(at - size, at - 1)
  end
end

-- All parts of a form: names, filenames and bytes; or nil, message, code.
local function read_all(boundary, recv)
  local form, parts = multipart.new(boundary, recv), {}
  for part in function()
    local found, reason, code = form:next()
    if reason then error({ reason, code }, 0) end
    return found
  end do
    local bytes = {}
    while true do
      local data, reason, code = form:read()
      if reason then error({ reason, code }, 0) end
      if not data then break end
      bytes[#bytes + 1] = data
    end
    parts[#parts + 1] = { part.name, part.filename or false, table.concat(bytes) }
  end
  return parts
end

local function fault_of(text, boundary)
  local ok, fault = pcall(read_all, boundary or "x", pieces(text, 5))
  assert.is_false(ok, text)
  return fault
end

describe("p2pd.http.multipart", function()
  it("finds the boundary of a form", function()
    for kind, boundary in pairs { ["multipart/form-data; boundary=abc"] = "abc",
      ['Multipart/Form-Data; charset=utf-8; Boundary="a b=c"'] = "a b=c",
      ["multipart/form-data;boundary=" .. BOUNDARY] = BOUNDARY } do
      assert.equal(boundary, multipart.boundary(kind))
    end
    for _, kind in ipairs { "application/octet-stream", "multipart/mixed; boundary=a", "",
      "multipart/form-data-not; boundary=a" } do
      assert.same({ n = 1 }, table.pack(multipart.boundary(kind)), kind)
    end
    assert.is_nil(multipart.boundary(nil))
    for _, kind in ipairs { "multipart/form-data", "multipart/form-data; boundary=",
      'multipart/form-data; boundary="a', "multipart/form-data; boundary=" .. ("x"):rep(71),
      'multipart/form-data; boundary="a "', 'multipart/form-data; boundary="a\1b"' } do
      assert.matches("no valid boundary", select(2, multipart.boundary(kind)))
    end
  end)

  it("reads parts, in whatever pieces they come", function()
    local text = 'preamble\r\n--x\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\n'
      .. '--x  \r\ncontent-disposition:form-data; name="f"; filename="b/c.txt"\r\nX-More:\r\n\r\n'
      .. '\r\n--y\r\n-\r\n'
      .. '--x\r\nContent-Disposition: form-data; name=g; filename="empty"\r\n\r\n\r\n'
      .. '--x\r\n\r\nno head\r\n--x--\r\nend'
    for size = 1, #text do
      assert.same({ { "a", false, "one" }, { "f", "b/c.txt", "\r\n--y\r\n-" }, { "g", "empty", "" },
        { "", false, "no head" } }, read_all("x", pieces(text, size)))
    end
  end)

  it("skips what nobody reads", function()
    local form = multipart.new(BOUNDARY, pieces(form_of { { "a", ("x"):rep(100000) }, { "b", "y" } }, 999))
    assert.equal("a", form:next().filename)
    assert.equal("b", form:next().filename)
    assert.equal("y", form:read())
    assert.is_nil(form:read())
    assert.is_nil(form:next())
    assert.is_nil(form:next())
  end)

  it("reads names as browsers and others write them", function()
    for written, name in pairs { ['"a%22b%0D%0A%20c"'] = 'a"b\r\n%20c', ['"a\\"b\\\\c"'] = 'a"b\\c',
      ['"C:\\d"'] = "C:\\d", ['"Größe; x=\\"1"'] = 'Größe; x="1', plain = "plain",
      ['"x"; filename*=UTF-8\'\'Gr%C3%B6%C3%9Fe'] = "Größe", ['""'] = "" } do
      local text = ('--x\r\nContent-Disposition: form-data; name="f"; filename=%s\r\n\r\n\r\n--x--')
        :format(written)
      assert.same({ { "f", name, "" } }, read_all("x", pieces(text, 64)))
    end
  end)

  it("refuses what is no form", function()
    for text, reason in pairs { [""] = "ends before its last boundary", ["--x"] = "ends before",
      ["--x\r\n\r\nabc"] = "ends before", ["--x\r\nA: b"] = "ends before",
      ["--xy\r\n\r\n\r\n--x--"] = "something follows a boundary",
      [("y"):rep(2000)] = "does not begin with its boundary" } do
      local fault = fault_of(text)
      assert.matches(reason, fault[1])
      assert.equal("EINVAL", fault[2])
    end
    assert.equal("EMSGSIZE", fault_of("--x\r\n" .. ("A: b\r\n"):rep(5000))[2])
  end)

  it("tells what its source tells", function()
    local form = multipart.new("x", function() return nil, "the client has hung up", "EPIPE" end)
    assert.same({ nil, "the client has hung up", "EPIPE" }, { form:next() })
  end)
end)

describe("p2pd.http", function()
  local world = loopback.new(setup, teardown)
  local base

  before_each(function() base = helper.scratch() end)

  local function pair(fn)
    return world:pair(function(alice, bob)
      local near <close> = served.new(alice, { files = base .. "/near" })
      local far <close> = served.new(bob, { files = base .. "/far", take_files = "anyone" })
      fn(near, far)
      local folder <close> = core.folder.open(base .. "/near")
      assert.equal("", (folder:list ".outgoing")) -- nothing is left of what was sent
    end, loopback.ALLOWING)
  end

  local function send(near, far, body, more, headers)
    local target = ("/v1/transfers?to=%s%s"):format(url.encode(far.node.address), more or "")
    return near:call("POST", target, body, headers or KIND)
  end

  -- The beginning of one.
  local function begin(near, far, headers)
    return near:begin("POST", "/v1/transfers?to=" .. url.encode(far.node.address), headers,
      form_of({ { "a", ("x"):rep(5000) } }):sub(1, 4000))
  end

  local function received(near, path)
    return helper.read(("%s/far/%s/%s"):format(base, near.node.id, path))
  end

  describe("a form", function()
    it("sends files and folders in one transfer", pair(function(near, far)
      local large = ("0123456789"):rep(300000)
      local answer = send(near, far, form_of { { "photos/2024/a b.jpg", "first" },
        { "photos/2024/c.jpg", large }, { "photos/empty", "" }, { "Größe.txt", "third" } })
      assert.equal(201, answer.status, answer.body)
      assert.same({ "done", "photos", 4, 10 + #large, 10 + #large, 4 }, { answer.json.state, answer.json.name,
        answer.json.files, answer.json.bytes, answer.json.moved, answer.json.saved })
      assert.same({ "first", "", "third" }, { received(near, "photos/2024/a b.jpg"),
        received(near, "photos/empty"), received(near, "Größe.txt") })
      assert.is_true(received(near, "photos/2024/c.jpg") == large)
      local listed = far:call("GET", "/v1/files").json.files
      assert.equal(4, #listed)
      for _, one in ipairs(listed) do assert.equal(200, far:call("GET", one.url).status) end
      local below = far:call("GET", ("/v1/files?under=%s/photos/2024"):format(near.node.id)).json.files
      assert.same({ "a b.jpg", "c.jpg" }, { below[1].name, below[2].name })
      assert.is_nil(below[3])
    end))

    it("is put into a folder that has a name", pair(function(near, far)
      local answer = send(near, far, form_of { { "a", "1" }, { "b", "2" } }, "&name=trip")
      assert.same({ 201, "trip", 2 }, { answer.status, answer.json.name, answer.json.files })
      assert.same({ "1", "2" }, { received(near, "trip/a"), received(near, "trip/b") })
    end))

    it("is sent by curl", pair(function(near, far)
      helper.write(base .. "/a", "first")
      helper.write(base .. '/b "quoted"', "second")
      local child <close> = assert(core.process.spawn { "curl", "-sS", "-g",
        "-F", "files[]=@" .. base .. "/a", "-F", ("files[]=@\"%s/b \\\"quoted\\\"\""):format(base), "-F",
        "files[]=@" .. base .. "/a;filename=in/folder/c", "-H", "Authorization: Bearer " .. near.token,
        ("http://127.0.0.1:%d/v1/transfers?to=%s"):format(near.port, far.node.address), stdout = "pipe",
        env = { LD_PRELOAD = "" } })
      assert.matches('"state":"done"', child:stdout():read "a")
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
      assert.same({ "first", "second", "first" }, { received(near, "a"), received(near, 'b "quoted"'),
        received(near, "in/folder/c") })
    end))

    it("may be of unknown size", pair(function(near, far)
      local form = form_of { { "a", "first" } }
      local body = ("%x\r\n%s\r\n0\r\n\r\n"):format(#form, form)
      local answer = send(near, far, body, nil, { ["Transfer-Encoding"] = "chunked",
        ["Content-Type"] = KIND["Content-Type"] })
      assert.same({ 201, 5 }, { answer.status, answer.json.bytes })
    end))

    it("may have many files", pair(function(near, far)
      local files = {}
      for i = 1, 400 do files[i] = { ("d%d/f%d"):format(i, i), tostring(i) } end
      local answer = send(near, far, form_of(files))
      assert.same({ 201, 400, 400 }, { answer.status, answer.json.files, answer.json.saved })
      assert.equal("400", received(near, "d400/f400"))
    end))

    it("is refused with names that are none, and what is no form", pair(function(near, far)
      local reasons = { ["../a"] = 'not a safe path: ".." in it', ["/etc/passwd"] = "an absolute path",
        ["a//b"] = "not a safe path", [""] = "not a safe path", ["a.p2pd.part"] = "unfinished" }
      for name, reason in pairs(reasons) do
        local answer = send(near, far, form_of { { "good", "x" }, { name, "x" } })
        assert.same({ 400, "EINVAL" }, { answer.status, answer.json.code }, name)
        assert.matches(reason, answer.json.detail)
      end
      for _, case in ipairs {
        { form_of { { "a", "1" }, { "a", "2" } }, "a: another one has that name" },
        { form_of { { "a", "1" }, { "a/b", "2" } }, "a/b: it is in a folder that is a file" },
        { form_of { { "a/b", "1" }, { "a", "2" } }, "a: another one has that name" },
        { form_of {}, "the form has no files" },
        { form_of { { "a", "1" } }:sub(1, -10),
          "a: the form is malformed: it ends before its last boundary" },
        { ("x"):rep(5000), "the form is malformed: it does not begin with its boundary" },
        { ('--%s\r\nContent-Disposition: form-data; name="to"\r\n\r\nbob\r\n--%s--')
          :format(BOUNDARY, BOUNDARY), '"to" in the form is no file' } } do
        local answer = send(near, far, case[1])
        assert.same({ 400, case[2] }, { answer.status, answer.json.detail })
      end
      local unbound = send(near, far, "x", nil, { ["Content-Type"] = "multipart/form-data" })
      assert.same({ 400, "the form is malformed: its Content-Type has no valid boundary" },
        { unbound.status, unbound.json.detail })
      assert.equal(400, send(near, far, form_of { { "a", "1" } }, "&name=a/b").status)
      assert.same({}, { table.unpack(far:call("GET", "/v1/transfers").json.transfers) })
    end))

    it("has as many files as may be", pair(function(near, far)
      local most = upload.FILES_MAX
      local _ <close> = setmetatable({}, { __close = function() upload.FILES_MAX = most end })
      upload.FILES_MAX = 2
      local answer = send(near, far, form_of { { "a", "1" }, { "b", "1" }, { "c", "1" } })
      assert.same({ 413, "more than 2 files" }, { answer.status, answer.json.detail })
      assert.equal(201, send(near, far, form_of { { "a", "1" }, { "b", "1" } }).status)
    end))

    it("of which a client leaves in the middle is not sent", pair(function(near, far)
      local headers = { ["Content-Length"] = "100000", ["Content-Type"] = KIND["Content-Type"] }
      local connection = begin(near, far, headers)
      local function state() return (near:call("GET", "/v1/transfers").json.transfers[1] or {}).state end
      helper.wait_until(function() return state() == "uploading" end)
      connection:abort()
      helper.wait_until(function() return state() == "canceled" or state() == "failed" end)
      assert.same({}, { table.unpack(far:call("GET", "/v1/transfers").json.transfers) })
    end))

    it("is canceled while it comes", pair(function(near, far)
      local headers = { ["Content-Length"] = "7000", ["Content-Type"] = KIND["Content-Type"] }
      local connection <close> = begin(near, far, headers)
      local function first() return near:call("GET", "/v1/transfers").json.transfers[1] end
      helper.wait_until(first)
      assert.equal(204, near:call("DELETE", "/v1/transfers/" .. first().id).status)
      connection.stream:write(("x"):rep(3000))
      assert.equal(409, connection:receive().status)
    end))
  end)

  it("tells that the disk is full in the middle of a form", helper.task(function()
    local disk <close> = served.small_disk()
    if not disk then return pending "no small file system can be mounted here" end
    local small = disk.path
    local alice <close> = world:start(loopback.ALLOWING)
    local near <close> = served.new(alice, { files = small })
    local form = form_of { { "d/a", ("x"):rep(600000) }, { "d/b", ("x"):rep(600000) } }
    local known = send(near, near, form)
    assert.same({ 507, "ENOSPC" }, { known.status, known.json.code })
    local chunked = send(near, near, ("%x\r\n%s\r\n0\r\n\r\n"):format(#form, form), nil,
      { ["Transfer-Encoding"] = "chunked", ["Content-Type"] = KIND["Content-Type"] })
    assert.same({ 507, "ENOSPC" }, { chunked.status, chunked.json.code })
    assert.matches("^d/b: ", chunked.json.detail)
    local folder <close> = core.folder.open(small)
    assert.equal("", (folder:list ".outgoing"))
  end))
end)
