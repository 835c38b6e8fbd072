local classify = require "p2pd.nat.classify"
local core = require "p2pd.core"
local helper = require "spec.helper"
local nat = require "p2pd.nat"
local stuns = require "spec.stuns"
local task = helper.task

local INDEPENDENT, ADDRESS, PORT = table.unpack(nat.BEHAVIOURS)
local PATIENCE = 10 -- seconds: what has to end by itself does so long before

local function resolve(host)
  if host == "nowhere" then return nil, "no IPv4 address", "ENOENT" end
  return { host }
end

local function run(servers, options)
  local entries = {}
  for i, server in ipairs(servers) do entries[i] = server.entry or server end
  local given = { ip = "127.0.0.1", family = "ipv4", servers = entries, resolve = resolve,
    timeout = PATIENCE }
  for key, value in pairs(options or {}) do given[key] = value end
  return assert(classify.run(given))
end

local function words(result)
  return ("%s, %s %d"):format(nat.TYPES[result.type], nat.DELTAS[result.delta], result.value)
end

-- A NAT of that kind before a script's server.
local function behind(dependence, allot, script)
  script = script or {}
  script.mapped = stuns.nat(dependence, allot)
  return stuns.open(script)
end

local equal, independent, random = stuns.allot.equal, stuns.allot.independent, stuns.allot.random

