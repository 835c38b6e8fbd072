local helper = require "spec.helper"
local keyring = require "p2pd.keyring"
local lfs = require "lfs"
local task = helper.task

-- What a fresh p2pd with that environment prints.
local function p2pd(env, ...)
  local child <close> = helper.p2pd { env = env, ... }
  child:stdin():close()
  local stdout, stderr = child:stdout():read "a", child:stderr():read "a"
  return stdout, stderr, select(2, child:wait())
end

local function path_in(env, name)
  return (p2pd(env, "-e", ("io.write(tostring((require('p2pd.keyring').path %q)))"):format(name)))
end

describe("p2pd.keyring", function()
  local folder, env

  before_each(function()
    folder = helper.scratch()
    env = { XDG_DATA_HOME = folder, HOME = "/nowhere" }
  end)
  after_each(helper.close_all)

  describe("path()", function()
    it("is in XDG_DATA_HOME", task(function()
      assert.equal(folder .. "/p2pd/alice.key", path_in(env, "alice"))
    end))
    it("is in HOME otherwise", task(function()
      local expected = folder .. "/.local/share/p2pd/alice.key"
      assert.equal(expected, path_in({ XDG_DATA_HOME = "", HOME = folder }, "alice"))
      assert.equal(expected, path_in({ XDG_DATA_HOME = "relative", HOME = folder }, "alice"))
    end))
    it("is nowhere without both", task(function()
      assert.equal("nil", path_in({ XDG_DATA_HOME = "", HOME = "" }, "alice"))
    end))
    it("takes letters, digits, dots, dashes and underscores", function()
      for _, name in ipairs { "a", "Alice-2_b.c", "-", ("x"):rep(64) } do
        assert.matches("/p2pd/" .. name .. ".key", keyring.path(name), 1, true)
      end
    end)
    it("refuses other names", function()
      local bad = { "", ".", "..", ".hidden", "a/b", "../a", "a b", "a\0", "\u{e4}", ("x"):rep(65) }
      for _, name in ipairs(bad) do
        local path, message, code = keyring.path(name)
        assert.is_nil(path)
        assert.matches("^a node's name", message)
        assert.equal("EINVAL", code)
      end
    end)
    it("wants a string", function()
      assert.error_matches(function() keyring.path(1) end, "a name expected")
    end)
  end)

  describe("open()", function()
    it("gives a key for this run without a name", function()
      assert.not_equal(keyring.open():id(), keyring.open(nil):id())
    end)
    it("refuses a bad name", function()
      assert.equal("EINVAL", select(3, keyring.open "a/b"))
    end)
  end)

  describe("lock()", function()
    local LOCK = [[
      local keyring, task = require "p2pd.keyring", require "p2pd.task"
      local key <close> = assert(keyring.open "alice")
      local lock, message, code = keyring.lock "alice"
      print(message or "locked", code)
      if not code then io.read() end
    ]]

    local function lock(code)
      local child = helper.p2pd { env = env, "-e", code or LOCK }
      child:stdout():settimeout(5)
      return child, child:stdout():read "l"
    end

    local function refusal(who)
      return ("a node named alice is running already: key file %s/p2pd/alice.key is locked by %s\tEBUSY")
        :format(folder, who)
    end

    it("is held until its process ends, however it does", task(function()
      for _, signal in ipairs { "KILL", "TERM" } do
        local first <close>, said = lock()
        assert.equal("locked\tnil", said)
        local second <close>, refused = lock() -- luacheck: ignore 211
        assert.equal(refusal("process " .. first:pid()), refused)
        first:kill(signal)
        first:wait()
        local third <close>, granted = lock()
        assert.equal("locked\tnil", granted)
        third:kill "KILL"
        third:wait()
      end
    end))
    it("is held until it is closed, also within a process", task(function()
      local child <close>, said = lock [[
        local keyring = require "p2pd.keyring"
        keyring.open "alice"
        local first = assert(keyring.lock "alice")
        local again = { keyring.lock "alice" }
        first:close()
        first:close()
        print(again[2]:match "is locked by .*", keyring.lock "alice" ~= nil)
      ]]
      assert(child)
      assert.equal("is locked by this process\ttrue", said)
    end))
    it("is not passed on to programs that are started", task(function()
      local child <close>, said = lock [[
        local keyring, core = require "p2pd.keyring", require "p2pd.core"
        keyring.open "alice"
        local lock = assert(keyring.lock "alice")
        local program = assert(core.process.spawn { "sleep", "60" })
        lock:close()
        print(keyring.lock "alice" ~= nil)
        program:kill "KILL"
      ]]
      assert(child)
      assert.equal("true", said)
    end))
    it("needs a key", task(function()
      local child <close>, said = lock 'print(select(3, require("p2pd.keyring").lock "nobody"))'
      assert(child)
      assert.equal("ENOENT", said)
      assert.equal("EINVAL", select(3, keyring.lock "a/b"))
    end))
  end)

  describe("p2pd id", function()
    it("makes a key on first use and finds it again", task(function()
      local id, said, status = p2pd(env, "id", "--name", "alice")
      assert.equal("", said)
      assert.equal(0, status)
      assert.matches("^%w+\n$", id)
      assert.equal(id, (p2pd(env, "id", "--name", "alice")))
      assert.not_equal(id, (p2pd(env, "id", "--name", "bob")))
    end))
    it("keeps files and folders to the owner", task(function()
      env.XDG_DATA_HOME = folder .. "/new/data"
      p2pd(env, "id", "--name", "alice")
      assert.equal("rwx------", lfs.attributes(folder .. "/new", "permissions"))
      assert.equal("rwx------", lfs.attributes(folder .. "/new/data/p2pd", "permissions"))
      assert.equal("rw-------", lfs.attributes(folder .. "/new/data/p2pd/alice.key", "permissions"))
    end))
    it("keeps nothing without a name", task(function()
      assert.not_equal(p2pd(env, "id"), p2pd(env, "id"))
      assert.is_nil(lfs.attributes(folder .. "/p2pd"))
    end))
    it("agrees with itself when started many times at once", task(function()
      local children, ids = {}, {}
      for i = 1, 8 do children[i] = helper.p2pd { env = env, "id", "--name", "alice" } end
      for i = 1, #children do
        local child <close> = children[i]
        ids[child:stdout():read "a"] = true
        assert.equal(0, (select(2, child:wait())))
      end
      local id = next(ids)
      assert.is_nil(next(ids, id))
      assert.matches(id:sub(1, -2), helper.read(folder .. "/p2pd/alice.key"), 1, true)
    end))
    it("says what is wrong with a key file", task(function()
      p2pd(env, "id", "--name", "alice")
      os.execute(("LD_PRELOAD= chmod 644 '%s/p2pd/alice.key'"):format(folder))
      local id, said, status = p2pd(env, "id", "--name", "alice")
      assert.equal("", id)
      assert.equal(1, status)
      assert.equal(("p2pd: key file %s/p2pd/alice.key: "):format(folder)
        .. "others can use it: its mode must be 0600\n", said)
    end))
    it("says what is wrong with the folder", task(function()
      assert(lfs.mkdir(folder .. "/p2pd"))
      os.execute(("LD_PRELOAD= chmod 1777 '%s/p2pd'"):format(folder))
      local id, said, status = p2pd(env, "id", "--name", "alice")
      assert.equal("", id)
      assert.equal(1, status)
      local expected = ("p2pd: key file %s/p2pd/alice.key: others can write to its folder\n"):format(folder)
      assert.equal(expected, said)
    end))
    it("says that there is no place", task(function()
      local _, said, status = p2pd({ XDG_DATA_HOME = "", HOME = "" }, "id", "--name", "alice")
      assert.equal(1, status)
      assert.matches("neither XDG_DATA_HOME nor HOME is set", said)
    end))
    it("refuses a bad name", task(function()
      local _, said, status = p2pd(env, "id", "--name", "a/../alice")
      assert.equal(1, status)
      assert.matches("^p2pd: a node's name may only have letters", said)
    end))
  end)
end)
