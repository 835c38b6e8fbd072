local core = require "p2pd.core"
local format = require "p2pd.transfer.format"
local helper = require "spec.helper"
local p2pd = require "p2pd"
local pipe = require "p2pd.pipe"
local streams = require "spec.streams"
local transfer = require "p2pd.transfer"
local walk = require "p2pd.transfer.walk"
local wire = require "p2pd.transfer.wire"
local task = helper.task

local PART = ".p2pd.part"

local function sh(command, ...)
  local line = { "sh", "-c", "unset LD_PRELOAD; " .. command, "sh", ... }
  p2pd.run(function()
    local child <close> = assert(core.process.spawn(line))
    assert.same({ "exit", 0 }, { child:wait(20) })
  end)
end

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

describe("p2pd.transfer", function()
  local base, from, to

  before_each(function()
    base = helper.scratch()
    from, to = base .. "/from", base .. "/to"
    sh('mkdir "$1" "$2"', from, to)
  end)
  teardown(helper.close_all)

  local function pipes()
    local held, near, far = streams.pair()
    return held, pipe.new(near, { strategy = "direct" }), pipe.new(far, { strategy = "direct" })
  end

  -- A pipe that knows how many bytes have been read from it.
  local function counting(real)
    local came, count = p2pd.condition(), 0
    local self = setmetatable({}, { __index = function(_, name)
      return function(_, ...) return real[name](real, ...) end
    end })
    function self.recv(_, ...)
      local data, reason, code = real:recv(...)
      count = count + #(data or "")
      came:broadcast()
      return data, reason, code
    end
    function self.wait_bytes(_, wanted)
      while count < wanted do assert(came:wait(10)) end
    end
    return self
  end

  -- Both sides at once; what each says of the files, by path.
  local function move(paths, given)
    given = given or {}
    local _ <close>, near, far = pipes()
    local sent, received = {}, {}
    local function note(list, cut)
      return function(event)
        list[event.path or event.type] = event
        if cut then cut(event, near, far) end
      end
    end
    local bytes = 0
    local left = 0
    local sending <close> = p2pd.spawn(transfer.send, near, paths, { on_event = note(sent),
      on_bytes = function(count)
        left = left + count
        if given.leave_at and left >= given.leave_at then near.stream:abort() end
      end })
    local result = table.pack(transfer.receive(far, given.to or to, {
      overwrite = given.overwrite, on_event = note(received, given.cut),
      on_bytes = function(count)
        bytes = bytes + count
        if given.break_at and bytes >= given.break_at then far.stream:abort() end
      end }))
    if not result[1] then far:close() end
    local other = table.pack(sending:join())
    return { receive = result, send = other, received = received, sent = sent, bytes = bytes }
  end

  it("moves a tree as it is", task(function()
    sh([[cd "$1" && mkdir -p t/sub/empty && echo a >t/a && : >t/zero && ln -s a t/l && ln -s ../a t/sub/up &&
      head -c 1000000 /dev/urandom >t/sub/big && chmod 755 t/a && chmod 700 t/sub &&
      touch -d '2001-02-03 04:05:06.7' t/a t/sub t]], from)
    local done = move { from .. "/t" }
    assert.same({ files = 3, bytes = 1000002, failed = 0 }, done.send[1])
    assert.same(done.send[1], done.receive[1])
    sh([[diff -r --no-dereference "$1/t" "$2/t" && cd "$1" &&
      find t -printf '%p %m %T@ %l\n' | sort >"$1/list" &&
      cd "$2" && find t -printf '%p %m %T@ %l\n' | sort | grep -v ' l\?777 ' >"$2/list" &&
      grep -v ' l\?777 ' "$1/list" | cmp - "$2/list"]], from, to)
    assert.equal(done.sent["t/sub/big"].digest, done.received["t/sub/big"].digest)
    sh([[echo "$2  $1/t/sub/big" | sha256sum -c --quiet]], to, hex(done.sent["t/sub/big"].digest))
  end))

  it("follows a link that is named, and names dots as what they are", task(function()
    sh([[cd "$1" && mkdir d && echo x >d/x && ln -s d link]], from)
    move { from .. "/link/" }
    assert.equal("x\n", helper.read(to .. "/link/x"))
    move { from .. "/d/." }
    assert.equal("x\n", helper.read(to .. "/d/x"))
  end))

  it("moves what is in a folder, without the folder", task(function()
    sh([[mkdir -p "$1/x/sub/deep" "$1/empty" && echo a >"$1/x/a" && echo b >"$1/x/sub/deep/b"]], from)
    assert.equal(2, move({ { inside = from .. "/x" } }).receive[1].files)
    assert.same({ "a\n", "b\n" }, { helper.read(to .. "/a"), helper.read(to .. "/sub/deep/b") })
    assert.equal(0, move({ { inside = from .. "/empty" } }).receive[1].files)
    assert.same({ nil, 'two of them are called "a"', "EINVAL" },
      { transfer.count { from .. "/x/a", { inside = from .. "/x" } } })
    assert.equal("ENOENT", select(3, transfer.count { { inside = from .. "/no" } }))
  end))

  it("goes on where it ended when the receiver has died", task(function()
    sh([[head -c 8000000 /dev/urandom >"$1/f"]], from)
    local first = move({ from .. "/f" }, { break_at = 4000000 })
    assert.is_nil(first.receive[1])
    assert.is_nil(first.send[1])
    local kind, have = assert(core.folder.open(to)):stat("f" .. PART)
    assert.equal("file", kind)
    assert.is_true(have > 0 and have < 8000000)
    local again = move { from .. "/f" }
    assert.equal("resumed", again.received.f.how)
    assert.equal("resumed", again.sent.f.how)
    sh([[cmp "$1/f" "$2/f" && ! ls "$2" | grep part]], from, to)
  end))

  it("goes on where it ended when the sender has died", task(function()
    sh([[head -c 8000000 /dev/urandom >"$1/f"]], from)
    local first = move({ from .. "/f" }, { leave_at = 4000000 })
    assert.is_nil(first.receive[1])
    assert.equal("the other side has gone", first.receive[2])
    assert.is_nil(first.send[1])
    assert.equal("resumed", move({ from .. "/f" }).received.f.how)
    sh([[cmp "$1/f" "$2/f" && ! ls "$2" | grep part]], from, to)
  end))

  it("begins anew when the file is another one by now", task(function()
    sh([[head -c 3000000 /dev/urandom >"$1/f"; head -c 1000000 /dev/zero >"$2/f.p2pd.part"]], from, to)
    local done = move { from .. "/f" }
    assert.equal(0, done.receive[1].failed)
    sh([[cmp "$1/f" "$2/f" && ! ls "$2" | grep part]], from, to)
  end))

  it("does not take an unfinished file of more bytes for one", task(function()
    sh([[echo abc >"$1/f"; head -c 1000000 /dev/zero >"$2/f.p2pd.part"]], from, to)
    assert.equal(0, move({ from .. "/f" }).receive[1].failed)
    sh([[cmp "$1/f" "$2/f" && ! ls "$2" | grep part]], from, to)
  end))

  it("sends nothing that is there already, and overwrites nothing", task(function()
    sh([[cd "$1" && mkdir t && echo same >t/same && echo one >t/other && echo longer >t/size && mkdir t/dir
      echo file >t/folder; mkdir -p "$2/t/folder" && cd "$2/t" && echo same >same && echo two >other &&
      echo x >size && echo y >dir]], from, to)
    local done = move { from .. "/t" }
    assert.same({ files = 1, bytes = 5, failed = 4 }, done.receive[1])
    assert.same(done.receive[1], done.send[1])
    assert.equal("same", done.received["t/same"].how)
    for _, path in ipairs { "t/other", "t/size" } do
      assert.equal("there is another file of that name", done.received[path].reason)
      assert.equal("there is another file of that name", done.sent[path].reason)
    end
    assert.equal("there is a folder of that name", done.received["t/folder"].reason)
    assert.matches("exists", done.received["t/dir"].reason)
    sh([[test "$(cat "$1/t/other" "$1/t/size" "$1/t/dir")" = "two
x
y"]], to)
  end))

  it("overwrites when it is told to", task(function()
    sh([[echo one >"$1/other"; echo longer >"$1/size"
      ln -s nowhere "$2/size"; echo two >"$2/other"]], from, to)
    local done = move({ from .. "/other", from .. "/size" }, { overwrite = true })
    assert.equal(0, done.receive[1].failed)
    sh([[cmp "$1/other" "$2/other" && cmp "$1/size" "$2/size" && test ! -L "$2/size"]], from, to)
  end))

  it("tells of what can't be sent, on both sides, and sends the rest", task(function()
    sh([[cd "$1" && mkdir t && echo a >t/a && ln -s /etc/passwd t/abs &&
      ln -s ../../x t/up && mkfifo t/fifo]], from)
    local done = move { from .. "/t" }
    assert.same({ files = 1, bytes = 2, failed = 3 }, done.send[1])
    assert.equal(3, done.receive[1].failed)
    assert.matches("leads out", done.sent["t/abs"].reason)
    assert.matches("neither", done.sent["t/fifo"].reason)
  end))

  it("tells of files that vanish or become shorter meanwhile", task(function()
    sh([[cd "$1" && mkdir t && echo a >t/a && echo b >t/b && echo c >t/c]], from)
    local root = from .. "/t/"
    local open = walk.new
    local _ <close> = setmetatable({}, { __close = function() walk.new = open end })
    function walk.new(...)
      local made = open(...)
      local seen = made.next
      function made:next()
        local entry = seen(self)
        if entry and entry.path == "t/b" then os.remove(root .. "b") end
        if entry and entry.path == "t/c" then helper.write(root .. "c", "") end
        return entry
      end
      return made
    end
    local done = move { from .. "/t" }
    assert.same({ files = 1, bytes = 2, failed = 2 }, done.receive[1])
    assert.matches("No such file", done.received["t/b"].reason)
    assert.matches("No such file", done.sent["t/b"].reason)
    assert.matches("shorter", done.received["t/c"].reason)
  end))

  it("moves many small files, more than are told of at a time", task(function()
    sh([[mkdir "$1/m" && cd "$1/m" && for d in 1 2 3; do
      mkdir $d; seq 350 | split -l 1 -a 3 - $d/; done]], from)
    local done = move { from .. "/m" }
    assert.equal(1050, done.send[1].files)
    sh([[diff -r "$1/m" "$2/m"]], from, to)
    local again = move { from .. "/m" }
    assert.equal(1050, again.receive[1].files)
    assert.equal("same", again.received["m/1/aaa"].how)
  end, 60))

  it("gives signs of life between its frames, and never within one", task(function()
    local usual <close> = setmetatable({ seconds = wire.ALIVE_S }, { __close = function(self)
      wire.ALIVE_S = self.seconds
    end })
    wire.ALIVE_S = usual.seconds / 1e6
    sh([[mkdir "$1/t" && cd "$1/t" && for n in 100 65536 65541 262144 300000 5000000; do
      head -c $n /dev/urandom >$n; done]], from)
    assert.equal(6, move({ from .. "/t" }).receive[1].files)
    sh([[diff -r "$1/t" "$2/t"]], from, to)
  end))

  it("says when the disk is full, and stops", task(function()
    local small = helper.scratch()
    local mounted = os.execute(("LD_PRELOAD= mount -t tmpfs -o size=1m none '%s' 2>/dev/null"):format(small))
    if not mounted then return pending "no small file system can be mounted here" end
    local _ <close> = setmetatable({}, { __close = function()
      os.execute(("LD_PRELOAD= umount '%s'"):format(small))
    end })
    sh([[cd "$1" && mkdir t && for i in 1 2 3 4; do head -c 600000 /dev/urandom >t/$i; done
      head -c 3000000 /dev/zero >large]], from)
    local done = move({ from .. "/large" }, { to = small })
    assert.matches("no room: %d+ bytes are free, and it has 3000000", done.received.large.reason)
    assert.equal(1, done.send[1].failed)
    done = move({ from .. "/t" }, { to = small })
    assert.is_nil(done.receive[1])
    assert.equal("ENOSPC", done.receive[3])
    assert.is_nil(done.send[1])
    assert.matches("No space left", done.send[2])
  end))

  it("needs a sender and a receiver", task(function()
    local _ <close>, near, far = pipes()
    sh([[echo a >"$1/a"]], from)
    local other <close> = p2pd.spawn(transfer.send, far, { from .. "/a" })
    local done, reason, code = transfer.send(near, { from .. "/a" })
    assert.is_nil(done)
    assert.matches("the other side sends, too", reason)
    assert.equal("EPROTO", code)
    assert.equal("EPROTO", select(3, other:join()))
  end))

  it("sends by another name, once it is wanted", task(function()
    local _ <close>, near, far = pipes()
    sh([[echo a >"$1/a"]], from)
    local sending <close> = p2pd.spawn(transfer.send, near, { { path = from .. "/a", name = "b" } },
      { total = { files = 1, bytes = 2 } })
    local asked
    local done = assert(transfer.receive(far, to, { admit = function(total)
      asked = total
      return true
    end }))
    assert.same({ files = 1, bytes = 2, name = "b" }, asked)
    assert.equal(1, done.files)
    assert.equal(1, sending:join().files)
    sh([[test "$(ls "$1")" = b]], to)
  end))

  it("sends nothing that is not wanted, and says why", task(function()
    local _ <close>, near, far = pipes()
    sh([[mkdir "$1/t" && echo a >"$1/t/a" && ln -s a "$1/t/l"]], from)
    local reasons = {}
    local sending <close> = p2pd.spawn(transfer.send, near, { from .. "/t" }, {
      on_event = function(event) reasons[event.path] = event.reason end })
    local done = assert(transfer.receive(far, to, { admit = function() return nil, "not today" end }))
    assert.same({ files = 0, bytes = 0, failed = 3 }, done)
    assert.equal(3, sending:join().failed)
    assert.same({ t = "not today", ["t/a"] = "not today", ["t/l"] = "not today" }, reasons)
    sh([[test -z "$(ls -A "$1")"]], to)
  end))

  it("asks nobody any more when the sender has gone", task(function()
    local _ <close>, near, far = pipes()
    sh([[echo a >"$1/a"]], from)
    local asked, is_over = p2pd.condition(), false
    local receiving <close> = p2pd.spawn(transfer.receive, far, to, { admit = function()
      local _ <close> = setmetatable({}, { __close = function() is_over = true end })
      asked:broadcast()
      p2pd.condition():wait()
    end })
    local sending <close> = p2pd.spawn(transfer.send, near, { from .. "/a" })
    asked:wait()
    sending:cancel()
    near:close()
    assert.is_nil((receiving:join()))
    assert.is_true(is_over)
  end))

  it("keeps what the sender tells of while it asks", task(function()
    local _ <close>, near, far = pipes()
    sh([[mkdir "$1/t" && cd "$1/t" && for i in $(seq 1500); do echo $i >file-with-a-long-name-$i; done]],
      from)
    far = counting(far)
    local sending <close> = p2pd.spawn(transfer.send, near, { from .. "/t" })
    local done = assert(transfer.receive(far, to, { admit = function(total)
      assert.equal("t", total.name)
      far:wait_bytes(10000)
      return true
    end }))
    assert.equal(1500, done.files)
    assert.equal(1500, sending:join().files)
    sh([[diff -r "$1/t" "$2/t"]], from, to)
  end))

  it("stops when nothing more is wanted, which the sender is told", task(function()
    local _ <close>, near, far = pipes()
    sh([[head -c 20000000 /dev/urandom >"$1/f"]], from)
    local came, is_over = p2pd.condition(), false
    local sending <close> = p2pd.spawn(transfer.send, near, { from .. "/f" })
    assert.same({ nil, "enough", "ECANCELED" }, { transfer.receive(far, to, {
      on_bytes = function() came:broadcast() end,
      stop = function()
        local _ <close> = setmetatable({}, { __close = function() is_over = true end })
        came:wait()
        return "enough"
      end }) })
    assert.same({ nil, "the other side has stopped: enough", "ECANCELED" }, { sending:join(10) })
    assert.is_true(is_over)
    sh([[ls -A "$1" | grep -qx f.p2pd.part]], to)
  end))

  it("stops asking when all has come", task(function()
    local _ <close>, near, far = pipes()
    sh([[echo a >"$1/a"]], from)
    local is_over = false
    local sending <close> = p2pd.spawn(transfer.send, near, { from .. "/a" })
    local done = assert(transfer.receive(far, to, { stop = function()
      local _ <close> = setmetatable({}, { __close = function() is_over = true end })
      p2pd.condition():wait()
    end }))
    assert.same({ 1, true }, { done.files, is_over })
    assert.equal(1, sending:join(10).files)
  end))

  it("says what is wrong with paths and options", task(function()
    local _ <close>, near, far = pipes()
    assert.equal("ENOENT", select(3, transfer.send(near, { from .. "/no" })))
    assert.equal("ENOENT", select(3, transfer.receive(far, to .. "/no")))
    sh([[mkdir "$1/x" "$1/y" && echo a >"$1/x/a" && echo a >"$1/y/a"]], from)
    assert.matches('two of them are called "a"', select(2, transfer.count { from .. "/x/a", from .. "/y/a" }))
    assert.equal("EINVAL", select(3, transfer.count { "/" }))
    assert.same({ files = 2, bytes = 4 }, transfer.count { from .. "/x", from .. "/y" })
    assert.error_matches(function() transfer.send(near, {}, { overwrite = true }) end, "no option is called")
  end))

  describe("receiving from somebody who does not keep to it", function()
    -- What he says, frame by frame; the receiver's end.
    local function attack(frames)
      local _ <close>, near, far = pipes()
      local receiving <close> = p2pd.spawn(transfer.receive, far, to)
      near:write((">Bs4"):pack(72, format.hello(format.SENDER, { files = 0, bytes = 0 })))
      for _, frame in ipairs(frames) do near:write((">Bs4"):pack(frame[1]:byte(), frame[2])) end
      near:shutdown()
      return receiving:join(10)
    end
    local function file(path, size)
      return { "F", format.pack("F", { entry = 1, size = size or 1, mtime = 0, mode = 511, path = path }) }
    end
    local function link(path, target)
      return { "L", format.pack("L", { entry = 1, mtime = 0, path = path, target = target }) }
    end
    local ALL = { "Q", "" }
    local B = { "B", "x" }
    local E = { "E", format.pack("E", { entry = 1, digest = ("x"):rep(32) }) }

    it("lets nothing out of the folder", task(function()
      for _, path in ipairs { "../out", "/tmp/p2pd-out", "a/../../out", "" } do
        assert.equal(1, attack({ file(path), ALL }).failed)
      end
      for _, target in ipairs { "/etc", "..", "../..", "a/../.." } do
        assert.equal(1, attack({ link("t/l", target), ALL }).failed)
      end
      sh([[cd "$1/.." && test "$(ls)" = "from
to" && test -z "$(ls to)"]], to)
    end))

    it("follows no link that is there", task(function()
      sh([[ln -s "$2" "$1/l" && ln -s "$2/victim" "$1/f" && ln -s "$2/victim" "$1/g.p2pd.part"]], to, from)
      assert.equal(1, attack({ file "l/a", ALL }).failed)
      attack { file "f", B, E, ALL }
      attack { file "g", B, E, ALL }
      sh([[test -z "$(ls "$1")"]], from)
    end))

    it("keeps no file whose checksum is wrong", task(function()
      local done = attack { file "a", B, E, ALL }
      assert.same({ files = 0, bytes = 0, failed = 1 }, done)
      sh([[test -z "$(ls -A "$1")"]], to)
    end))

    it("gives nobody more rights than a file has", task(function()
      local digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
      local bytes = digest:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)
      local done = attack { { "F", format.pack("F", { entry = 1, size = 1, mtime = 0, mode = 4095,
        path = "s" }) }, B,
        { "E", format.pack("E", { entry = 1, digest = bytes }) }, ALL }
      assert.equal(1, done.files)
      local _, _, _, mode = assert(core.folder.open(to)):stat "s"
      assert.equal(0, mode & tonumber("7022", 8))
    end))

    it("changes nothing there before it is wanted", task(function()
      sh([[mkdir "$1/t" && touch -d 2020-01-01 "$1/t"]], to)
      local _ <close>, near, far = pipes()
      local receiving <close> = p2pd.spawn(transfer.receive, far, to, { admit = function() end })
      near:write((">Bs4"):pack(("H"):byte(), format.hello(format.SENDER)),
        (">Bs4"):pack(("T"):byte(), format.pack("T", { mtime = 0, mode = 0, path = "t" })),
        (">Bs4"):pack(("Q"):byte(), ""))
      near:shutdown()
      receiving:join(10)
      sh([[test "$(date -r "$1/t" +%Y)" = 2020]], to)
    end))

    it("lets nobody send bytes before they are wanted", task(function()
      local _ <close>, near, far = pipes()
      local said = (">Bs4"):pack(72, format.hello(format.SENDER, { files = 1, bytes = 1 }))
      for _, frame in ipairs { file "a", B, E, ALL } do
        said = said .. (">Bs4"):pack(frame[1]:byte(), frame[2])
      end
      far = counting(far)
      local receiving <close> = p2pd.spawn(transfer.receive, far, to, { admit = function()
        far:wait_bytes(#said)
        return true
      end })
      near:write(said)
      while near:recv() do end -- luacheck: ignore
      near:shutdown()
      assert.same({ nil, "not what p2pd sends", "EPROTO" }, { receiving:join(10) })
    end))

    it("ends with what is not the protocol", task(function()
      for _, frames in ipairs { { B }, { E }, { file "a", B, B }, { { "?", "" } }, { { "F", "x" } },
        { { "B", ("x"):rep(2000000) } }, { { "F", ("x"):rep(200000) } }, { { "W", ("\0"):rep(48) } },
        { file "a", { "Y", format.pack("Y", { entry = 9 }) } } } do
        local done, reason, code = attack(frames)
        assert.is_nil(done)
        assert.equal("not what p2pd sends", reason)
        assert.equal("EPROTO", code)
      end
      assert.is_nil(attack {}) -- it ends too early
    end))
  end)
end)
