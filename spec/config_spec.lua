local config = require "p2pd.config"
local core = require "p2pd.core"
local defaults = require "p2pd.settings"
local helper = require "spec.helper"
local lfs = require "lfs"
local scratch = require "p2pd.lab.scratch"

local function write(text)
  return scratch.write(scratch.folder() .. "/settings.lua", text)
end

describe("p2pd.config", function()
  teardown(helper.close_all)

  it("finds nothing wrong with the defaults", function()
    assert.equal(defaults, config.check(defaults))
    for _, kind in ipairs { "mqtt", "stun", "ntp" } do assert.is_true(#defaults[kind] >= 3) end
    assert.same({}, defaults.turn)
  end)

  describe("check()", function()
    local BAD = {
      { "x", 'settings: "x", and not a table of settings' },
      { { mqqt = {} }, 'settings: no setting is called "mqqt"' },
      { { mqtt = 5 }, "settings: mqtt: 5 is not a list" },
      { { silence = "60" }, 'settings: silence: "60" is not a number of seconds' },
      { { silence = 0.5 }, "settings: silence: 0.5 is not 1 to 86400 seconds" },
      { { silence = 0 / 0 }, "settings: silence: nan is not 1 to 86400 seconds" },
      { { mqtt = { host = "a", port = 1 } }, 'settings: mqtt: "host" is no place in a list' },
      { { mqtt = { "a" } }, 'settings: mqtt[1]: "a" is not a table' },
      { { mqtt = { { host = "a", port = 1 }, { host = "b", port = 70000 } } },
        "settings: mqtt[2].port: 70000 is not 1 to 65535" },
      { { stun = { { host = "a", port = 0 } } }, "settings: stun[1].port: 0 is not 1 to 65535" },
      { { stun = { { host = "a", port = "3478" } } }, 'settings: stun[1].port: "3478" is not an integer' },
      { { stun = { { host = "a", port = 3478.5 } } }, "settings: stun[1].port: 3478.5 is not an integer" },
      { { ntp = { { host = "a" } } }, "settings: ntp[1].port: missing" },
      { { ntp = { { port = 123 } } }, "settings: ntp[1].host: missing" },
      { { ntp = { { host = "", port = 123 } } }, "settings: ntp[1].host: empty" },
      { { ntp = { { host = 5, port = 123 } } }, "settings: ntp[1].host: 5 is not a string" },
      { { ntp = { { host = "a b\n", port = 123 } } },
        'settings: ntp[1].host: "a b\\10" is not a host name or an IP address' },
      { { ntp = { { host = ("a"):rep(254), port = 123 } } },
        "settings: ntp[1].host: longer than 253 characters" },
      { { mqtt = { { host = "a", port = 1, tls = "yes" } } },
        'settings: mqtt[1].tls: "yes" is not true or false' },
      { { turn = { { host = "a", port = 1, transport = "sctp" } } },
        'settings: turn[1].transport: "sctp" is not "udp", "tcp" or "tls"' },
      { { turn = { { host = "a", port = 1, user = "a\0" } } }, "settings: turn[1].user: has a NUL byte" },
      { { turn = { { host = "a", port = 1, pass = "x" } } }, "settings: turn[1].user: missing" },
      { { turn = { { host = "a", port = 1, user = "x" } } }, "settings: turn[1].pass: missing" },
      { { mqtt = { { host = "a", port = 1, pass = "x" } } }, "settings: mqtt[1].pass: needs user as well" },
      { { mqtt = { { host = "a", port = 1, ca = "x" } } }, "settings: mqtt[1].ca: needs tls as well" },
      { { mqtt = { { host = "a", port = 1, tls = true, key = "x" } } },
        "settings: mqtt[1].key: needs cert as well" },
      { { mqtt = { { host = "a", port = 1, websocket = "mqtt" } } },
        'settings: mqtt[1].websocket: "mqtt" is not a path' },
      { { mqtt = { { host = "a", port = 1, proxy = true } } },
        "settings: mqtt[1].proxy: true is neither a URL nor false" },
      { { mqtt = { { host = "a", port = 1, proxy = "https://b" } } },
        'settings: mqtt[1].proxy: "https://b": only http:// proxies are known' },
      { { mqtt = { { host = "a", port = 1, prot = 2 } } },
        'settings: mqtt[1]: no field is called "prot"' },
    }
    for _, case in ipairs(BAD) do
      it("says: " .. case[2], function()
        assert.same({ nil, case[2], "EINVAL" }, { config.check(case[1]) })
      end)
    end
  end)

  describe("load()", function()
    it("returns the table of a file", function()
      local path = write 'return { stun = { { host = "127.0.0.1", port = 3478, behaviour = true } } }'
      assert.same({ stun = { { host = "127.0.0.1", port = 3478, behaviour = true } } }, config.load(path))
    end)

    it("names file, list and entry", function()
      local path = write 'return { mqtt = { { host = "a", port = 1 }, { host = "b", port = 70000 } } }'
      local settings, message, code = config.load(path)
      assert.is_nil(settings)
      assert.equal(path .. ": mqtt[2].port: 70000 is not 1 to 65535", message)
      assert.equal("EINVAL", code)
    end)

    it("tells of a file that is not there or cannot be read", function()
      local _, message, code = config.load "/nonexistent/settings.lua"
      assert.matches("^/nonexistent/settings.lua: ", message)
      assert.equal("ENOENT", code)
      _, message, code = config.load "/"
      assert.matches("^/: ", message)
      assert.equal("EIO", code)
    end)

    local BROKEN = {
      ["a syntax error"] = "return {",
      ["an error"] = "error 'no'",
      ["an error that is no string"] = "local t = nil; return t.x",
      ["globals"] = "return os.getenv 'HOME'",
      ["no table"] = "return 1",
      ["nothing"] = "",
      ["an endless loop"] = "while true do end",
    }
    for what, text in pairs(BROKEN) do
      it("refuses a file with " .. what, function()
        local path = write(text)
        local settings, message, code = config.load(path)
        assert.is_nil(settings)
        assert.equal(path, message:sub(1, #path))
        assert.equal("EINVAL", code)
      end)
    end

    it("refuses bytecode and long files", function()
      local settings, message = config.load(write(string.dump(function() return {} end)))
      assert.is_nil(settings)
      assert.matches("binary", message)
      local code
      settings, message, code = config.load(write(("-"):rep(1024 * 1024 + 1)))
      assert.is_nil(settings)
      assert.matches("longer than", message)
      assert.equal("EFBIG", code)
    end)
  end)

  describe("merge()", function()
    it("replaces keys whole and changes neither table", function()
      local base, over = { mqtt = { 1, 2 }, stun = { 3 } }, { mqtt = { 4 } }
      assert.same({ mqtt = { 4 }, stun = { 3 } }, config.merge(base, over))
      assert.same({ mqtt = { 1, 2 }, stun = { 3 } }, base)
      assert.same({ mqtt = { 1, 2 }, stun = { 3 } }, config.merge(base))
    end)
  end)

  describe("resolve()", function()
    local STUN = { { host = "127.0.0.1", port = 3478 } }

    it("takes a table over the defaults", function()
      local settings = assert(config.resolve { stun = STUN })
      assert.same(STUN, settings.stun)
      assert.equal(defaults.mqtt, settings.mqtt)
    end)

    it("takes a path over the defaults", function()
      local settings = assert(config.resolve(write 'return { stun = { { host = "::1", port = 9 } } }'))
      assert.same({ { host = "::1", port = 9 } }, settings.stun)
      assert.equal(defaults.ntp, settings.ntp)
    end)

    it("refuses bad ones", function()
      assert.same({ nil, "settings: 5, and not a table of settings", "EINVAL" }, { config.resolve(5) })
      assert.equal("ENOENT", select(3, config.resolve "/nonexistent"))
    end)

    -- The program that runs these specs: the first word of its command line.
    local function interpreter()
      local first = 0
      while arg[first - 1] do first = first - 1 end
      return arg[first]
    end

    -- What a process with that environment finds first in its `stun` list.
    local function first_stun(environment, given)
      return helper.in_task(function()
        local child <close> = assert(core.process.spawn {
          interpreter(), "-e",
          ('print(require "p2pd.config".resolve(%s).stun[1].host)'):format(given or ""),
          stdout = "pipe",
          env = { P2PD_SETTINGS = environment, LUA_PATH = package.path, LUA_CPATH = package.cpath },
        })
        return child:stdout():read "l"
      end)
    end

    it("lets a file call no method of strings, which nobody could stop", function()
      for _, text in ipairs { '("a"):rep(9)', '("x"):find "y"', '("%d"):format(1)', '#("a").len' } do
        local ok, reason, code = config.load(write("return { mqtt = " .. text .. " }"))
        assert.same({ nil, "EINVAL" }, { ok, code })
        assert.matches("attempt to ", reason)
        assert.equal("aa", ("a"):rep(2))
      end
    end)

    it("stops a file that takes all memory, or for ever", function()
      local _, reason = config.load(write 'local s = "x" while true do s = s .. s end')
      assert.matches("it takes too much memory", reason)
      _, reason = config.load(write "while true do end")
      assert.matches("it does not end", reason)
      assert.equal("a", ("a"):lower())
    end)

    it("reads $P2PD_SETTINGS when nothing is given", function()
      local path = write 'return { stun = { { host = "from.file", port = 1 } } }'
      assert.equal("from.file", first_stun(path))
      assert.equal("given", first_stun(path, '{ stun = { { host = "given", port = 1 } } }'))
      assert.equal(defaults.stun[1].host, first_stun "")
    end)

    it("reads the user's own file when nothing is named", function()
      local folder = helper.scratch()
      local function first_own(environment)
        return helper.in_task(function()
          local child <close> = helper.p2pd { "-e", [[
            local settings, reason, code = require("p2pd.config").resolve()
            io.write(settings and settings.stun[1].host or reason .. code)]],
            env = { XDG_CONFIG_HOME = folder, P2PD_SETTINGS = environment } }
          return child:stdout():read "a"
        end)
      end
      assert.equal(defaults.stun[1].host, first_own "")
      lfs.mkdir(folder .. "/p2pd")
      helper.write(folder .. "/p2pd/settings.lua", 'return { stun = { { host = "own", port = 1 } } }')
      assert.equal("own", first_own "")
      assert.equal("named", first_own(write 'return { stun = { { host = "named", port = 1 } } }'))
      helper.write(folder .. "/p2pd/settings.lua", "return {")
      assert.matches("^/.*settings.lua:1: .*EINVAL$", first_own "")
    end)
  end)
end)
