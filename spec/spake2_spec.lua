local core = require "p2pd.core"
local vectors = require "spec.vectors.spake2"
local spake2 = core.spake2

local SHARE, CONFIRMATION = 65, 32
local NO_POINT = "\4" .. ("\1"):rep(64)

local function bytes(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function flip(text, at)
  return text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1) .. text:sub(at + 1)
end

local function pair(password_a, password_b, a, b)
  return assert(spake2.new("a", password_a, a or "offer", b or "redeem")),
    assert(spake2.new("b", password_b or password_a, "offer", "redeem"))
end

local function exchange(near, far)
  assert(near:receive(far:share()))
  assert(far:receive(near:share()))
end

local function code_of(...)
  return (select(3, ...))
end

describe("p2pd.core.spake2", function()
  for i, v in ipairs(vectors) do
    it(("sends what RFC 9382 says, vector %d"):format(i), function()
      local near <close> = assert(spake2.new_with("a", bytes(v.w), bytes(v.x), v.a, v.b))
      local far <close> = assert(spake2.new_with("b", bytes(v.w), bytes(v.y), v.a, v.b))
      assert.equal(bytes(v.share_a), near:share())
      assert.equal(bytes(v.share_b), far:share())
      exchange(near, far)
      assert.equal(bytes(v.confirmation_a), near:confirmation())
      assert.equal(bytes(v.confirmation_b), far:confirmation())
    end)
  end

  it("gives both sides of one password a key, each time another", function()
    local seen = {}
    for i = 1, 2 do
      local near, far = pair "amber"
      exchange(near, far)
      assert.is_true(near:verify(far:confirmation()))
      assert.is_true(far:verify(near:confirmation()))
      local sealed = assert(near:seal "hello")
      assert.equal("hello", far:open(sealed))
      assert.equal("back", near:open(assert(far:seal "back")))
      assert.not_equal(seen[1], sealed)
      seen[i] = sealed
    end
  end)

  it("confirms nothing to who has another password, or other identities", function()
    for _, other in ipairs { { "amber", "ember" }, { "amber", "amber", "Offer" },
      { "amber", "amber", "offe", "rredeem" } } do
      local near, far = pair(table.unpack(other))
      exchange(near, far)
      assert.equal("EBADMSG", code_of(near:verify(far:confirmation())))
      assert.equal("EBADMSG", code_of(far:verify(near:confirmation())))
      assert.equal("EBADMSG", code_of(far:open(near:seal "hello")))
    end
  end)

  it("refuses a share that is no point", function()
    local near <close> = assert(spake2.new("a", "amber", "", ""))
    local share = near:share()
    for _, bad in ipairs { "", "\0", NO_POINT, flip(share, SHARE), share .. "x", share:sub(1, -2),
      ("\0"):rep(SHARE), "\2" .. share:sub(2, 33) } do
      assert.equal("EINVAL", code_of(near:receive(bad)))
      assert.is_nil(near:confirmation())
    end
  end)

  it("refuses a share that leaves no secret: the blinding point alone", function()
    local v = vectors[1]
    local near <close> = assert(spake2.new_with("a", bytes(v.w), bytes(v.x), "", ""))
    assert.equal("EINVAL", code_of(near:receive(bytes(v.blind_b))))
  end)

  it("takes one share", function()
    local near, far = pair "amber"
    exchange(near, far)
    assert.equal("EALREADY", code_of(near:receive(far:share())))
  end)

  it("seals once, and opens nothing that was altered or is its own", function()
    local near, far = pair "amber"
    assert.equal("ENOTCONN", code_of(near:seal "early"))
    assert.equal("ENOTCONN", code_of(near:open(("x"):rep(40))))
    assert.equal("ENOTCONN", code_of(near:verify(("x"):rep(CONFIRMATION))))
    exchange(near, far)
    local sealed = assert(near:seal "")
    assert.equal(16, #sealed)
    assert.equal("EALREADY", code_of(near:seal ""))
    assert.equal("", far:open(sealed))
    assert.equal("EBADMSG", code_of(near:open(sealed)))
    for at = 1, #sealed do assert.equal("EBADMSG", code_of(far:open(flip(sealed, at)))) end
    for len = 0, #sealed - 1 do assert.equal("EBADMSG", code_of(far:open(sealed:sub(1, len)))) end
  end)

  it("raises for misuse", function()
    assert.error_matches(function() spake2.new("c", "", "", "") end, "invalid option")
    assert.error_matches(function() spake2.new("a", "", ("x"):rep(257), "") end, "longer than 256")
    assert.error_matches(function() spake2.new_with("a", "x", "x", "", "") end, "32 bytes")
    local near = assert(spake2.new("a", "amber", "", ""))
    near:close()
    near:close()
    assert.error_matches(function() near:share() end, "closed")
    assert.equal("p2pd.spake2 (closed)", tostring(near))
  end)

  it("refuses scalars that are none of the group", function()
    local zero, large = ("\0"):rep(32), ("\255"):rep(32)
    for _, bad in ipairs { { zero, bytes(vectors[1].x) }, { bytes(vectors[1].w), large } } do
      assert.equal("EINVAL", code_of(spake2.new_with("a", bad[1], bad[2], "", "")))
    end
  end)
end)
