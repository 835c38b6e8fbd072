local core = require "p2pd.core"
local helper = require "spec.helper"
local streams = require "spec.streams"
local task = helper.task

local LARGE = ("0123456789abcdef"):rep(64 * 1024) -- 1 MiB: for the worker
local SHA256_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function sum(path)
  local pipe <close> = assert(io.popen(("LD_PRELOAD= sha256sum '%s'"):format(path)))
  return pipe:read "a":match "^%x+"
end

local function read_all(file)
  local parts = {}
  while true do
    local data, reason = file:read()
    assert(data or not reason, reason)
    if not data then return table.concat(parts) end
    parts[#parts + 1] = data
  end
end

describe("p2pd.core.folder", function()
  local path, folder

  before_each(function()
    path = helper.scratch()
    folder = assert(core.folder.open(path))
  end)
  after_each(function() folder:close() end)
  teardown(helper.close_all)

  local function write(name, text) return helper.write(path .. "/" .. name, text) end

  it("says what is there", function()
    write("a", "abc")
    assert(folder:make("sub", tonumber("750", 8)))
    assert(folder:link("l", "a"))
    local kind, size = folder:stat "a"
    assert.same({ "file", 3 }, { kind, size })
    assert.same({ "folder", "link", "folder" }, { folder:stat "sub", (folder:stat "l"), (folder:stat "") })
    assert.equal("a", folder:target "l")
    local names = {}
    for name in folder:list(""):gmatch "%Z+" do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "a", "l", "sub" }, names)
    assert.equal("", folder:list "sub")
    assert.equal("ENOENT", select(3, folder:stat "no"))
    assert.is_true(folder:room() > 0)
  end)

  it("leads nowhere out of it", function()
    write("a", "abc")
    assert(folder:make("sub", 448))
    assert(folder:link("out", "/etc"))
    assert(folder:link("up", ".."))
    assert(folder:link("file", "a"))
    for _, bad in ipairs { "..", ".", "../a", "sub/../a", "sub/..", "/etc", "sub//a", "/", "sub/", "a\0b",
      ("x"):rep(256) } do
      for _, method in ipairs { "stat", "target", "remove" } do
        local ok, _, code = folder[method](folder, bad)
        assert.is_nil(ok)
        assert.is_true(code == "EINVAL" or code == "ENOENT", method .. " " .. bad .. " " .. code)
      end
      assert.is_nil(folder:write(bad, 1))
      assert.is_nil(folder:make(bad, 448))
      assert.is_nil(folder:rename("a", bad))
    end
    for _, bad in ipairs { "out/passwd", "up/x", "file/x" } do
      assert.equal("ENOTDIR", select(3, folder:stat(bad)))
      assert.equal("ENOTDIR", select(3, folder:write(bad, 1)))
    end
    assert.equal("ELOOP", select(3, folder:read("file", 3)))
    assert.equal("ELOOP", select(3, folder:write("file", 3)))
    assert.equal("ENOTDIR", select(3, folder:list "out"))
    assert.is_not_nil(folder:read("file", 3, true))
  end)

  it("refuses what is no file, without waiting for it", function()
    os.execute(("LD_PRELOAD= mkfifo '%s/fifo'"):format(path))
    assert.equal("EINVAL", select(3, folder:read("fifo", 1)))
    assert.is_nil(folder:read("", 1))
    assert(folder:make("sub", 448))
    assert.is_nil(folder:write("sub", 1))
  end)

  it("renames, and replaces when it may", function()
    write("a", "new")
    write("b", "old")
    assert.equal("EEXIST", select(3, folder:rename("a", "b")))
    assert(folder:rename("a", "b", true))
    assert.equal("new", helper.read(path .. "/b"))
    assert(folder:rename("b", "c"))
    assert(folder:remove "c")
    assert.equal("ENOENT", select(3, folder:remove "c"))
  end)

  it("removes folders that are empty, and no others", function()
    assert(folder:make("sub", 448))
    write("sub/a", "")
    assert.equal("ENOTEMPTY", select(3, folder:remove "sub"))
    assert(folder:remove "sub/a")
    assert(folder:remove "sub")
    assert.equal("ENOENT", select(3, folder:stat "sub"))
  end)

  it("sets permissions and times", function()
    assert(folder:make("sub", 448))
    assert(folder:set("sub", tonumber("750", 8), 981173106000000001))
    local _, _, mtime, mode = folder:stat "sub"
    assert.same({ 981173106000000001, tonumber("750", 8) }, { mtime, mode })
    assert(folder:link("l", "nowhere"))
    assert(folder:set("l", 0, 5))
    assert.equal(5, (select(3, folder:stat "l")))
  end)

  it("opens none that is not there, and raises once closed", function()
    assert.equal("ENOENT", select(3, core.folder.open(path .. "/no")))
    assert.equal("ENOTDIR", select(3, core.folder.open(write("a", ""))))
    assert.equal("ENOENT", select(3, core.folder.resolve(path .. "/no")))
    assert.equal(core.folder.resolve(path), core.folder.resolve(path .. "/./"))
    folder:close()
    assert.error_matches(function() folder:stat "a" end, "closed")
  end)

  describe("a file", function()
    it("is read with its digest, small or large", task(function()
      for _, text in ipairs { "", "abc", LARGE, LARGE .. "x" } do
        write("f", text)
        local file <close> = assert(folder:read("f", #text))
        assert.equal(text, read_all(file))
        assert.equal(#text, file:position())
        assert.equal(sum(path .. "/f"), hex(file:digest()))
      end
      write("f", "abc")
      local file <close> = assert(folder:read("f", 3))
      read_all(file)
      assert.equal(SHA256_ABC, hex(file:digest()))
    end))

    it("is read in frames", task(function()
      write("f", LARGE)
      local file <close> = assert(folder:read("f", #LARGE))
      local parts, count, lengths = {}, 0, {}
      while true do
        local data, n, is_last = file:read "B"
        if not data then break end
        if #data > n then
          lengths[#lengths + 1] = (">I4"):unpack(data, 2)
          assert.equal("B", data:sub(1, 1))
        end
        parts[#parts + 1] = data:sub(#data - n + 1)
        count = count + n
        assert.equal(is_last, count % lengths[1] == 0)
      end
      assert.equal(LARGE, table.concat(parts))
      assert.same({ 524288, 524288 }, lengths)
    end))

    it("that has become shorter ends early", task(function()
      for _, text in ipairs { "abc", LARGE } do
        write("f", text)
        local file <close> = assert(folder:read("f", #text + 100))
        assert.equal(text, read_all(file))
        assert.equal(#text, file:position())
      end
    end))

    it("is written with its digest", task(function()
      for _, size in ipairs { 0, 3, #LARGE } do
        local file <close> = assert(folder:write("f", size))
        for at = 1, size, 50000 do assert(file:write(LARGE:sub(at, math.min(size, at + 49999)))) end
        assert(file:flush())
        assert(file:set(tonumber("640", 8), 7))
        assert.equal(size, file:position())
        assert.equal(sum(path .. "/f"), hex(file:digest()))
        assert.equal(LARGE:sub(1, size), helper.read(path .. "/f"))
        assert.same({ "file", size, 7, tonumber("640", 8) }, { folder:stat "f" })
      end
    end))

    it("takes more than was expected", task(function()
      local file <close> = assert(folder:write("f", 1))
      assert(file:write(LARGE))
      assert(file:flush())
      assert.equal(LARGE, helper.read(path .. "/f"))
    end))

    it("goes on after what was skipped, or begins anew", task(function()
      for _, size in ipairs { 10, 600000 } do
        local text = LARGE:sub(1, size)
        write("f", text)
        local file <close> = assert(folder:write("f", #LARGE, true))
        assert(file:skip(size))
        assert.equal(sum(path .. "/f"), hex(file:digest()))
        assert(file:write(LARGE:sub(size + 1)))
        assert(file:flush())
        assert.equal(LARGE, helper.read(path .. "/f"))
        local reader <close> = assert(folder:read("f", #LARGE))
        assert(reader:skip(size))
        assert.equal(LARGE:sub(size + 1), read_all(reader))
        assert.equal(sum(path .. "/f"), hex(reader:digest()))
        local again <close> = assert(folder:write("f", 3, true))
        assert(again:skip(size))
        assert(again:restart())
        assert(again:write "abc")
        assert(again:flush())
        assert.equal(SHA256_ABC, hex(again:digest()))
        assert.equal("abc", helper.read(path .. "/f"))
      end
    end))

    it("can't skip what is not there", task(function()
      write("f", "abc")
      local file <close> = assert(folder:read("f", 3))
      assert.equal("ENODATA", select(3, file:skip(4)))
    end))

    it("can be closed in the middle of its work", task(function()
      write("f", LARGE)
      local file = assert(folder:read("f", #LARGE))
      local reading <close> = core.task.spawn(file.read, file)
      core.task.sleep(0)
      file:close()
      file:close()
      reading:join()
      assert.error_matches(function() file:read() end, "closed")
      assert.equal("file (closed)", tostring(file))
      local skipping = assert(folder:read("f", #LARGE))
      local skip <close> = core.task.spawn(skipping.skip, skipping, #LARGE)
      core.task.sleep(0)
      skipping:close()
      skip:join()
    end))
  end)

  describe("a file and a stream", function()
    local function give_all(file, stream)
      local total = 0
      while true do
        local count, is_last = file:give(stream, "B")
        if not count then return total, is_last end
        total = total + count
        assert.equal(is_last, total % 524288 == 0 or total == #LARGE + 5)
      end
    end

    it("give() writes it in frames", task(function()
      local _ <close>, near, far = streams.pair()
      write("f", LARGE .. "12345")
      local file <close> = assert(folder:read("f", #LARGE + 5))
      local giving <close> = core.task.spawn(function()
        local total, reason = give_all(file, near)
        near:close()
        return total, reason
      end)
      local parts = {}
      for header in function() return far:read(5) end do
        local kind, length = (">c1I4"):unpack(header)
        assert.equal("B", kind)
        parts[#parts + 1] = far:read(length)
      end
      assert.same({ #LARGE + 5 }, { giving:join() })
      assert.equal(3, #parts)
      assert.equal(LARGE .. "12345", table.concat(parts))
      assert.equal(sum(path .. "/f"), hex(file:digest()))
    end))

    it("take() writes what the stream gives, what was read before first", task(function()
      for _, expected in ipairs { 3, #LARGE } do
        local _ <close>, near, far = streams.pair()
        local _ <close> = core.task.spawn(function()
          near:write("line\n", LARGE, "rest")
          near:close()
        end)
        assert.equal("line", far:read "l")
        local file <close> = assert(folder:write("f", expected))
        local left = #LARGE
        while left > 0 do left = left - assert(file:take(far, left)) end
        assert.equal("rest", far:read "a")
        assert.is_nil(file:take(far, 1))
        assert(file:flush())
        assert.equal(LARGE, helper.read(path .. "/f"))
        assert.equal(sum(path .. "/f"), hex(file:digest()))
      end
    end))

    it("tell whose failure it is", task(function()
      local small = helper.scratch()
      local mount = "LD_PRELOAD= mount -t tmpfs -o size=1m none '%s' 2>/dev/null"
      local mounted = os.execute(mount:format(small))
      if not mounted then return pending "no small file system can be mounted here" end
      local _ <close> = setmetatable({}, { __close = function()
        os.execute(("LD_PRELOAD= umount '%s'"):format(small))
      end })
      local _ <close>, near, far = streams.pair()
      local _ <close> = core.task.spawn(function() while near:write(LARGE) do end end)
      local there <close> = assert(core.folder.open(small))
      local file <close> = assert(there:write("f", 1 << 24))
      local count, _, code, is_files
      repeat count, _, code, is_files = file:take(far, 1 << 20) until not count
      assert.same({ "ENOSPC", true }, { code, is_files })
      near:close()
      far:close()
      write("f", "abc")
      local whole <close> = assert(folder:read("f", 3))
      assert.same({ "EBADF" }, { select(3, whole:give(far, "B")) })
      assert.same({ "EBADF" }, { select(3, whole:take(far, 1)) })
    end))

    it("wait no longer than the stream may", task(function()
      local _ <close>, near, far = streams.pair()
      near:settimeout(0)
      local file <close> = assert(folder:write("f", #LARGE))
      assert.equal("ETIMEDOUT", select(3, file:take(near, 10)))
      write("g", LARGE)
      streams.stuff(near)
      near:settimeout(0)
      local other <close> = assert(folder:read("g", #LARGE))
      local code
      repeat code = select(3, other:give(near, "B")) until type(code) == "string"
      assert.equal("ETIMEDOUT", code)
      far:close()
    end))

    it("can both be closed meanwhile", task(function()
      for _, closes in ipairs { "file", "stream" } do
        local _ <close>, near, far = streams.pair()
        local file <close> = assert(folder:write("f", #LARGE))
        local taking <close> = core.task.spawn(file.take, file, far, 10)
        core.task.sleep(0)
        if closes == "file" then file:close() else far:close() end
        near:write "x"
        assert.equal(closes == "file" and "ECANCELED" or "EBADF", select(3, taking:join()))
      end
    end))

    it("refuse what makes no sense", task(function()
      local _ <close>, near = streams.pair()
      local file <close> = assert(folder:write("f", 1))
      assert.error_matches(function() file:take(near, 0) end, "count of bytes")
      assert.error_matches(function() file:take("stream", 1) end, "stream")
      assert.error_matches(function() file:give(near) end, "string")
      file:close()
      assert.error_matches(function() file:give(near, "B") end, "closed")
    end))
  end)
end)
