local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local vectors = require "spec.vectors.keys"
local keys = core.keys

local first, second = vectors[1], vectors[2]
local OTHER_USER = 65534 -- nobody

local function bytes(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function key_of(vector)
  return assert(keys.from_seed(bytes(vector.seed)))
end

local function line_of(vector)
  return ("p2pd-key-1 %s %s\n"):format(vector.seed, vector.id)
end

local function shell(format, ...)
  assert(os.execute("LD_PRELOAD= " .. format:format(...)))
end

local function mode(path)
  return lfs.symlinkattributes(path, "permissions")
end

local function names(folder)
  local list = {}
  for name in lfs.dir(folder) do
    if name ~= "." and name ~= ".." then list[#list + 1] = name end
  end
  return list
end

describe("core.keys", function()
  local folder, path

  before_each(function()
    folder = helper.scratch()
    path = folder .. "/alice.key"
  end)
  after_each(helper.close_all)

  local function write(text)
    helper.write(path, text)
    shell("chmod 600 '%s'", path)
  end

  local function refused(code, pattern)
    local key, message, got = keys.load(path)
    assert.is_nil(key)
    assert.equal(code, got)
    assert.matches(path, message, 1, true)
    assert.matches(pattern, message)
  end

  describe("from_seed()", function()
    it("gives the public keys of RFC 8032", function()
      for _, vector in ipairs(vectors) do
        assert.equal(bytes(vector.public), key_of(vector):public())
      end
    end)
    it("refuses a seed of another length", function()
      assert.error_matches(function() keys.from_seed(("x"):rep(31)) end, "32 bytes")
      assert.error_matches(function() keys.from_seed(("x"):rep(33)) end, "32 bytes")
    end)
  end)

  describe("mac()", function()
    local function hex(text) return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end
    it("gives what RFC 4231 has", function()
      assert.equal("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        hex(keys.mac(("\x0b"):rep(20), "Hi There")))
      assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        hex(keys.mac("Jefe", "what do ya want for nothing?")))
      assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        hex(keys.mac(("\xaa"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First")))
    end)
    it("takes what is empty, and strings alone", function()
      assert.equal(32, #keys.mac("", ""))
      assert.has_error(function() keys.mac("key") end)
      assert.has_error(function() keys.mac(("x"):rep(1025), "") end)
    end)
  end)

  describe("generate()", function()
    it("makes another key each time", function()
      local one, other = keys.generate(), keys.generate()
      assert.not_equal(one:id(), other:id())
      assert.equal(32, #one:public())
      assert.is_true(keys.is_id(one:id()))
    end)
  end)

  describe("id()", function()
    it("is base58 of the public key", function()
      for _, vector in ipairs(vectors) do
        assert.equal(vector.id, key_of(vector):id())
      end
    end)
  end)

  describe("is_id()", function()
    it("takes the ids of keys", function()
      for _, vector in ipairs(vectors) do
        assert.is_true(keys.is_id(vector.id))
        assert.is_true(keys.is_id(vector.negative_id))
      end
      assert.is_true(keys.is_id(vectors.leading_zeros))
    end)
    it("refuses other values", function()
      for _, value in ipairs { 1, true, {}, "", "alice", "0", ("1"):rep(1000), first.id .. "\0" } do
        assert.is_false(keys.is_id(value))
      end
      assert.is_false(keys.is_id())
    end)
    it("refuses characters out of the alphabet", function()
      for char in ("0OIl+/ \n\x80\0"):gmatch "." do
        assert.is_false(keys.is_id(first.id:sub(1, 20) .. char .. first.id:sub(22)))
      end
    end)
    it("refuses every other length", function()
      for length = 0, #first.id - 1 do
        assert.is_false(keys.is_id(first.id:sub(1, length)))
      end
      assert.is_false(keys.is_id(first.id .. "1"))
    end)
    it("refuses other spellings", function()
      assert.is_false(keys.is_id("1" .. second.id))
      assert.is_false(keys.is_id("1" .. vectors.leading_zeros))
      assert.is_false(keys.is_id(vectors.leading_zeros:sub(2)))
      assert.is_false(keys.is_id(("z"):rep(44)))
    end)
    it("refuses points of small order", function()
      for _, id in ipairs(vectors.small_order) do assert.is_false(keys.is_id(id)) end
    end)
    it("refuses coordinates that are not reduced", function()
      for _, id in ipairs(vectors.not_reduced) do assert.is_false(keys.is_id(id)) end
    end)
    it("refuses what is no point: half of all numbers", function()
      local points = 0
      local alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
      for a in alphabet:gmatch "." do
        for b in alphabet:gmatch "." do
          if keys.is_id(first.id:sub(1, -3) .. a .. b) then points = points + 1 end
        end
      end
      assert.is_true(points > 1000 and points < 1400, points)
    end)
  end)

  describe("save() and load()", function()
    it("keep a key", function()
      local key = key_of(first)
      assert.is_true(key:save(path))
      assert.equal(line_of(first), helper.read(path))
      assert.equal(key:public(), assert(keys.load(path)):public())
    end)
    it("leave one file that is the owner's alone", function()
      assert(key_of(first):save(path))
      assert.equal("rw-------", mode(path))
      assert.same({ "alice.key" }, names(folder))
    end)
    it("save() overwrites nothing", function()
      assert(key_of(first):save(path))
      local ok, message, code = key_of(second):save(path)
      assert.is_nil(ok)
      assert.equal("EEXIST", code)
      assert.matches(path, message, 1, true)
      assert.equal(line_of(first), helper.read(path))
      assert.same({ "alice.key" }, names(folder))
    end)
    it("save() does not write through a symbolic link", function()
      shell("ln -s '%s/elsewhere' '%s'", folder, path)
      assert.equal("EEXIST", select(3, key_of(first):save(path)))
      assert.same({ "alice.key" }, names(folder))
    end)
    it("save() needs the folder", function()
      assert.equal("ENOENT", select(3, key_of(first):save(folder .. "/none/alice.key")))
    end)
    it("save() refuses a path that names no file", function()
      assert.equal("EINVAL", select(3, key_of(first):save(folder .. "/")))
      assert.error_matches(function() key_of(first):save "a\0b" end, "path expected")
    end)
    it("load() tells a missing file", function() refused("ENOENT", "No such file") end)
    it("load() refuses a file that others can use", function()
      for _, bad in ipairs { "640", "620", "610", "604", "602", "601", "666" } do
        write(line_of(first))
        shell("chmod %s '%s'", bad, path)
        refused("EACCES", "mode must be 0600")
      end
    end)
    it("load() refuses a symbolic link", function()
      assert(key_of(first):save(folder .. "/target"))
      shell("ln -s target '%s'", path)
      refused("ELOOP", "symbolic link")
    end)
    it("load() refuses a folder", function()
      assert(lfs.mkdir(path))
      refused("EINVAL", "not a regular file")
    end)
    it("load() refuses a FIFO without waiting for it", function()
      shell("mkfifo -m 600 '%s'", path)
      refused("EINVAL", "not a regular file")
    end)
    it("load() refuses somebody else's file", function()
      write(line_of(first))
      if not os.execute(("LD_PRELOAD= chown %d '%s' 2>/dev/null"):format(OTHER_USER, path)) then
        pending "only root can give a file away"
      end
      refused("EPERM", "another user")
    end)
    for _, wide in ipairs { "770", "720", "702", "777", "1777", "2775" } do
      it("refuse a folder that others can write to: mode " .. wide, function()
        assert(key_of(first):save(path))
        shell("chmod %s '%s'", wide, folder)
        refused("EACCES", "key file .*: others can write to its folder")
        local ok, message, code = key_of(first):save(folder .. "/bob.key")
        assert.is_nil(ok)
        assert.matches("key file .*bob.key: others can write to its folder", message)
        assert.equal("EACCES", code)
        shell("chmod 755 '%s'", folder)
        assert(keys.load(path))
        assert.same({ "alice.key" }, names(folder))
      end)
    end
    it("refuse a folder of somebody else's", function()
      assert(key_of(first):save(path))
      if not os.execute(("LD_PRELOAD= chown %d '%s' 2>/dev/null"):format(OTHER_USER, folder)) then
        pending "only root can give a folder away"
      end
      refused("EPERM", "its folder belongs to another user")
      assert.equal("EPERM", select(3, key_of(first):save(folder .. "/bob.key")))
    end)
    it("need no right to list the folder", function()
      assert(key_of(first):save(path))
      shell("chmod 100 '%s'", folder)
      assert(keys.load(path))
      shell("chmod 700 '%s'", folder)
    end)
    it("load() refuses every truncation", function()
      for length = 0, #line_of(first) - 1 do
        write(line_of(first):sub(1, length))
        refused("EINVAL", "damaged")
      end
    end)
    it("load() refuses more than one line", function()
      for _, more in ipairs { "\n", " ", line_of(first), ("x"):rep(100000) } do
        write(line_of(first) .. more)
        refused("EINVAL", "damaged")
      end
    end)
    it("load() refuses a change of any byte", function()
      local line = line_of(first)
      for at = 1, #line do
        local changed = string.char(line:byte(at) ~ 1)
        write(line:sub(1, at - 1) .. changed .. line:sub(at + 1))
        refused("EINVAL", "damaged")
      end
    end)
  end)

  describe("make_folders()", function()
    it("makes what is missing, for the owner alone", function()
      assert.is_true(keys.make_folders(folder .. "/a/b/alice.key"))
      assert.equal("rwx------", mode(folder .. "/a"))
      assert.equal("rwx------", mode(folder .. "/a/b"))
      assert.same({}, names(folder .. "/a/b"))
    end)
    it("leaves folders as they are", function()
      shell("chmod 755 '%s'", folder)
      assert.is_true(keys.make_folders(path))
      assert.equal("rwxr-xr-x", mode(folder))
    end)
    it("refuses a file in the way", function()
      helper.write(folder .. "/file", "")
      assert.equal("ENOTDIR", select(3, keys.make_folders(folder .. "/file/alice.key")))
      assert.equal("ENOTDIR", select(3, keys.make_folders(folder .. "/file/a/alice.key")))
    end)
  end)

  describe("seal_hidden() and open_hidden()", function()
    local alice, bob = key_of(first), key_of(second)
    local sealed = alice:seal_hidden(bob:id(), "info", "aad", "hello")

    it("bring bytes of any length, and who has sealed them", function()
      for _, text in ipairs { "", "x", ("\0\xff"):rep(5000) } do
        local out, from = bob:open_hidden("info", "aad", alice:seal_hidden(bob:id(), "info", "aad", text))
        assert.is_true(out == text)
        assert.equal(alice:id(), from)
      end
    end)
    it("add 96 bytes, in which nobody is named", function()
      assert.equal(5 + 96, #sealed)
      assert.is_nil(sealed:find(alice:public(), 1, true))
    end)
    it("refuse another info, aad, receiver, and any bit that differs", function()
      local function check(key, ...)
        assert.same({ nil, "not sealed by that node for this one, or altered", "EBADMSG", n = 3 },
          table.pack(key:open_hidden(...)))
      end
      check(bob, "other", "aad", sealed)
      check(bob, "info", "other", sealed)
      check(alice, "info", "aad", sealed)
      for at = 1, #sealed do
        local changed = string.char(sealed:byte(at) ~ (1 << at % 8))
        check(bob, "info", "aad", sealed:sub(1, at - 1) .. changed .. sealed:sub(at + 1))
        check(bob, "info", "aad", sealed:sub(1, at - 1))
      end
    end)
    it("refuse a sender's name on somebody else's message", function()
      local other = bob:seal_hidden(bob:id(), "info", "aad", "hello")
      assert.is_nil((bob:open_hidden("info", "aad", sealed:sub(1, 80) .. other:sub(81))))
    end)
    it("refuse who is no node", function()
      assert.equal("EINVAL", select(3, alice:seal_hidden("bob", "", "", "")))
      assert.error_matches(function() alice:seal_hidden(bob:id(), ("i"):rep(257), "", "") end, "256 bytes")
      assert.error_matches(function() bob:open_hidden(("i"):rep(257), "", sealed) end, "256 bytes")
    end)
  end)

  describe("a key", function()
    it("shows its id and no secret", function()
      assert.equal(("p2pd.key (%s)"):format(first.id), tostring(key_of(first)))
    end)
    it("closes, also twice and at the end of a block", function()
      local key = key_of(first)
      do local _ <close> = key end
      key:close()
      assert.equal("p2pd.key (closed)", tostring(key))
      assert.error_matches(function() key:id() end, "the key is closed")
      assert.error_matches(function() key:seal(second.id, "", "", "") end, "the key is closed")
    end)
    it("is left behind by nobody", helper.task(function()
      for _ = 1, 100 do keys.generate() end
    end))
  end)
end)