describe("p2pd.nat.classify", function()
  teardown(helper.close_all)

  describe("run()", function()
    it("finds no NAT with a real server", task(function()
      local coturn = helper.coturn()
      local result = run { { host = coturn.host, port = coturn.port, behaviour = true } }
      assert.equal("open internet, not applicable 0", words(result))
      assert.same({ INDEPENDENT, INDEPENDENT, INDEPENDENT, "127.0.0.1" },
        { result.mapping, result.filtering, result.tcp_mapping, result.external })
      assert.same({}, result.missing)
      coturn:stop()
    end))

    local CASES = {
      { "symmetric UDP firewall, not applicable 0", nil, nil, "port", INDEPENDENT, PORT },
      { "full cone, equal 0", "none", equal(), "none", INDEPENDENT, INDEPENDENT },
      { "address-restricted, equal 0", "none", equal(), "address", INDEPENDENT, ADDRESS },
      { "port-restricted, equal 0", "none", equal(), "port", INDEPENDENT, PORT },
      { "port-restricted, preserving 0", "none", stuns.allot.preserving(), "port", INDEPENDENT, PORT },
      { "port-restricted, independent 1", "none", independent(1), "port", INDEPENDENT, PORT },
      { "port-restricted, independent -3", "none", independent(-3), "port", INDEPENDENT, PORT },
      { "port-restricted, dependent 2", "none", stuns.allot.dependent(2), "port", INDEPENDENT, PORT },
      { "full cone, random 0", "none", random(), "none", INDEPENDENT, INDEPENDENT },
      { "symmetric, random 0", "port", random(), "port", PORT, PORT },
      { "symmetric, independent 1", "port", independent(1), "port", PORT, PORT },
      { "symmetric, random 0", "address", random(), "address", ADDRESS, ADDRESS },
    }
    for _, case in ipairs(CASES) do
      local expected, dependence, allot, filter, mapping, filtering = table.unpack(case, 1, 6)
      it(("finds %s (%s mapping)"):format(expected, mapping), task(function()
        local mapped = dependence and stuns.nat(dependence, allot) or stuns.open_internet
        local server <close> = stuns.open { mapped = mapped, filter = filter }
        local result = run { server }
        assert.equal(expected, words(result))
        assert.same({ mapping, filtering, mapping }, { result.mapping, result.filtering, result.tcp_mapping })
        assert.same({}, result.missing)
        assert.is_nil(result.reason)
      end))
    end

    it("keeps the mappings of TCP apart from those of UDP", task(function()
      local udp, tcp = stuns.nat("none", equal()), stuns.nat("port", independent(2))
      local server <close> = stuns.open {
        mapped = function(kind, ...) return (kind == "udp" and udp or tcp)(kind, ...) end,
      }
      local result = run { server }
      assert.equal("port-restricted, independent 2", words(result))
      assert.same({ INDEPENDENT, PORT }, { result.mapping, result.tcp_mapping })
    end))

    it("finds it although a third of the datagrams is lost", task(function()
      local count = 0
      local server <close> = behind("none", equal(), {
        filter = "address",
        reply = function()
          count = count + 1
          return count % 3 == 1
        end,
      })
      assert.equal("address-restricted, equal 0", words(run { server }))
    end))

    describe("with servers that can't tell", function()
      it("says that it does not know the filter without RFC 5780", task(function()
        local mapped = stuns.nat("none", equal())
        local one <close> = stuns.open { mapped = mapped, behaviour = false }
        local two <close> = stuns.open { mapped = mapped, behaviour = false, net = 2 }
        local result = run { one, two }
        assert.equal("port-restricted, equal 0", words(result))
        assert.same({ INDEPENDENT, nil }, { result.mapping, result.filtering })
        assert.matches("RFC 5780", result.missing[1])
      end))

      it("promises nothing when one address answered", task(function()
        local server <close> = behind("none", equal(), { behaviour = false })
        local result = run { server }
        assert.equal("symmetric, equal 0", words(result))
        assert.is_nil(result.mapping)
        assert.matches("only one server address", table.concat(result.missing, "; "))
      end))

      it("does not take a server that ignores CHANGE-REQUEST for a filter", task(function()
        local server <close> = behind("none", equal(), { ignores_change = true })
        local result = run { server }
        assert.is_nil(result.filtering)
        assert.equal("port-restricted, equal 0", words(result))
      end))

      it("asks no address that a server has no business with", task(function()
        local victim <close> = assert(core.udp.bind { ip = "127.0.0.9" })
        local _, port = victim:getsockname()
        for _, other in ipairs { { ip = "10.0.0.1", port = 1 }, { ip = "224.0.0.1", port = 1 },
          { ip = "127.0.1.1", port = port }, { ip = "127.0.0.9", port = 0 } } do
          local server <close> = behind("none", equal(), { other = other })
          assert.is_nil(run({ server }).filtering)
        end
      end))

      it("takes the delta of UDP when none answers over TCP", task(function()
        local server <close> = behind("none", independent(3), { tcp = false })
        local result = run { server }
        assert.equal("port-restricted, independent 3", words(result))
        assert.matches("delta is that of UDP", table.concat(result.missing, "; "))
        assert.is_nil(result.tcp_mapping)
      end))

      it("knows the rule of ports where UDP is blocked", task(function()
        local server <close> = behind("none", independent(1), { reply = function() return true end })
        local result = run { server }
        assert.equal("blocked, independent 1", words(result))
        assert.same({ nil, INDEPENDENT, stuns.OUTSIDE },
          { result.mapping, result.tcp_mapping, result.external })
        assert.matches("^UDP is blocked", result.reason)
        assert.matches("UDP is not known", result.missing[1])
      end))

      it("is blocked, with the reasons, when nobody answers", task(function()
        local socket <close> = assert(core.udp.bind { ip = "127.0.0.1" })
        local _, port = socket:getsockname()
        local result = run({ { host = "127.0.0.1", port = port }, { host = "nowhere", port = 1 } },
          { timeout = 0.3 })
        assert.equal("blocked, not applicable 0", words(result))
        assert.is_nil(result.external)
        assert.matches("no STUN server answered: .*127.0.0.1:%d+ by TCP: .*refused", result.reason)
        assert.not_matches("nowhere", result.reason)
      end))

      it("is not blocked when a server answers, but wants credentials", task(function()
        local server <close> = stuns.open { tcp = false, mapped = stuns.open_internet,
          reply = function(self, at, request, ip, port)
            local err = { code = 401, reason = "Unauthorized" }
            local refusal = { class = "error", id = request.id, error = err }
            return self.sockets[at.key]:sendto(core.stun.encode(refusal), ip, port)
          end }
        local result = run({ server.entry }, { timeout = 0.3 })
        assert.equal("symmetric, random 0", words(result))
        assert.matches("no STUN server tells our address: .*error 401 Unauthorized", result.reason)
      end))

      it("ends at once when all refuse", task(function()
        local gone = { host = "127.0.0.1", port = helper.free_port() }
        local result = run({ gone }, { timeout = 1e6 })
        assert.equal("blocked, not applicable 0", words(result))
        assert.matches("by UDP: .*refused", result.reason)
      end))
    end)

    describe("with many servers", function()
      local function many(n, more)
        local list = {}
        for i = 1, n do
          local script = { net = i, mapped = stuns.open_internet, filter = "none" }
          for key, value in pairs(more or {}) do script[key] = value end
          list[i] = stuns.open(script)
        end
        return setmetatable(list, { __close = function() for _, one in ipairs(list) do one:close() end end })
      end

      local function entries(list)
        local result = {}
        for i, one in ipairs(list) do result[i] = one.entry end
        return result
      end

      local function count_asked(list)
        local n = 0
        for _, one in ipairs(list) do n = n + (one.asked > 0 and 1 or 0) end
        return n
      end

      it("asks a few of them", task(function()
        local all <close> = many(8)
        assert.equal("open internet, not applicable 0", words(run(entries(all))))
        assert.equal(4, count_asked(all))
      end))

      it("asks the rest when those are silent", task(function()
        local alive <close> = many(1)
        local list = entries(alive)
        list[1].behaviour = nil
        for i = 2, 9 do list[i] = { host = "127.0.9.9", port = helper.free_port(), behaviour = true } end
        assert.equal("open internet, not applicable 0", words(run(list)))
      end))

      it("asks the rest when none of those tells behaviour", task(function()
        local mute <close> = many(5, { behaviour = false })
        local capable <close> = many(1, { net = 9 })
        local list = entries(mute)
        for _, entry in ipairs(list) do entry.behaviour = true end
        list[6] = capable[1].entry
        list[6].behaviour = nil
        assert.equal("open internet, not applicable 0", words(run(list)))
      end))
    end)

    describe("with dead servers", function()
      it("does not wait for them", task(function()
        local silent <close> = assert(core.udp.bind { ip = "127.0.0.1" })
        local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
        local _, udp = silent:getsockname()
        local _, tcp = listener:getsockname()
        local server <close> = behind("none", equal())
        local result = run({ { host = "127.0.0.1", port = udp }, { host = "127.0.0.1", port = tcp }, server },
          { timeout = 1e6 })
        assert.equal("port-restricted, equal 0", words(result))
      end))
    end)

    it("asks nobody for a hairpin unless it is told to", task(function()
      local server <close> = behind("none", equal())
      assert.is_nil(run({ server }).hairpin)
      assert.is_false(run({ server }, { hairpin = true }).hairpin)
    end))

    it("tells the external address as soon as somebody has", task(function()
      local server <close> = behind("none", equal())
      local told = {}
      local result = run({ server }, { on_external = function(ip) told[#told + 1] = ip end })
      assert.same({ stuns.OUTSIDE }, told)
      assert.equal(stuns.OUTSIDE, result.external)
    end))

    it("compares servers that have no other address by their own", task(function()
      local mapped = stuns.nat("port", random())
      local one <close> = stuns.open { mapped = mapped, behaviour = false }
      local two <close> = stuns.open { mapped = mapped, behaviour = false, net = 2 }
      local result = run { one, two }
      assert.equal(nat.TYPES.symmetric, result.type)
      assert.equal(PORT, result.tcp_mapping)
    end))

    describe("with liars", function()
      -- Three servers before one NAT; the first one lies.
      local function with_liar(lie, script, allot)
        local honest = stuns.nat("none", (allot or equal)())
        script = script or {}
        script.mapped = function(...) return lie(honest(...)) end
        local liar <close> = stuns.open(script)
        local two <close> = stuns.open { mapped = honest, net = 2, filter = "address" }
        local three <close> = stuns.open { mapped = honest, net = 3, filter = "address" }
        return run { liar, two, three }
      end

      it("outvotes one that names another address", task(function()
        local result = with_liar(function(m) return { ip = "127.99.0.1", port = m.port } end)
        assert.equal("address-restricted, equal 0", words(result))
        assert.equal(stuns.OUTSIDE, result.external)
      end))

      it("outvotes one that names other ports", task(function()
        local result = with_liar(function() return { ip = stuns.OUTSIDE, port = math.random(1, 65535) } end)
        assert.equal("address-restricted, equal 0", words(result))
        assert.equal(INDEPENDENT, result.mapping)
      end))

      it("outvotes one that sees no NAT", task(function()
        local result = with_liar(function(m) return { ip = "127.0.0.1", port = m.port } end)
        assert.equal("address-restricted, equal 0", words(result))
      end))

      it("does not believe in an address that nobody can have", task(function()
        local result = with_liar(function() return { ip = "224.0.0.1", port = 1 } end)
        assert.equal("address-restricted, equal 0", words(result))
      end))

      it("does not need the one that never sends from elsewhere", task(function()
        local result = with_liar(function(m) return m end, { filter = "port" })
        assert.equal("address-restricted, equal 0", words(result))
      end))
    end)

    describe("with hostile answers", function()
      local ID = "0123456789ab"

      -- What a server that does `act` before it answers rightly makes of a port-restricted NAT.
      local function with_noise(act)
        local server <close> = behind("none", equal(), { reply = function(self, at, request, ip, port)
          act(self, at, request, ip, port)
        end })
        assert.equal("port-restricted, equal 0", words(run { server }))
      end

      local NOISE = {
        ["garbage"] = function(_, request)
          return { "", "junk", ("\0"):rep(3000),
            stuns.success(request, { ip = "127.9.9.9", port = 1 }):sub(1, 21) }
        end,
        ["somebody else's transaction"] = function()
          return { stuns.success({ id = ID }, { ip = "127.9.9.9", port = 1 }) }
        end,
        ["a request"] = function(_, request) return { (core.stun.encode { id = request.id }) } end,
      }
      for name, make in pairs(NOISE) do
        it("skips " .. name, task(function()
          with_noise(function(self, at, request, ip, port)
            for _, data in ipairs(make(self, request)) do self.sockets[at.key]:sendto(data, ip, port) end
          end)
        end))
      end

      it("skips answers from a wrong address", task(function()
        local stranger <close> = assert(core.udp.bind { ip = "127.0.0.8" })
        with_noise(function(_, _, request, ip, port)
          stranger:sendto(stuns.success(request, { ip = "127.9.9.9", port = 1 }), ip, port)
        end)
      end))

      it("skips the second of two answers", task(function()
        with_noise(function(self, at, request, ip, port)
          if request.change then return end
          local data = stuns.success(request, self.mapped("udp", port, at, self), self.other)
          for _ = 1, 2 do self.sockets[at.key]:sendto(data, ip, port) end
        end)
      end))

      it("skips a late answer", task(function()
        local kept = {}
        with_noise(function(self, at, request, ip, port)
          if request.change then return end
          kept[#kept + 1] = { at.key, stuns.success(request, { ip = "127.9.9.9", port = 1 }), ip, port }
          local old = kept[#kept - 1]
          if old then self.sockets[old[1]]:sendto(old[2], old[3], old[4]) end
        end)
      end))

      it("does not believe an address of the wrong family", task(function()
        local server <close> = behind("none", equal(), { reply = function(self, at, request, ip, port)
          self.sockets[at.key]:sendto(stuns.success(request, { ip = "2001:db8::1", port = 1 }), ip, port)
          return true
        end })
        local result = run({ server }, { timeout = 0.5 })
        assert.equal("blocked", nat.TYPES[result.type])
        assert.matches("says that our address is 2001:db8::1", result.reason)
      end))

      it("takes an error response for no answer", task(function()
        local function reply(self, at, request, ip, port)
          self.sockets[at.key]:sendto(core.stun.encode { class = "error", id = request.id,
            error = { code = 500, reason = "Tired" } }, ip, port)
          return true
        end
        local server <close> = behind("none", equal(), { tcp = false, reply = reply })
        assert.matches("error 500 Tired", run({ server }).reason)
      end))
    end)

    it("calls a mapping that changes in the middle unstable", task(function()
      local honest, seen = stuns.nat("none", equal()), {}
      local server <close> = stuns.open { mapped = function(kind, port, at)
        local mapped = honest(kind, port, at)
        local key = kind .. port .. at.key
        seen[key] = (seen[key] or -1) + 1
        return { ip = mapped.ip, port = mapped.port + seen[key] }
      end }
      local result = run { server }
      assert.equal("symmetric, random 0", words(result))
      assert.same({ nat.UNSTABLE, true }, { result.mapping, result.unstable })
      assert.matches("changed its mapping", result.reason)
    end))

    it("says so when the address is not ours", task(function()
      local result, message, code = classify.run { ip = "192.0.2.1", family = "ipv4", servers = {},
        resolve = resolve }
      assert.is_nil(result)
      assert.matches("192.0.2.1", message)
      assert.equal("EADDRNOTAVAIL", code)
    end))

    it("leaves nothing behind when it is cancelled", task(function()
      local server <close> = behind("none", equal(), { reply = function() return true end })
      local child <close> = core.task.spawn(run, { server })
      while server.connections < 3 do core.task.sleep(0.001) end
      child:cancel()
    end))
  end)
end)
