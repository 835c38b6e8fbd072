--- p2pd: one pipe between two programs, wherever they sit.
--
-- `p2pd.run`, `p2pd.spawn`, `p2pd.sleep`, `p2pd.step`, `p2pd.race`, `p2pd.all`, `p2pd.timeout` and
-- `p2pd.condition` are those of @{p2pd.task}; `p2pd.VERSION` is a string.
-- @module p2pd
-- @usage
-- local p2pd = require "p2pd"
-- p2pd.run(function()
--   local node <close> = assert(p2pd.node { name = "alice" })
--   print(node.address)
-- end)
local task = require "p2pd.task"

local p2pd = {
  VERSION = require "p2pd.version",

  run = task.run,
  spawn = task.spawn,
  sleep = task.sleep,
  step = task.step,
  race = task.race,
  all = task.all,
  timeout = task.timeout,
  condition = task.condition,

  --- A function that starts a node; see @{p2pd.node}.
  node = require("p2pd.node").new,

  --- Peer addresses: `parse` and `format`; see @{p2pd.address}.
  address = require "p2pd.address",

  --- Codes to read out, by which two nodes find each other; see @{p2pd.code}.
  code = require "p2pd.code",

  --- Files and folders over a pipe; see @{p2pd.transfer}.
  transfer = require "p2pd.transfer",

  --- Network time; see @{p2pd.clock}.
  clock = require "p2pd.clock",

  --- The connection policies; see @{p2pd.policy}.
  policy = require "p2pd.policy",
}

return p2pd
