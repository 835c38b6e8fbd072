-- The commands send and recv, as two people use them.
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local task, finish, wrong = helper.task, commands.finish, commands.wrong

local LARGE = 300 * 1000 * 1000 -- bytes: long enough to be stopped half-way

describe("p2pd send and recv", function()
  local world = loopback.new(setup, teardown)
  local base

  before_each(function() base = helper.scratch() end)

  local function run(...)
    local line = { ... }
    table.insert(line, 2, "--interface")
    table.insert(line, 3, "lo")
    line.cwd = base
    line.env = { P2PD_SETTINGS = world.path, XDG_DATA_HOME = base .. "/data", P2PD_LOG = "error" }
    return commands.limit(helper.p2pd(line))
  end

  local function listen(child, pattern) return commands.wait_for(child:stderr(), pattern) end

  local function write(name, text) return helper.write(base .. "/" .. name, text) end

  local function make_folder(name)
    assert(assert(core.folder.open(base)):make(name, 448))
    return base .. "/" .. name
  end

  it("move files by a code that the sender shows", task(function()
    write("a", "hello\n")
    make_folder "in"
    local sender <close> = run("send", "a")
    local receiver <close> = run("recv", listen(sender, "p2pd recv (%S+)"):upper(), "--to", "in")
    local status, out, said = finish(receiver)
    assert.equal(0, status, said)
    local line = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  a\n"
    assert.equal(line, out)
    assert.matches("received: 1 file, 6 B", said)
    status, out = finish(sender)
    assert.same({ 0, line }, { status, out })
    assert.equal("hello\n", helper.read(base .. "/in/a"))
  end))

  it("move files by a code that the receiver shows", task(function()
    write("a", "hello\n")
    make_folder "in"
    local receiver <close> = run("recv", "--to", "in")
    local sender <close> = run("send", "a", listen(receiver, "p2pd send FILE%.%.%. (%S+)"))
    assert.equal(0, (finish(sender)))
    assert.equal(0, (finish(receiver)))
    assert.equal("hello\n", helper.read(base .. "/in/a"))
  end))

  it("move files by an address, to whom it is allowed", task(function()
    write("a", "hello\n")
    make_folder "in"
    local mistyped <close> = run("recv", "--allow", "bob")
    assert.equal(1, (finish(mistyped)))
    local key = assert(core.keys.generate())
    make_folder "data"
    assert(core.keys.make_folders(base .. "/data/p2pd/bob.key"))
    assert(key:save(base .. "/data/p2pd/bob.key"))
    local sender <close> = run("send", "--allow", key:id(), "a")
    local receiver <close> = run("recv", "--name", "bob", listen(sender, "p2pd recv (%S+)"), "--to", "in")
    assert.equal(0, (finish(receiver)))
    assert.equal(0, (finish(sender)))
    assert.equal("hello\n", helper.read(base .. "/in/a"))
  end))

  local function size_of_part()
    local kind, size = assert(core.folder.open(base .. "/in")):stat "large.p2pd.part"
    return kind and size or 0
  end

  local function half_way()
    helper.wait_until(function() return size_of_part() > LARGE // 20 end)
  end

  local function make_large()
    os.execute(("LD_PRELOAD= head -c %d /dev/zero >'%s/large'"):format(LARGE, base))
    make_folder "in"
  end

  local function is_whole()
    return os.execute(("LD_PRELOAD= cmp '%s/large' '%s/in/large'"):format(base, base)) == true
  end

  it("go on when the receiver was killed", task(function()
    make_large()
    local sender <close> = run("send", "large")
    local first <close> = run("recv", listen(sender, "p2pd recv (%S+)"), "--to", "in")
    half_way()
    first:kill "KILL"
    first:wait(commands.WAIT)
    local had = size_of_part()
    assert.is_true(had > 0 and had < LARGE)
    local second <close> = run("recv", listen(sender, "p2pd recv (%S+)"), "--to", "in")
    assert.equal(0, (finish(second)))
    assert.equal(0, (finish(sender)))
    assert.is_true(is_whole())
    assert.equal(0, size_of_part())
  end, 60))

  it("go on when the sender was killed", task(function()
    make_large()
    local first <close> = run("send", "large")
    local receiver <close> = run("recv", listen(first, "p2pd recv (%S+)"), "--to", "in", "--retry", "0")
    half_way()
    first:kill "KILL"
    local status, _, said = finish(receiver)
    assert.equal(1, status)
    assert.matches("what has come stays", said)
    local had = size_of_part()
    assert.is_true(had > 0 and had < LARGE)
    local second <close> = run("send", "large")
    local again <close> = run("recv", listen(second, "p2pd recv (%S+)"), "--to", "in")
    assert.equal(0, (finish(again)))
    assert.equal(0, (finish(second)))
    assert.is_true(is_whole())
  end, 60))

  it("end with a wrong code, which both are told", task(function()
    write("a", "hello\n")
    local sender <close> = run("send", "a")
    local receiver <close> = run("recv", wrong(listen(sender, "p2pd recv (%S+)")))
    local status, _, said = finish(receiver)
    assert.equal(1, status)
    assert.matches("the code is wrong", said)
    status, _, said = finish(sender)
    assert.equal(1, status)
    assert.matches("somebody tried a wrong code", said)
  end))

  it("say what is wrong before anybody is asked", task(function()
    write("a", "hello\n")
    for complaint, line in pairs {
      ['is it "amber"%?'] = { "recv", "4-ambre-canoe-violin" },
      ["no/such"] = { "send", "no/such" },
      ["no/folder"] = { "recv", "--to", "no/folder" },
      ["neither an address, a node id nor a contact"] = { "recv", "nonsense" },
      ["a code has 3 words"] = { "send", "a", "4-amber" },
    } do
      local child <close> = run(table.unpack(line))
      local status, _, said = finish(child)
      assert.equal(1, status)
      assert.matches(complaint, said)
    end
  end))

  it("need a broker", task(function()
    write("a", "hello\n")
    local nobody = helper.settings { brokers = { { host = "127.0.0.1", port = helper.free_port() } } }
    local child <close> = run("send", "--settings", nobody, "a")
    local status, _, said = finish(child)
    assert.equal(1, status)
    assert.matches("no broker answers", said)
  end))

  it("tell in their exit status of a file that is not there", task(function()
    write("a", "hello\n")
    write("b", "hello\n")
    make_folder "in"
    write("in/b", "other\n")
    local sender <close> = run("send", "a", "b")
    local receiver <close> = run("recv", listen(sender, "p2pd recv (%S+)"), "--to", "in")
    local status, _, said = finish(receiver)
    assert.equal(1, status)
    assert.matches("b: there is another file of that name", said)
    assert.matches("received: 1 file, 6 B, and 1 not", said)
    assert.equal(1, (finish(sender)))
    assert.equal("other\n", helper.read(base .. "/in/b"))
  end))
end)
