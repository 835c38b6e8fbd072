local core = require "p2pd.core"
local ntp = core.ntp

local ERA = 2 ^ 32

describe("core.ntp", function()
  describe("timestamps", function()
    -- RFC 5905 figure 4
    it("count from 1900", function()
      assert.equal(2208988800 << 32, ntp.timestamp(0))
      assert.equal(2272060800 << 32, ntp.timestamp(63072000)) -- 1 January 1972
      assert.equal(3155587200 << 32, ntp.timestamp(946598400)) -- 31 December 1999
      assert.equal(63104 << 32, ntp.timestamp(2086041600)) -- 8 February 2036, the second era
    end)

    it("are read in the era that lies after 2025", function()
      assert.equal(1735689600, ntp.seconds(ntp.timestamp(1735689600)))
      assert.equal(1735689599 + ERA, ntp.seconds(ntp.timestamp(1735689599)))
      assert.equal(2085978495.5, ntp.seconds(0xffffffff80000000))
      assert.equal(2085978496, ntp.seconds(0))
      assert.equal(2086041600, ntp.seconds(63104 << 32))
    end)

    it("keep fractions", function()
      assert.equal(1800000000.25, ntp.seconds(ntp.timestamp(1800000000.25)))
      assert.equal(0x40000000, ntp.timestamp(-2208988800 + 0.25))
    end)

    it("are of finite times", function()
      assert.has_error(function() ntp.timestamp(0 / 0) end)
      assert.has_error(function() ntp.timestamp(math.huge) end)
    end)
  end)

  describe("decode()", function()
    it("reads what encode() wrote", function()
      local packet = { leap = 1, version = 3, mode = 4, stratum = 2, poll = 6, precision = -20,
        root_delay = 0.5, root_dispersion = 0.25, reference_id = 0xc0000201, reference = 1, origin = -2,
        receive = 3 << 40, transmit = math.mininteger }
      assert.same(packet, ntp.decode(ntp.encode(packet)))
    end)

    it("reads the bytes of RFC 5905 section 7.3", function()
      local packet = ntp.decode(string.pack(">BBbbI4I4I4i8i8i8i8", 0x24, 1, 10, -6, 0x18000, 0x8000,
        0x47505300, 5, 6, 7, 8))
      assert.same({ leap = 0, version = 4, mode = 4, stratum = 1, poll = 10, precision = -6,
        root_delay = 1.5, root_dispersion = 0.5, reference_id = 0x47505300, reference = 5, origin = 6,
        receive = 7, transmit = 8 }, packet)
    end)

    it("skips what follows the header", function()
      assert.equal(7, ntp.decode(ntp.encode { stratum = 7 } .. ("x"):rep(20)).stratum)
    end)

    it("refuses a short packet", function()
      for _, length in ipairs { 0, 1, 47 } do
        local packet, message, code = ntp.decode(("x"):rep(length))
        assert.is_nil(packet)
        assert.matches("too short", message)
        assert.equal("EMSGSIZE", code)
      end
    end)
  end)

  describe("encode()", function()
    it("refuses values that do not fit", function()
      assert.has_error(function() ntp.encode { leap = 4 } end, "option 'leap': 0 to 3 expected")
      assert.has_error(function() ntp.encode { stratum = 256 } end, "option 'stratum': 0 to 255 expected")
    end)
  end)
end)

-- Instants below are seconds on our scale; the server's clock is NETWORK ahead of it.
local NETWORK = 1900000000

