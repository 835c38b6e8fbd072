--- What an idle node holds in memory: `p2pd node`, ready, with a broker and a STUN server; and with three
-- brokers over TLS, as the default settings have it.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local servers = require "p2pd.lab.servers"
local testbed = require "spec.bench.testbed"

local GOAL_MB, SETTLE_S = 10, 2

local function megabytes(pid, file, field)
  return harness.proc(pid, file, field) * 1024 / 1e6
end

local function measure(what, brokers, stun)
  local node <close> = testbed.node((servers.settings { brokers = brokers, stuns = { stun } }))
  core.task.sleep(SETTLE_S)
  local pid = node:pid()
  local resident = megabytes(pid, "status", "VmRSS")
  local private = megabytes(pid, "smaps_rollup", "Private_Dirty")
    + megabytes(pid, "smaps_rollup", "Private_Clean")
  return {
    what = "resident memory of an idle node, " .. what,
    ours = ("%.1f MB (%.1f heap and the like, %.1f of files; %.1f shared with nobody)"):format(resident,
      megabytes(pid, "status", "RssAnon"), megabytes(pid, "status", "RssFile"), private),
    theirs = "10 MB", ratio = resident / GOAL_MB, goal = "<= 10 MB", met = resident <= GOAL_MB,
  }
end

return function()
  local stun, plain, tls = servers.coturn(), servers.mosquitto(), {}
  for i = 1, 3 do tls[i] = servers.mosquitto { tls = true } end
  local rows = { measure("one plain broker", { plain }, stun), measure("three with TLS", tls, stun) }
  servers.close_all()
  return rows
end
