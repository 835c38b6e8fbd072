-- The command contacts.
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local task, finish = helper.task, commands.finish

describe("the command", function()
  local world = commands.world(setup, teardown, before_each)

  describe("contacts", function()
    it("adds, lists and removes", task(function()
      local id = world:id_of "bob"
      assert.same({ 0, "", "" }, { world:run("contacts") })
      assert.same({ 0, "", "" }, { world:run("contacts", "add", "bob", " address: " .. id .. "\n") })
      assert.same({ 0, ("%-15s %s\n"):format("bob", id), "" }, { world:run("contacts", "list") })
      local status, _, err = world:run("contacts", "add", "bob", world:id_of "eve")
      assert.same({ 1, "p2pd: bob is somebody else already\n" }, { status, err })
      assert.equal(0, (world:run("contacts", "add", "--replace", "bob", world:id_of "eve")))
      assert.equal(0, (world:run("contacts", "remove", "bob")))
      assert.equal("p2pd: no contact is called bob\n", select(3, world:run("contacts", "remove", "bob")))
      assert.equal(2, (world:run("contacts", "add", "bob")))
      assert.equal(1, (world:run("contacts", "add", "bob", "nowhere")))
    end))

    it("fail when their output can't be written", task(function()
      assert.equal(0, (world:run("contacts", "add", "bob", world:id_of "bob")))
      local program = helper.executable()
      local child <close> = assert(core.process.spawn { "sh", "-c", '"$0" contacts >/dev/full', program,
        stderr = "pipe", stdout = "pipe", env = { XDG_CONFIG_HOME = world.folder } })
      local status, _, err = finish(child)
      assert.same({ 1, "p2pd: standard output: No space left on device\n" }, { status, err })
    end))

    it("learn the address of whom one connects to", task(function()
      local bob <close> = world:start()
      assert.equal(0, (world:run("contacts", "add", "bob", "0-0-0-" .. bob.id)))
      local code = ([[
        local node <close> = assert(p2pd.node { settings = %q, interfaces = { "lo" } })
        assert(node:connect(assert(p2pd.contacts.find "bob"))):close()]]):format(world.path)
      local child <close> = helper.p2pd { "-e", code, env = { XDG_CONFIG_HOME = world.folder } }
      assert.same({ 0, "", "" }, { finish(child) })
      assert.equal(("%-15s %s\n"):format("bob", bob.address), select(2, world:run("contacts")))
    end))
  end)
end)