describe("core.ntp.client()", function()
  local client

  before_each(function()
    client = ntp.client()
  end)

  -- Polls; the request must go out.
  local function request(now)
    local action, packet = client:poll(now)
    assert.equal("send", action)
    return ntp.decode(packet)
  end

  -- The answer to a request, received by the server at `there` and sent at once, with some fields changed.
  local function answer_to(asked, there, fields)
    local answer = { stratum = 1, precision = -20, origin = asked.transmit,
      receive = ntp.timestamp(NETWORK + there), transmit = ntp.timestamp(NETWORK + there) }
    for name, value in pairs(fields or {}) do answer[name] = value end
    return ntp.encode(answer)
  end

  -- One sample: there and back in so many seconds.
  local function sample(now, out, back)
    assert.equal("sample", client:feed(answer_to(request(now), now + out), now + out + back))
  end

  describe("a request", function()
    it("tells nothing about us but 64 random bits", function()
      client:begin(0)
      local _, packet = client:poll(0)
      assert.equal("\x23" .. ("\0"):rep(39), packet:sub(1, 40))
      local other = ntp.client()
      other:begin(0)
      local _, second = other:poll(0)
      assert.not_equal(packet:sub(41), second:sub(41))
    end)

    it("is sent no more often than planned", function()
      client:begin(10, { count = 3, spacing = 1, spacing_max = 1.5, timeout = 5 })
      sample(10, 0.1, 0.1)
      assert.same({ "wait", 11.0 }, { client:poll(10.9) })
      sample(11, 0.1, 0.1)
      assert.same({ "wait", 12.5 }, { client:poll(12.4) })
      assert.equal(12.5, client:due())
      sample(12.5, 0.1, 0.1)
      assert.equal("done", (client:poll(100)))
      assert.equal(math.huge, client:due())
    end)

    it("waits for the answer to the one before", function()
      client:begin(0, { spacing = 0.1, timeout = 1 })
      request(0)
      assert.same({ "wait", 1.0 }, { client:poll(0.5) })
      request(1)
    end)

    it("is given up three times in a row at most", function()
      client:begin(0, { spacing = 0.1, timeout = 1 })
      for now = 0, 2 do request(now) end
      assert.equal("done", (client:poll(3)))
      assert.equal("timed out", client:reason())
    end)

    it("starts when it is polled, however late", function()
      client:begin(0)
      assert.equal("send", (client:poll(1e6)))
    end)

    it("needs times that make sense", function()
      for _, field in ipairs { "spacing", "spacing_max", "timeout" } do
        for _, value in ipairs { 0, -1, math.huge, 0 / 0 } do
          assert.has_error(function() client:begin(0, { [field] = value }) end)
        end
      end
      assert.has_error(function() client:begin(0, { count = 0 }) end)
      assert.has_error(function() client:begin(0 / 0) end)
      assert.has_error(function() client:poll(math.huge) end)
    end)
  end)

  describe("an answer", function()
    before_each(function()
      client:begin(0)
    end)

    -- Not the answer: ignored, and the right one is taken after it.
    local function assert_ignored(reason, fields, bytes)
      local asked = request(0)
      local event, message, code = client:feed(bytes or answer_to(asked, 0.5, fields), 1)
      assert.same({ nil, reason, "ENOMSG" }, { event, message, code })
      assert.equal("sample", client:feed(answer_to(asked, 0.5), 1))
    end

    -- The answer, but useless.
    local function assert_refused(reason, fields)
      local event, message, code = client:feed(answer_to(request(0), 0.5, fields), 1)
      assert.same({ nil, reason, "EBADMSG" }, { event, message, code })
      assert.is_nil(client:estimate(1))
    end

    it("gives an offset and its bound", function()
      local asked = request(0)
      local answer = answer_to(asked, 0.25, { root_delay = 0.5, root_dispersion = 0.125 })
      assert.equal("sample", client:feed(answer, 1))
      local found = client:estimate(1)
      assert.equal(1, found.samples)
      assert.near(NETWORK - 0.25, found.offset, 1e-6)
      assert.near(1, found.delay, 1e-6)
      assert.near(0.5 + 0.25 + 0.125, found.bound, 1e-5)
    end)

    it("does not count the time that the server took", function()
      local asked = request(0)
      client:feed(answer_to(asked, 0.25, { transmit = ntp.timestamp(NETWORK + 10.25) }), 10.5)
      assert.near(0.5, client:estimate(10.5).delay, 1e-5)
      assert.near(NETWORK, client:estimate(10.5).offset, 1e-5)
    end)

    it("may cross into the next era", function()
      local ends = 2085978496 -- seconds since 1970
      client:feed(answer_to(request(0), 0, { reference = ntp.timestamp(ends - 100),
        receive = ntp.timestamp(ends - 0.5), transmit = ntp.timestamp(ends + 0.5) }), 2)
      assert.near(ends - 1, client:estimate(2).offset, 1e-5)
    end)

    it("may have an older version", function()
      assert.equal("sample", client:feed(answer_to(request(0), 0.5, { version = 3 }), 1))
    end)

    it("counts once", function()
      local answer = answer_to(request(0), 0.5)
      assert.equal("sample", client:feed(answer, 1))
      assert.same({ nil, "nothing was asked", "ENOMSG" }, { client:feed(answer, 1) })
    end)

    it("is ignored when it is short", function()
      assert_ignored("too short", nil, ("\x24"):rep(47))
      client:begin(2)
    end)

    it("is ignored when it is a request", function()
      assert_ignored("not from a server", { mode = 3 })
    end)

    it("is ignored in a version that nobody knows", function()
      assert_ignored("an unknown version", { version = 5 })
    end)

    it("is ignored when it does not repeat our random bits", function()
      assert_ignored("an answer to something else", { origin = 1 })
    end)

    it("is refused from a server that is not synchronised", function()
      assert_refused("the server is not synchronised", { leap = 3 })
    end)

    it("is refused from a stratum that does not exist", function()
      assert_refused("no such stratum", { stratum = 16 })
    end)

    it("is refused without timestamps", function()
      assert_refused("no timestamp", { transmit = 0 })
    end)

    it("is refused without the time of the request", function()
      assert_refused("no timestamp", { receive = 0 })
    end)

    it("is refused when it was sent before it was asked for", function()
      assert_refused("sent before it was asked", { transmit = ntp.timestamp(NETWORK) })
    end)

    it("is refused when the server's source is of the future", function()
      assert_refused("synchronised in the future", { reference = ntp.timestamp(NETWORK + 5) })
    end)

    it("is refused when the server's source is far from the true time", function()
      assert_refused("the server is too far from the true time", { root_delay = 1, root_dispersion = 0.5 })
    end)

    it("is refused when it took less than no time", function()
      assert_refused("more time has passed there than here", { transmit = ntp.timestamp(NETWORK + 2) })
    end)

    it("is refused when it repeats the last one's timestamp", function()
      client:begin(0, { spacing = 1 })
      client:feed(answer_to(request(0), 0.5), 1)
      local _, message = client:feed(answer_to(request(1), 0.5), 2)
      assert.equal("a timestamp that was seen before", message)
    end)

    it("that is refused three times in a row ends the burst", function()
      client:begin(0, { spacing = 1, spacing_max = 1 })
      for now = 0, 2 do client:feed(answer_to(request(now), now, { leap = 3 }), now) end
      assert.equal("done", (client:poll(10)))
    end)
  end)

  describe("a kiss", function()
    local function kiss(code, now)
      client:begin(now)
      local id = string.unpack(">I4", code)
      return client:feed(answer_to(request(now), now, { stratum = 0, leap = 3, reference_id = id }), now)
    end

    it("of death ends it for ever", function()
      for _, code in ipairs { "DENY", "RSTR" } do
        client = ntp.client()
        assert.same({ "kiss", code, math.huge }, { kiss(code, 0) })
        assert.equal("done", (client:poll(1)))
        assert.is_false(client:begin(1e9))
        assert.equal("done", (client:poll(1e9)))
      end
    end)

    it("to slow down is obeyed, each time longer", function()
      assert.same({ "kiss", "RATE", 64.0 }, { kiss("RATE", 0) })
      assert.is_false(client:begin(63))
      assert.is_true(client:begin(64))
      assert.same({ "kiss", "RATE", 64 + 128.0 }, { kiss("RATE", 64) })
    end)

    it("of another sort is a refusal", function()
      assert.same({ nil, "the server has no time to give", "EBADMSG" }, { kiss("INIT", 0) })
      assert.same({ nil, "the server has no time to give", "EBADMSG" }, { kiss("\0\1\255\n", 0) })
    end)

    it("does not count without our random bits", function()
      client:begin(0)
      request(0)
      local id = string.unpack(">I4", "DENY")
      assert.is_nil((client:feed(ntp.encode { stratum = 0, reference_id = id, origin = 5 }, 0)))
      assert.is_true(client:begin(1))
    end)
  end)

  describe("estimate()", function()
    before_each(function()
      client:begin(0, { count = 100, spacing = 1, spacing_max = 1 })
    end)

    it("is nil before the first sample", function()
      assert.is_nil(client:estimate(0))
    end)

    it("joins the shortest ways of all samples", function()
      sample(0, 0.020, 0.120)
      sample(1, 0.090, 0.020)
      sample(2, 0.150, 0.150)
      local found = client:estimate(2)
      assert.equal(3, found.samples)
      assert.near(NETWORK, found.offset, 2e-4)
      assert.near(0.020, found.bound, 2e-4)
      assert.near(0.110, found.delay, 1e-6)
    end)

    it("never leaves out the truth, by its bound", function()
      for now = 0, 19 do
        sample(now, math.random() / 4, math.random() / 4)
        local found = client:estimate(now + 1)
        assert.is_true(math.abs(found.offset - NETWORK) <= found.bound)
      end
    end)

    it("keeps eight samples", function()
      for now = 0, 9 do sample(now, now < 2 and 0.001 or 0.1, 0.1) end
      assert.equal(8, client:estimate(10).samples)
      assert.near(0.1, client:estimate(10).bound, 2e-3)
    end)

    it("is less sure as time passes", function()
      sample(0, 0.01, 0.01)
      assert.near(client:estimate(0).bound + 50e-6 * 1000, client:estimate(1000).bound, 1e-5)
    end)

    it("forgets what a clock that was set has made wrong", function()
      for now = 0, 3 do sample(now, 0.01, 0.01) end
      for now = 4, 5 do
        client:feed(answer_to(request(now), now + 5.01), now + 0.02)
      end
      local found = client:estimate(5)
      assert.equal(2, found.samples)
      assert.near(NETWORK + 5, found.offset, 1e-3)
    end)
  end)

  it("says what it is", function()
    assert.matches("^ntp client %(idle, 0 samples%): ", tostring(client))
  end)
end)

