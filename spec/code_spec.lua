local attempt = require "p2pd.code.attempt"
local code = require "p2pd.code"
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local message = require "p2pd.code.message"
local offers = require "p2pd.code.offer"
local p2pd = require "p2pd"
local text = require "p2pd.code.text"
local words = require "p2pd.code.words"
local task = helper.task

local SOON = 8 -- seconds

describe("p2pd.code.words", function()
  it("are 256, told apart by their first three letters", function()
    local beginnings = {}
    for _, word in ipairs(words) do
      assert.is_nil(beginnings[word:sub(1, 3)], word)
      beginnings[word:sub(1, 3)] = word
      assert.matches("^%l%l%l%l+$", word)
    end
    assert.equal(256, #words)
  end)
  it("are found, and guessed when misspelt", function()
    assert.equal("canoe", words[words.find "canoe"])
    assert.is_nil(words.find "kanoe")
    for given, meant in pairs { kanoe = "canoe", ambre = "amber", viol = "violin", vioolin = "violin" } do
      assert.equal(meant, words.guess(given))
    end
    assert.is_nil(words.guess "qqqqqq")
    assert.is_nil(words.guess "")
  end)
end)

describe("p2pd.code.text", function()
  it("reads what people type", function()
    for _, given in ipairs { "4-amber-canoe-violin", " 4 Amber Canoe Violin\n", "4-amb-can-vio",
      "04_amber,canoe--VIOLIN" } do
      local parsed, number = text.parse(given)
      assert.equal("4-amber-canoe-violin", parsed)
      assert.equal(4, number)
    end
  end)
  it("says what is wrong with anything else", function()
    for given, complaint in pairs {
      ["4-ambre-canoe-violin"] = '"ambre": is it "amber"?',
      ["4-qqqqqq-canoe-violin"] = 'no code has the word "qqqqqq"',
      ["4-amber-canoe"] = "3 words after its number, and this one has 2",
      ["4-amber-canoe-violin-violin"] = "this one has 4",
      ["amber-canoe-violin"] = "begins with a number",
      ["0-amber-canoe-violin"] = "the number 0",
      ["1234567-amber-canoe-violin"] = "begins with a number",
      ["4-am\27ber-canoe-violin"] = "am?ber",
      [""] = "begins with a number",
      [("4 amber "):rep(50)] = "not a code",
    } do
      local parsed, reason, errcode = text.parse(given)
      assert.is_nil(parsed)
      assert.truthy(reason:find(complaint, 1, true), reason)
      assert.equal("EINVAL", errcode)
    end
    assert.equal("EINVAL", select(3, text.parse(nil)))
  end)
  it("makes codes that are read, each time another", function()
    local seen = {}
    for _ = 1, 50 do
      local made = text.new(text.new_number(2))
      assert.equal(made, (text.parse(made)))
      seen[made] = true
    end
    local count = 0
    for _ in pairs(seen) do count = count + 1 end
    assert.equal(50, count)
  end)
  it("draws numbers of so many digits", function()
    for _ = 1, 200 do
      local number = text.new_number(1)
      assert.is_true(number >= 1 and number <= 9 and math.type(number) == "integer")
    end
  end)
  it("is told from addresses and names", function()
    for _, given in ipairs { "4-amber-canoe-violin", "4 amber", " 12-x" } do
      assert.is_true(text.is_code(given))
    end
    for _, given in ipairs { "0,1-[0,8.8.8.8,192.168.21.21,58959,3,2,0]-0-zmUGXPOFxUBuToh", "0-0-0-abc",
      "bob", "4", "586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HR5", "" } do
      assert.is_false(text.is_code(given))
    end
  end)
end)

describe("p2pd.code.message", function()
  local TRY, OFFER = ("t"):rep(8), ("o"):rep(8)
  it("is read as it was written, whole or not at all", function()
    for _, m in ipairs {
      { kind = "FIND", try = TRY }, { kind = "HELD", offer = OFFER },
      { kind = "OFFER", try = TRY, offer = OFFER, share = ("s"):rep(65) },
      { kind = "TAKEN", try = TRY, offer = OFFER, confirmation = ("c"):rep(32), sealed = "" },
    } do
      local bytes = message.encode(m)
      assert.same(m, message.decode(bytes))
      for len = 0, #bytes - 1 do assert.is_nil(message.decode(bytes:sub(1, len))) end
      assert.is_nil(message.decode("\2" .. bytes:sub(2)))
    end
    assert.is_nil(message.decode(message.encode { kind = "FIND", try = TRY } .. "x"))
    assert.is_nil(message.decode("\1\1" .. ("x"):rep(message.MAX)))
    assert.is_nil(message.decode "\1\99")
  end)
end)

-- The two sides without brokers: what each says goes to the other.
describe("p2pd.code's sides", function()
  local A = "0-[0,192.0.2.1,192.168.1.1,1000,3,2,0]-0-alice"
  local B = "0-[0,192.0.2.2,192.168.1.2,1000,3,2,0]-0-bob"
  local settings = { mqtt = { { host = "broker", port = 1883 } } }

  local function offer(given)
    return assert(offers.new { code = given, id = core.random.bytes(8), settings = settings,
      address = function() return A end })
  end
  local function redeem(given)
    return attempt.new { code = given, settings = settings, address = function() return B end }
  end
  local function exchange(near, far)
    far:take(near:take(far:find(), 0))
    local try = assert(far:try())
    local answer = near:take(try, 0)
    far:take(answer)
    return try, answer
  end

  it("tell each other their addresses", function()
    local near, far = offer "4-a", redeem "4-a"
    local try, answer = exchange(near, far)
    assert.same({ address = B, id = "bob" }, select(2, near:result()))
    assert.same({ address = A, id = "alice" }, select(2, far:result()))
    for _, bytes in ipairs { try, answer } do
      assert.is_nil(bytes:find("192.0.2", 1, true))
      assert.is_true(#bytes <= message.MAX)
    end
    assert.equal(answer, near:take(try, 0)) -- the answer was lost
  end)

  it("end with a wrong code, on both sides, and the right one is refused afterwards", function()
    local near, far = offer "4-a", redeem "4-b"
    exchange(near, far)
    assert.equal("EACCES", select(4, near:result()))
    assert.equal("EACCES", select(4, far:result()))
    local late = redeem "4-a"
    late:take(near:take(late:find(), 0))
    assert.is_true(late:is_answered())
    assert.equal("ESTALE", select(3, late:try()))
  end)

  it("take one try of two that come at once", function()
    local near, first, second = offer "4-a", redeem "4-a", redeem "4-a"
    for _, far in ipairs { first, second } do far:take(near:take(far:find(), 0)) end
    first:take(near:take(first:try(), 0))
    second:take(near:take(second:try(), 0))
    assert.equal("bob", select(2, near:result()).id)
    assert.equal("alice", select(2, first:result()).id)
    assert.equal("ESTALE", select(4, second:result()))
  end)

  it("do not try when two offers are there", function()
    local far = redeem "4-a"
    far:take(offer "4-a":take(far:find(), 0))
    far:take(offer "4-b":take(far:find(), 0))
    assert.equal("EEXIST", select(3, far:try()))
  end)

  it("do not believe an answer that does not know the code", function()
    local near, far = offer "4-a", redeem "4-a"
    far:take(near:take(far:find(), 0))
    local m = message.decode(far:try())
    far:take(message.encode { kind = "TAKEN", try = m.try, offer = m.offer, confirmation = ("x"):rep(32),
      sealed = m.sealed })
    assert.equal("EACCES", select(4, far:result()))
  end)

  it("drop what is not for them", function()
    local near, far = offer "4-a", redeem "4-a"
    local other = redeem "4-a"
    far:take(near:take(other:find(), 0))
    assert.is_false(far:is_answered())
    far:take "garbage"
    assert.is_nil(near:take("garbage", 0))
    assert.is_nil(near:take(message.encode { kind = "TRY", try = ("t"):rep(8), offer = ("o"):rep(8),
      share = ("s"):rep(65), confirmation = ("c"):rep(32), sealed = "" }, 0))
    assert.is_false(near:result())
  end)

  it("answer so many questions, and a try all the same", function()
    local near, far, answered = offer "4-a", redeem "4-a", 0
    far:take(near:take(far:find(), 0))
    for _ = 1, 500 do
      if near:take(redeem "4-a":find(), 0) then answered = answered + 1 end
    end
    assert.is_true(answered < 50)
    far:take(near:take(far:try(), 0))
    assert.equal("alice", select(2, far:result()).id)
  end)
end)

describe("p2pd.code", function()
  local world = loopback.new(setup, teardown)

  local function start(options) return world:start_in_background(options) end

  it("brings two nodes together", task(function()
    local allowed = {}
    local near <close> = start { allow = function(id) return allowed[id] end }
    local far <close> = start()
    local offer <close> = assert(code.offer(near))
    assert.equal("code " .. offer.text, tostring(offer))
    local found <close> = p2pd.spawn(code.redeem, far, offer.text:upper())
    local _, id = assert(offer:wait(SOON))
    assert.equal(far.id, id)
    allowed[id] = true
    local address, near_id = assert(found:join())
    assert.equal(near.id, near_id)
    local accepted <close> = p2pd.spawn(near.accept, near, SOON)
    local pipe <close> = assert(far:connect(address, { timeout = SOON }))
    local other <close> = assert(accepted:join())
    assert.equal(far.id, other.peer)
    assert.equal(near.id, pipe.peer)
    assert.equal("trusted", near.limits.trust:step(far.id))
    assert.equal("trusted", far.limits.trust:step(near.id))
  end))

  it("tells both of a wrong code, and is over then", task(function()
    local near <close> = start()
    local far <close> = start()
    local offer <close> = assert(code.offer(near))
    local number = offer.text:match "^%d+"
    local wrong = ("%s-amber-canoe-%s"):format(number, offer.text:find "violin$" and "zebra" or "violin")
    local waiting <close> = p2pd.spawn(offer.wait, offer, SOON)
    local found, reason, errcode = code.redeem(far, wrong, { timeout = SOON })
    assert.is_nil(found)
    assert.matches("the code is wrong", reason)
    assert.equal("EACCES", errcode)
    found, reason, errcode = waiting:join()
    assert.is_nil(found)
    assert.matches("somebody tried a wrong code", reason)
    assert.equal("EACCES", errcode)
    assert.equal("ESTALE", select(3, code.redeem(far, offer.text, { timeout = SOON })))
  end))

  it("is good once", task(function()
    local near <close> = start()
    local far <close> = start()
    local offer <close> = assert(code.offer(near))
    assert(code.redeem(far, offer.text, { timeout = SOON }))
    assert.equal("ESTALE", select(3, code.redeem(far, offer.text, { timeout = SOON })))
    assert(offer:wait(0))
  end))

  it("expires", task(function()
    local near <close> = start()
    local far <close> = start()
    local offer <close> = assert(code.offer(near, { lifetime = 0.05 }))
    local found, reason, errcode = offer:wait(SOON)
    assert.is_nil(found)
    assert.matches("nobody has used the code in time", reason)
    assert.equal("ETIMEDOUT", errcode)
    assert.equal("ESTALE", select(3, code.redeem(far, offer.text, { timeout = SOON })))
  end))

  it("is offered by nobody once it is taken back", task(function()
    local near <close> = start()
    local offer <close> = assert(code.offer(near))
    local waiting <close> = p2pd.spawn(offer.wait, offer)
    local given = offer.text
    offer:close()
    offer:close()
    assert.equal("ECANCELED", select(3, waiting:join()))
    local found, reason, errcode = code.redeem(near, given, { timeout = 0.5 })
    assert.is_nil(found)
    assert.matches("nobody offers this code", reason)
    assert.equal("ENOENT", errcode)
  end))

  it("takes a number that nobody offers at", task(function()
    local near <close> = start()
    local claim = require "p2pd.code.claim"
    local first <close> = assert(code.offer(near))
    local taken = math.tointeger(first.text:match "^%d+")
    local drawn = {}
    local place <close>, number = claim.take(world.settings, ("x"):rep(8), function(digits)
      drawn[#drawn + 1] = digits
      return #drawn == 1 and taken or taken + 1
    end, function() end)
    assert.truthy(place)
    assert.equal(taken + 1, number)
    assert.same({ 2, 3 }, drawn)
  end))

  it("needs a broker", task(function()
    local nobody = { host = "127.0.0.1", port = helper.free_port() }
    local dead = select(2, helper.settings { brokers = { nobody } })
    local near <close> = start { settings = dead }
    local found, reason, errcode = code.redeem(near, "4-amber-canoe-violin", { timeout = 0.5 })
    assert.is_nil(found)
    assert.matches("no broker answers, and a code needs one", reason)
    assert.equal("ENOTCONN", errcode)
  end))

  it("says at once what is no code, and raises for misuse", task(function()
    local near <close> = start()
    assert.equal("EINVAL", select(3, code.redeem(near, "4-ambre-canoe-violin")))
    assert.error_matches(function() code.offer(near, { lifetme = 1 }) end, "no option is called lifetme")
    assert.error_matches(function() code.redeem(near, "x", { timeout = "1" }) end, "number of seconds")
    near:close()
    assert.equal("EBADF", select(3, code.offer(near)))
    assert.equal("EBADF", select(3, code.redeem(near, "4-amber-canoe-violin")))
  end))

  it("takes two questions and answers besides the dial", task(function()
    local near <close> = start()
    local far <close> = start()
    local offer <close> = assert(code.offer(near))
    local tap = assert(core.mqtt.open { host = world.broker.host, port = world.broker.port })
    local _ <close> = setmetatable({}, { __close = function() tap:close() end })
    tap:subscribe("p2pd/code/1/" .. offer.text:match "^%d+")
    assert(tap:wait_online(SOON))
    assert(code.redeem(far, offer.text, { timeout = SOON }))
    local kinds = {}
    repeat
      local _, bytes = tap:receive(SOON)
      local kind = message.decode(bytes).kind
      if kinds[#kinds] ~= kind then kinds[#kinds + 1] = kind end
    until kind == "TAKEN"
    assert.same({ "FIND", "OFFER", "TRY", "TAKEN" }, kinds)
  end))
end)
