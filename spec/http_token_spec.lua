local helper = require "spec.helper"
local lfs = require "lfs"
local token = require "p2pd.http.token"

describe("p2pd.http.token", function()
  teardown(helper.close_all)

  it("is written for its user alone, and goes with its file", function()
    local path = helper.scratch() .. "/run/one.token"
    local file = assert(token.write(path, "0123456789abcdef"))
    assert.equal("rw-------", lfs.attributes(path, "permissions"))
    assert.equal("0123456789abcdef", token.read(path))
    file:close()
    file:close()
    assert.is_nil(lfs.attributes(path))
  end)

  it("is published where this user's programs look for it", function()
    local file = assert(token.publish("spec", "0123456789abcdef"))
    assert.equal(token.path "spec", file.path)
    assert.equal("0123456789abcdef", token.read(file.path))
    file:close()
    assert.equal("ENOENT", (select(3, token.read((token.path "spec")))))
  end)

  it("is not read from files that others may use, from links, or when it is weak", function()
    local folder = helper.scratch()
    local path = helper.write(folder .. "/t", "0123456789abcdef\n")
    os.execute("chmod 644 " .. path)
    assert.equal("EACCES", (select(3, token.read(path))))
    os.execute("chmod 600 " .. path .. "; ln -s t " .. folder .. "/link")
    assert.equal("0123456789abcdef", token.read(path))
    assert.equal("ELOOP", (select(3, token.read(folder .. "/link"))))
    assert.equal("ENOENT", (select(3, token.read(folder .. "/none"))))
    helper.write(path, "short")
    assert.equal("EINVAL", (select(3, token.read(path))))
  end)

  it("has 256 random bits", function()
    assert.matches("^%x+$", token.new())
    assert.equal(64, #token.new())
    assert.are_not.equal(token.new(), token.new())
  end)
end)
