-- The folder of files that a server has received, and what it keeps until it is sent.
local core = require "p2pd.core"
local files = require "p2pd.http.files"
local helper = require "spec.helper"
local outgoing = require "p2pd.http.outgoing"

describe("p2pd.http.files", function()
  it("makes its folder, and tells what is in it", helper.task(function()
    local path = helper.scratch() .. "/a/b"
    local store = files.new(path)
    assert.same({ {}, false }, { store:list() })
    assert.equal(path .. "/peer", store:place_for "peer")
    helper.write(path .. "/peer/x", "12345")
    helper.write(path .. "/peer/y.p2pd.part", "1")
    helper.write(path .. "/peer/bad\nname", "1")
    helper.write(path .. "/loose", "1")
    local list, more = store:list()
    assert.is_false(more)
    assert.same({ { "peer/x", "peer", "x", 5, false }, { "peer/y.p2pd.part", "peer", "y", 1, true } },
      { { list[1].path, list[1].peer, list[1].name, list[1].size, list[1].partial },
        { list[2].path, list[2].peer, list[2].name, list[2].size, list[2].partial } })
    assert.is_nil(list[3])
    local file <close>, size = assert(store:read "peer/x")
    assert.same({ "12345", 5 }, { (file:read()), size })
    assert.is_true(store:remove "peer/x")
    assert.is_true(store:remove "peer/y.p2pd.part")
    assert.equal("ENOENT", select(3, store:remove "peer/x"))
  end))

  it("gives out nothing else", helper.task(function()
    local base = helper.scratch()
    local store = files.new(base .. "/files")
    store:place_for "peer"
    helper.write(base .. "/secret", "x")
    os.execute(("LD_PRELOAD= ln -s ../../secret %s/files/peer/link"):format(base))
    os.execute(("LD_PRELOAD= ln -s .. %s/files/up"):format(base))
    for path, code in pairs { ["../secret"] = "EINVAL", ["peer/../../secret"] = "EINVAL",
      ["peer/link"] = "ENOENT", ["up/secret"] = "ENOENT", peer = "ENOENT", [""] = "EINVAL",
      ["/etc/passwd"] = "EINVAL", ["peer/x.p2pd.part"] = "EINVAL", [".outgoing/x"] = "ENOENT" } do
      assert.same({ nil, code }, { (store:read(path)), (select(3, store:read(path))) }, path)
    end
    assert.is_nil((store:remove "../secret"))
    assert.equal("x", helper.read(base .. "/secret"))
  end))

  it("says where there is none, and why one can't be made", helper.task(function()
    local base = helper.scratch()
    helper.write(base .. "/file", "")
    assert.equal("ENOTDIR", select(3, files.new(base .. "/file"):place_for "peer"))
    assert.equal("ENOTDIR", select(3, files.open(base .. "/file/more/and/more")))
    assert.equal("ENOTDIR", select(3, outgoing.new(base .. "/file", 1)))
  end))

  it("keeps what is to be sent only as long as it is needed", helper.task(function()
    local base = helper.scratch()
    do
      local kept <close> = assert(outgoing.new(base, nil))
      assert(kept:begin("a/b/c", 5))
      assert(kept:write "abc")
      assert(kept:write "de")
      assert(kept:finish())
      assert.same({ 5, "abcde" }, { kept.size, helper.read(kept.path .. "/a/b/c") })
      assert.same({ nil, "another one has that name", "EINVAL" }, { kept:begin("a/b", 1) })
      assert.same({ nil, "it is in a folder that is a file", "EINVAL" }, { kept:begin("a/b/c/d", 1) })
      assert(kept:begin("d", 5))
      assert.equal(0, #files.new(base):list())
    end
    local folder <close> = assert(core.folder.open(base))
    assert.equal("", folder:list ".outgoing")
    local old = base .. "/.outgoing/old"
    folder:make(".outgoing/old", 448)
    helper.write(old .. "/file", "")
    folder:set(".outgoing", 448, 0)
    os.execute(("LD_PRELOAD= touch -d '2 days ago' '%s'"):format(old))
    local kept, reason, code = outgoing.new(base, 1 << 60)
    assert.same({ nil, "ENOSPC" }, { kept, code })
    assert.matches("no room: %d+ bytes are free", reason)
    assert.equal("", folder:list ".outgoing")
  end))
end)
