local helper = require "spec.helper"
local lfs = require "lfs"
local nodes = require "spec.nodes"
local task = require "p2pd.task"

-- In a program of its own, since the folder is the environment's.
local function run(folder, code, ...)
  local values, text = {}, code:format(...)
  helper.in_task(function()
    local child <close> = helper.p2pd { "-e", [[
      local contacts = p2pd.contacts
      local function show(...)
        local values = table.pack(...)
        for i = 1, values.n do io.write(tostring(values[i]), "\n") end
      end
    ]] .. text, env = { XDG_CONFIG_HOME = folder } }
    local err = child:stderr():read "a"
    assert.equal("", err)
    for line in child:stdout():read("a"):gmatch "[^\n]+" do values[#values + 1] = line end
  end)
  return values
end

describe("p2pd.contacts", function()
  local folder, path, id, other

  before_each(function()
    folder = helper.scratch()
    path = folder .. "/p2pd/contacts.lua"
    id, other = nodes.new_id(), nodes.new_id()
  end)
  teardown(helper.close_all)

  it("keeps addresses and ids by name, in a file of the user's alone", function()
    local address = "0-[0,8.8.8.8,10.0.0.1,1234,3,2,0]-0-" .. id
    assert.same({ "true", "true", "true" }, run(folder, [[
      show(contacts.add("bob", "%s")) show(contacts.add("alice", "%s")) show(contacts.add("jos\u{e9}", "%s"))
    ]], address, other, other))
    assert.same({ address, other }, run(folder, [[show(contacts.find "bob") show(contacts.find "alice")]]))
    assert.same({ "alice", "bob", "jos\u{e9}" },
      run(folder, [[for _, one in ipairs(contacts.list()) do show(one.name) end]]))
    assert.same({ "bob", "nil" }, run(folder, [[show(contacts.name_of "%s") show(contacts.name_of "x")]], id))
    assert.equal("rw-------", lfs.attributes(path, "permissions"))
    assert.equal("rwx------", lfs.attributes(folder .. "/p2pd", "permissions"))
    for name in lfs.dir(folder .. "/p2pd") do
      assert.is_true(name:sub(1, 1) == "." or name == "contacts.lua", name)
    end
  end)

  it("is empty without a file, and forgets whom one removes", function()
    assert.same({ "0", "nil", "no contact is called bob", "ENOENT" },
      run(folder, [[show(#contacts.list()) show(contacts.find "bob")]]))
    assert.same({ "true", "true", "nil", "no contact is called bob", "ENOENT" }, run(folder, [[
      show(contacts.add("bob", "%s")) show(contacts.remove "bob") show(contacts.remove "bob")]], id))
  end)

  it("refuses names that mean something else, and what is no address", function()
    for _, name in ipairs { "", "4you", "a b", "a:b", "a/b", "-x", "x\n", ("x"):rep(65), id, "\u{202e}x" } do
      local got = run(folder, "show(contacts.add(%q, %q))", name, other)
      assert.same({ "nil", "EINVAL" }, { got[1], got[#got] }, name)
    end
    assert.equal("EINVAL", run(folder, [[show(contacts.add("bob", "0-0-0"))]])[3])
    assert.is_nil(lfs.attributes(path))
  end)

  it("gives a name to nobody else unless asked to", function()
    local got = run(folder, [[
      show(contacts.add("bob", "%s"))
      show(contacts.add("bob", "%s"))
      show(contacts.add("bob", "%s", true))
      show(contacts.find "bob")]], id, other, other)
    assert.same({ "true", "nil", "bob is somebody else already", "EEXIST", "true", other }, got)
  end)

  it("learns a peer's present address", function()
    local old = "0-[0,8.8.8.8,10.0.0.1,1234,3,2,0]-0-" .. id
    local new = "1-[0,9.9.9.9,10.0.0.1,4321,3,2,0]-0-" .. id
    local got = run(folder, [[
      contacts.add("bob", "%s") contacts.add("bobby", "%s") contacts.add("eve", "%s")
      show(contacts.refresh("%s", "%s"))
      show(contacts.find "bob") show(contacts.find "bobby") show(contacts.find "eve")
      show(contacts.refresh("%s", "%s"))
      show(contacts.refresh("%s", "%s"))]], old, id, other, id, new, id, new, other, new)
    assert.same({ "true", new, new, other, "false", "nil", "the address is another node's", "EINVAL" }, got)
  end)

  it("says what is wrong with a file, and leaves it as it is", function()
    lfs.mkdir(folder .. "/p2pd")
    for text, reason in pairs {
      ["return {"] = "near <eof>", ["return 5"] = "does not return a table",
      ["return { bob = 'x' }"] = "bob: not a peer address", ["return { ['a b'] = 'x' }"] = "name begins with",
      ["while true do end"] = "does not end", ["return { bob = {} }"] = "bob: no address",
    } do
      helper.write(path, text)
      local got = run(folder, [[show(contacts.add("bob", "%s"))]], id)
      assert.same({ "nil", "EINVAL" }, { got[1], got[#got] })
      assert.matches(reason, got[2], 1, true)
      assert.equal(text, helper.read(path))
    end
  end)

  it("loses nothing when many write at once", function()
    helper.in_task(function()
      local children = {}
      for i = 1, 8 do
        children[i] = task.spawn(function()
          local child <close> = helper.p2pd { "-e", ([[
            for k = 1, 5 do assert(p2pd.contacts.add("c%d_" .. k, "%s")) end]]):format(i, id),
            env = { XDG_CONFIG_HOME = folder } }
          assert.equal("", child:stderr():read "a")
        end)
      end
      for _, child in ipairs(children) do child:join() end
    end)
    assert.same({ "40" }, run(folder, "show(#contacts.list())"))
  end)
end)
