local cli = require "p2pd.cli"
local helper = require "spec.helper"
local ping = require "p2pd.cli.ping"
local task = helper.task

-- What a function prints, with its times as T; and what it returns.
local function listen(fn, ...)
  local said, real = {}, cli.print
  cli.print = function(line) said[#said + 1] = line:gsub("%d+%.%d+[%d./]* ms", "T") end
  local results = table.pack(pcall(fn, ...))
  cli.print = real
  assert(results[1], results[2])
  return said, table.unpack(results, 2, results.n)
end

-- A pipe whose n-th answer is as the list says: an echo, or { reason, code }.
local function pipe(answers, info)
  local n, one = 0, { strategy = "direct", limits = {} }
  function one.info() return info or { strategy = "direct", remote = "192.0.2.1:4", rtt = 0.002 } end
  function one:settimeout(seconds) table.insert(self.limits, seconds) end
  function one:write(line)
    n, self.last = n + 1, line
    return true
  end
  function one:read()
    local answer = answers[n] or "echo"
    if answer == "echo" then return self.last end
    if type(answer) == "string" then
      answers[n] = "echo"
      return answer
    end
    return nil, table.unpack(answer)
  end
  return one
end

local LATE, REFUSED, GONE = { "read: timed out", "ETIMEDOUT" }, { "read: refused by the peer: no", "EACCES" },
  { "read: the peer vanished", "ECONNRESET" }
local ARGS = { count = 2, interval = 0.001, timeout = 7 }

describe("p2pd.cli.ping", function()
  describe("signalling()", function()
    local function node(failing)
      local one = { asked = {} }
      function one:echo(_, data, timeout)
        table.insert(self.asked, { data, timeout })
        if #self.asked == failing then return nil, "the peer does not answer" end
        return data, 0.012
      end
      return one
    end

    it("tells each and their sum", function()
      local one = node()
      assert.same({ { "signalling 1: T", "signalling 2: T",
        "signalling: 2 sent, 0 lost, min/avg/max T" }, true },
        { listen(ping.signalling, one, "ADDRESS", ARGS) })
      assert.same({ { "ping 1", 7 }, { "ping 2", 7 } }, one.asked)
    end)

    it("does three when no count is given, and ends with the first that fails", function()
      assert.equal(4, #listen(ping.signalling, node(), "ADDRESS", {}))
      assert.same({ { "signalling 1: T", "signalling 2: the peer does not answer" }, false },
        { listen(ping.signalling, node(2), "ADDRESS", {}) })
    end)
  end)

  describe("pipe()", function()
    it("ends when the peer has vanished, which is a timeout, too", task(function()
      local vanished = { "write: the peer vanished: no path for 60 s", "ETIMEDOUT" }
      assert.same({ { "pipe: direct to 192.0.2.1:4", "pipe 1: T", "pipe 2: no answer in time",
        "pipe 3: the peer vanished: no path for 60 s", "pipe: 3 sent, 2 lost, min/avg/max T" }, false },
        { listen(ping.pipe, pipe { "echo", LATE, vanished }, { count = 9, interval = 0.001, timeout = 7 }) })
    end))

    it("tells each and their sum; the first has a second, in case the peer does not echo", task(function()
      local one = pipe {}
      assert.same({ { "pipe: direct to 192.0.2.1:4", "pipe 1: T", "pipe 2: T",
        "pipe: 2 sent, 0 lost, min/avg/max T" }, true }, { listen(ping.pipe, one, ARGS) })
      assert.same({ 1, 7 }, one.limits)
    end))

    it("goes on after an answer that was late, which it passes over", task(function()
      assert.same({ { "pipe: direct to 192.0.2.1:4", "pipe 1: T", "pipe 2: no answer in time", "pipe 3: T",
        "pipe: 3 sent, 1 lost, min/avg/max T" }, true },
        { listen(ping.pipe, pipe { "echo", LATE, "ping 2" }, { count = 3, interval = 0.001, timeout = 7 }) })
    end))

    it("has the kernel's measure of a peer that does not echo", task(function()
      assert.same({ { "pipe: direct to 192.0.2.1:4",
        "pipe: T by the kernel's measure (the peer does not echo)" }, true },
        { listen(ping.pipe, pipe { LATE }, ARGS) })
    end))

    it("ends when the peer refuses or vanishes", task(function()
      assert.same({ { "pipe: direct to 192.0.2.1:4", "pipe: refused by the peer: no" }, false },
        { listen(ping.pipe, pipe { REFUSED }, ARGS) })
      assert.same({ { "pipe: direct to 192.0.2.1:4", "pipe 1: T", "pipe 2: the peer vanished",
        "pipe: 2 sent, 1 lost, min/avg/max T" }, false }, { listen(ping.pipe, pipe { "echo", GONE }, ARGS) })
    end))

    it("tells when the path changes", task(function()
      local info = { strategy = "relay", remote = "192.0.2.9:5" }
      local one = pipe({}, info)
      local write = one.write
      function one:write(...)
        if self.last then info.strategy = "punch" end
        return write(self, ...)
      end
      local said = listen(ping.pipe, one, ARGS)
      assert.equal("pipe: now punch to 192.0.2.9:5 (was relay to 192.0.2.9:5)", said[4])
    end))
  end)
end)