describe("core.ntp.select()", function()
  local function select(...)
    local list = {}
    for i, pair in ipairs { ... } do list[i] = { offset = pair[1], bound = pair[2] } end
    return ntp.select(list)
  end

  it("takes one server's word", function()
    local found = select { 5, 0.1 }
    assert.same({ 5.0, 0.1, 1, { true } }, { found.offset, found.bound, found.servers, found.agrees })
  end)

  it("weighs those that agree", function()
    local found = select({ 10, 0.1 }, { 10.06, 0.2 })
    assert.near(10.02, found.offset, 1e-9)
    assert.near(0.12, found.bound, 1e-9)
    assert.equal(2, found.servers)
  end)

  it("outvotes one liar among three", function()
    for liar = 1, 3 do
      local list = { { 10, 0.01 }, { 10.001, 0.01 }, { 10.002, 0.01 } }
      list[liar] = { 9.5, 0.001 }
      local found = select(table.unpack(list))
      assert.equal(2, found.servers)
      assert.is_false(found.agrees[liar])
      assert.near(10.001, found.offset, 2e-3)
    end
  end)

  it("outvotes two liars among five", function()
    local found = select({ 10, 0.01 }, { 99, 0.01 }, { 10, 0.02 }, { -3, 0.01 }, { 10.005, 0.01 })
    assert.same({ true, false, true, false, true }, found.agrees)
  end)

  it("is not fooled by a liar that admits to be unsure", function()
    local found = select({ 10, 0.01 }, { 10.4, 0.5 }, { 10.001, 0.01 })
    assert.near(10, found.offset, 2e-3)
    assert.equal(2, found.servers)
  end)

  it("lets servers differ by a little more than they admit", function()
    local found = select({ 10, 1e-5 }, { 10.001, 1e-5 })
    assert.equal(2, found.servers)
    assert.is_true(found.bound >= 0.0005)
  end)

  it("finds no majority where there is none", function()
    for _, list in ipairs { {}, { { 1, 0.1 }, { 2, 0.1 } }, { { 1, 0.1 }, { 2, 0.1 }, { 3, 0.1 } },
      { { 1, 0.1 }, { 1, 0.1 }, { 2, 0.1 }, { 2, 0.1 } } } do
      local found, message, code = select(table.unpack(list))
      assert.is_nil(found)
      assert.equal("no majority of the servers agrees", message)
      assert.equal("ENOMSG", code)
    end
  end)

  it("refuses what is no list of intervals", function()
    assert.has_error(function() ntp.select { 5 } end)
    assert.has_error(function() ntp.select { { offset = 1 } } end)
    assert.has_error(function() ntp.select { { offset = 0 / 0, bound = 1 } } end)
    local many = {}
    for i = 1, 17 do many[i] = { offset = 0, bound = 1 } end
    assert.has_error(function() ntp.select(many) end)
  end)
end)
