local contacts = require "p2pd.contacts"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local whom = require "p2pd.whom"
local task = helper.task

describe("p2pd.whom", function()
  local id, find = nodes.new_id(), contacts.find
  local list = contacts.list

  before_each(function()
    contacts.find = function(name) -- luacheck: ignore 122
      if name == "bob" then return id end
      return nil, "no such contact", "ENOENT"
    end
    contacts.list = function() return { { name = "bob", address = id } } end -- luacheck: ignore 122
  end)
  after_each(function() contacts.find, contacts.list = find, list end) -- luacheck: ignore 122

  it("finds addresses, ids, names and codes, as they were pasted", function()
    local settings = { mqtt = { { host = "127.0.0.1", port = 1 } } }
    local address = "0-0-0-" .. id
    for _, text in ipairs { address, " address: " .. address .. "\n", id, "bob", "'bob'" } do
      local found = assert(whom.find(text, { settings = settings }))
      assert.same({ address, nil, "bob" }, { found.address, found.code, found:called() })
      assert.equal(address, found:reach(nil))
    end
    for _, text in ipairs { "4-amber-canoe-violin", ' "4 AMB can vio" ' } do
      local found = assert(whom.find(text))
      assert.equal("4-amber-canoe-violin", found.code)
      assert.equal("4-amber-canoe-violin", tostring(found))
    end
  end)

  it("says what is wrong", function()
    for text, complaint in pairs { eve = "neither an address, a node id nor a contact",
        ["4-ambre-canoe-violin"] = 'is it "amber"',
        [""] = "not a peer address", [("x"):rep(5000)] = "address" } do
      local found, reason, code = whom.find(text)
      assert.is_nil(found)
      assert.matches(complaint, reason)
      assert.is_string(code)
    end
  end)

  it("finds a service behind any of them", function()
    for _, text in ipairs { "bob", id, "0-0-0-" .. id, "4-amber-canoe-violin" } do
      local found, service = assert(whom.find_service(text .. ":ssh"))
      assert.equal("ssh", service)
      assert.is_truthy(found.address or found.code)
      assert.equal("", select(2, whom.find_service(text)))
    end
    assert.equal("EINVAL", select(3, whom.find_service "4-ambre-canoe-violin:ssh"))
    assert.is_nil((whom.find_service "eve:ssh"))
  end)

  it("gives ids, which a code does not tell", function()
    local settings = select(2, helper.settings { brokers = { { host = "127.0.0.1", port = 1 } } })
    assert.same({ id, id }, whom.ids({ "bob", id }, settings))
    assert.equal("EINVAL", select(3, whom.ids({ "4-amber-canoe-violin" }, settings)))
    assert.is_nil((whom.ids({ "eve" }, settings)))
    assert.matches("No such file", select(2, whom.ids({}, "/no/such")))
  end)

  it("names peers", function()
    local other = nodes.new_id()
    assert.same({ "bob", other:sub(1, 8) }, { whom.name(id), whom.name(other) })
  end)

  it("reaches nobody by a code that nobody offers", task(function()
    local nobody = { host = "127.0.0.1", port = helper.free_port() }
    local settings = select(2, helper.settings { brokers = { nobody } })
    local node <close> = assert(p2pd.node { settings = settings, interfaces = { "lo" }, background = true })
    local found = assert(whom.find "4-amber-canoe-violin")
    local address, _, code = found:reach(node)
    assert.same({ nil, "ENOTCONN", "4-amber-canoe-violin" }, { address, code, found:called() })
  end))

  teardown(helper.close_all)
end)
