local address = require "p2pd.address"
local core = require "p2pd.core"
local peer = require "p2pd.peer"

local ID = core.keys.generate():id()
local RECORD = "[0,8.8.8.8,192.168.21.21,58959,3,2,0]"
local FULL = ("0,1-%s-0-%s"):format(RECORD, ID)
local SETTINGS = { mqtt = { {}, {} } }

-- The reason why a text is not taken.
local function fault(text, ...)
  local found, reason, code = peer.parse(text, ...)
  assert.is_nil(found)
  return reason, code
end

describe("p2pd.peer", function()
  describe("parse()", function()
    it("forgives what a copy has around it", function()
      for _, text in ipairs {
        FULL, " " .. FULL .. " ", FULL .. "\n", FULL .. "\r\n", "\t" .. FULL, "'" .. FULL .. "'",
        '"' .. FULL .. '"', "`" .. FULL .. "`", "<" .. FULL .. ">", "\u{201c}" .. FULL .. "\u{201d}",
        "address: " .. FULL, "Address:" .. FULL, " 'address: " .. FULL .. "'\n",
        "address: '" .. FULL .. "'", "\u{a0}" .. FULL .. "\u{a0}", "\u{feff}" .. FULL,
        FULL:sub(1, 30) .. "\n" .. FULL:sub(31), FULL:sub(1, 30) .. " \r\n  " .. FULL:sub(31),
      } do
        assert.equal(FULL, address.format(assert(peer.parse(text))))
      end
    end)

    it("forgives one pair of quotes, and no blanks within", function()
      for _, text in ipairs { "''" .. FULL .. "''", "'" .. FULL, FULL .. '"', FULL:sub(1, 30) .. " "
        .. FULL:sub(31), "address: address: " .. FULL } do
        assert.matches("^not a peer address: ", (fault(text)))
      end
    end)

    it("takes a bare node id for an address at the first brokers of the settings", function()
      assert.equal("0,1-0-0-" .. ID, address.format(assert(peer.parse(ID, SETTINGS))))
      assert.equal("0,1,2-0-0-" .. ID, address.format(assert(peer.parse(" " .. ID .. "\n"))))
      local many = { mqtt = { {}, {}, {}, {}, {} } }
      assert.same({ 0, 1, 2 }, assert(peer.parse(ID, many)).mqtt)
      assert.matches("needs a broker", (fault(ID, { mqtt = {} })))
    end)

    it("says that an address is cut off, wherever that is", function()
      for length = 2, #FULL - 2 do
        local reason, code = fault(FULL:sub(1, length))
        assert.equal("EINVAL", code)
        if length > 3 then assert.matches("^the address is cut off: ", reason, nil, FULL:sub(1, length)) end
      end
      for start = 2, #FULL - #ID - 1 do
        local clipped = FULL:sub(start)
        if clipped:find "^[^%d]" or clipped:find "^[%d.]+," then
          local reason = fault(clipped)
          assert.matches(start == 2 and "cut off" or "the node id alone would do: " .. ID, reason, 1, true)
        end
      end
      assert.matches("^the address is cut off: the dots", (fault(FULL:sub(1, 50) .. "...")))
      assert.matches("^the address is cut off: the dots", (fault("\u{2026}" .. FULL:sub(20))))
    end)

    it("says that a node id is cut off, or none", function()
      local reason, code = fault(ID:sub(1, 30))
      assert.same({ "ENOENT", 1 }, { code, (reason:find "^the node id is cut off: %w+ has 30 characters") })
      assert.matches("^the node id .* is no key$", (fault("0-0-0-" .. ("A"):rep(60))))
      reason, code = fault "bob"
      assert.same({ "bob is neither an address nor a node id", "ENOENT" }, { reason, code })
    end)

    it("names the field that is wrong in another one", function()
      assert.equal("not a peer address: address: empty", (fault " \n"))
      assert.equal("not a peer address: node id: a.b is not letters and digits", (fault "0-0-0-a.b"))
      assert.matches("NAT type: 9 is not 1 to 7", (fault((FULL:gsub(",3,2,0", ",9,2,0")))))
      assert.matches("offset 1 is beyond the 1 brokers", (fault(FULL, { mqtt = { {} } })))
    end)

    it("takes node ids that are no keys when it is told to", function()
      assert.equal("abc", assert(peer.parse("0-0-0-abc", nil, { insecure = true })).node_id)
      assert.matches("cut off", (fault "0-0-0-abc"))
    end)

    it("shows nothing that a terminal would obey", function()
      assert.not_matches("[\27\n]", (fault("0-0-0-\27[31m\n")))
      assert.is_true(#fault(("x"):rep(3000)) < 300)
      assert.matches("100002 bytes, more than 4096$", (fault("x" .. (" "):rep(100000) .. "x")))
    end)
  end)

  describe("find()", function()
    local names = { bob = FULL, eve = ID, old = "0-[0,1" }
    local contacts = { find = function(name) return names[name] end }

    it("gives an address for an address, a node id and a name", function()
      local options = { settings = SETTINGS, contacts = contacts }
      assert.equal(FULL, peer.find("address: " .. FULL, options))
      assert.equal("0,1-0-0-" .. ID, peer.find(ID, options))
      assert.equal(FULL, peer.find(" bob\n", options))
      assert.equal("0,1-0-0-" .. ID, peer.find("eve", options))
      assert.equal(FULL, peer.find(FULL))
    end)

    it("says that nobody has that name, or what is wrong with a contact's address", function()
      local _, reason, code = peer.find("carol", { contacts = contacts })
      assert.same({ "carol is neither an address, a node id nor a contact", "ENOENT" }, { reason, code })
      local broken = { find = function() return nil, "contacts.lua:1: no table", "EINVAL" end }
      _, reason, code = peer.find("carol", { contacts = broken })
      assert.same({ "contacts.lua:1: no table", "EINVAL" }, { reason, code })
      assert.equal(FULL, peer.find(FULL, { contacts = broken }))
      _, reason, code = peer.find "carol"
      assert.same({ "carol is neither an address nor a node id", "ENOENT" }, { reason, code })
      _, reason, code = peer.find("old", { contacts = contacts })
      assert.same({ "of the contact old: the address is cut off: its end is missing", "EINVAL" },
        { reason, code })
    end)
  end)
end)
