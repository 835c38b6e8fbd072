local core = require "p2pd.core"
local helper = require "spec.helper"
local ntp = require "p2pd.ntp"
local ntp_servers = require "spec.ntp_servers"

local QUICK = { count = 3, spacing = 0.002, spacing_max = 0.002, timeout = 0.05 }
local LIE = 30 -- seconds

-- By how much network time is ahead of the system's clock, which the real servers serve.
local function ahead(result)
  return result.offset + core.clock.boottime() - core.clock.realtime()
end

describe("p2pd.ntp", function()
  teardown(helper.close_all)

  local function measure(servers, options)
    local survey = ntp.survey(servers)
    local result, message, code = survey:measure(options or QUICK)
    return result, message, code, survey
  end

  local function describe_server(server)
    return { host = server.host, port = server.port }
  end

  local function closed_port()
    local socket <close> = assert(core.udp.bind { ip = "127.0.0.1" })
    local host, port = socket:getsockname()
    return { host = host, port = port }
  end

  describe("measure()", function()
    it("finds the time of a real server, within its bound", helper.task(function()
      local server <close> = helper.chronyd()
      local result = assert(measure { server })
      assert.is_true(math.abs(ahead(result)) <= result.bound + 1e-5)
      assert.is_true(result.bound < 0.5)
      assert.same({ 1, 1 }, { result.servers, result.asked })
    end))

    it("works over IPv6 and by name", helper.task(function()
      local server <close> = helper.chronyd { host6 = "::1" }
      assert.equal(1, assert(measure { { host = server.host6, port = server.port } }).servers)
      assert.equal(1, assert(measure { { host = "localhost", port = server.port } }).servers)
    end))

    it("asks each server as often as wanted", helper.task(function()
      local server <close> = ntp_servers.ahead(0)
      measure({ server }, { count = 5, spacing = 0.001, spacing_max = 0.001 })
      assert.equal(5, server.asked)
    end))

    it("outvotes a server that lies", helper.task(function()
      local good <close> = helper.chronyd()
      local other <close> = helper.chronyd()
      local liar <close> = ntp_servers.ahead(LIE)
      for _, list in ipairs { { liar, good, other }, { good, liar, other }, { good, other, liar } } do
        local result = assert(measure(list))
        assert.equal(2, result.servers)
        assert.is_true(math.abs(ahead(result)) <= result.bound + 1e-5)
      end
    end))

    it("believes nobody when two disagree", helper.task(function()
      local good <close> = helper.chronyd()
      local liar <close> = ntp_servers.ahead(LIE)
      local result, message, code = measure { good, liar }
      assert.is_nil(result)
      assert.matches("no majority", message)
      assert.equal("ENOMSG", code)
    end))

    it("has a first result before a dead server is given up", helper.task(function()
      local good <close> = ntp_servers.ahead(0)
      local mute <close> = ntp_servers.new(function() end)
      local early
      local function on_update(found)
        early = early or { found = found, mute = mute.asked }
      end
      local options = { count = 1, timeout = 0.3, spacing = 0.1, on_update = on_update }
      local result = assert(measure({ mute, good }, options))
      assert.is_true(early.mute < 3)
      assert.equal(3, mute.asked)
      assert.equal(1, early.found.servers)
      assert.equal(1, result.servers)
    end))

    it("has no result of a liar's before the majority is known", helper.task(function()
      local liar <close> = ntp_servers.ahead(LIE)
      local good <close> = helper.chronyd()
      local other <close> = helper.chronyd()
      local seen = {}
      local function on_update(found)
        seen[#seen + 1] = math.abs(ahead(found)) < 1
      end
      measure({ liar, good, other },
        { count = 3, spacing = 0.002, spacing_max = 0.002, grace = 10, on_update = on_update })
      assert.is_true(#seen > 0)
      for _, honest in ipairs(seen) do assert.is_true(honest) end
    end))

    it("notices at once that nobody listens", helper.task(function()
      local result, message, code = measure({ closed_port() }, { timeout = 100 })
      assert.is_nil(result)
      assert.matches("refused", message)
      assert.equal("ECONNREFUSED", code)
    end))

    it("gives each server's reason", helper.task(function()
      local unsynchronised <close> = ntp_servers.new(function(request)
        return ntp_servers.answer(request, { leap = 3 })
      end)
      local mute <close> = ntp_servers.new(function() end)
      local _, message = measure { unsynchronised, mute, { host = "not.a.name.invalid", port = 123 } }
      assert.matches("port " .. unsynchronised.port .. ": the server is not synchronised", message)
      assert.matches("port " .. mute.port .. ": timed out", message)
      assert.matches("not.a.name.invalid port 123: resolve", message)
    end))

    it("skips garbage", helper.task(function()
      local junk = { "", "x", ("\xff"):rep(48), ("\0"):rep(500) }
      local noisy
      noisy = ntp_servers.new(function(request, n)
        if n % 5 ~= 0 then return junk[n % 5] end
        return ntp_servers.answer(request)
      end)
      local _ <close> = noisy
      local result = assert(measure({ noisy }, { count = 1, timeout = 0.02, spacing = 0.001 })
        or measure({ noisy }, { count = 1, timeout = 0.02, spacing = 0.001 }))
      assert.equal(1, result.servers)
    end))

    it("skips answers that others send", helper.task(function()
      local other <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      local server <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      local host, port = server:getsockname()
      local _ <close> = core.task.spawn(function()
        local data, from_ip, from_port = server:recvfrom()
        local request = core.ntp.decode(data)
        other:sendto(core.ntp.encode(ntp_servers.answer(request, nil, LIE)), from_ip, from_port)
        server:sendto(core.ntp.encode(ntp_servers.answer(request)), from_ip, from_port)
      end)
      local result = assert(measure({ { host = host, port = port } }, { count = 1 }))
      assert.is_true(math.abs(ahead(result)) < 1)
    end))

    it("leaves a server in peace that wants it", helper.task(function()
      local deny = string.unpack(">I4", "DENY")
      local server <close> = ntp_servers.new(function(request)
        return ntp_servers.answer(request, { stratum = 0, reference_id = deny })
      end)
      local result, message, code, survey = measure { server }
      assert.is_nil(result)
      assert.matches("does not want to be asked %(DENY%)", message)
      assert.equal("EACCES", code)
      survey:measure(QUICK)
      assert.equal(1, server.asked)
    end))

    it("tells servers apart that refuse, are busy, or silent", helper.task(function()
      local function kiss(name)
        return function(request)
          return ntp_servers.answer(request, { stratum = 0, reference_id = string.unpack(">I4", name) })
        end
      end
      local busy <close> = ntp_servers.new(kiss "RATE")
      local restricted <close> = ntp_servers.new(kiss "RSTR")
      local mute <close> = ntp_servers.new(function() end)
      local nobody = { host = "127.0.0.1", port = helper.free_port() }
      assert.equal("EBUSY", (select(3, measure { busy })))
      assert.equal("EACCES", (select(3, measure { restricted })))
      assert.equal("ECONNREFUSED", (select(3, measure { nobody })))
      assert.equal("EBUSY", (select(3, measure { busy, nobody })))
      assert.equal("ETIMEDOUT", (select(3, measure { busy, mute })))
    end))

    it("keeps what it had before a server asked to slow down", helper.task(function()
      local rate = string.unpack(">I4", "RATE")
      local server <close> = ntp_servers.new(function(request, n)
        return ntp_servers.answer(request, n > 1 and { stratum = 0, reference_id = rate } or nil)
      end)
      assert.equal(1, assert(measure { server }).servers)
      assert.equal(2, server.asked)
    end))

    it("can be cut off", helper.task(function()
      local mute <close> = ntp_servers.new(function() end)
      local cut <close> = core.task.spawn(measure, { mute }, { timeout = 100 })
      local _, _, code = cut:join(0.01)
      assert.equal("ETIMEDOUT", code)
    end))

    it("remembers samples of earlier bursts", helper.task(function()
      local server <close> = ntp_servers.ahead(0)
      local survey = ntp.survey { server }
      assert.is_false(survey:heard_since(0))
      assert(survey:measure(QUICK))
      assert.is_true(survey:heard_since(0))
      server:close()
      local now = core.clock.boottime()
      assert.equal(1, assert(survey:measure(QUICK)).servers)
      assert.is_false(survey:heard_since(now))
    end))
  end)

  describe("survey()", function()
    it("takes the first sixteen servers", function()
      local many = {}
      for i = 1, 20 do many[i] = describe_server { host = "127.0.0.1", port = i } end
      assert.equal("ntp survey of 16 servers", tostring(ntp.survey(many)))
    end)

    it("of no servers finds nothing", helper.task(function()
      local result, message, code = measure {}
      assert.same({ nil, "no NTP server answered", "ETIMEDOUT" }, { result, message, code })
    end))
  end)
end)
