--- p2pd: one pipe between two programs, wherever they sit.
--
-- `p2pd.run`, `p2pd.spawn`, `p2pd.sleep`, `p2pd.step`, `p2pd.race`, `p2pd.all`, `p2pd.timeout` and
-- `p2pd.condition` are those of @{p2pd.task}, `p2pd.after` and `p2pd.every` those of @{p2pd.timer}.
-- `p2pd.stdin` and `p2pd.stdout` are streams, see @{p2pd.standard}; `p2pd.VERSION` is a string.
-- @module p2pd
-- @usage
-- local p2pd = require "p2pd"
-- p2pd.run(function()
--   local node <close> = assert(p2pd.node { name = "alice" })
--   print(node.address)
-- end)
local standard = require "p2pd.standard"
local task = require "p2pd.task"
local timer = require "p2pd.timer"

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
  after = timer.after,
  every = timer.every,
}

local function module(name)
  return function() return require(name) end
end

-- What is loaded when it is used first: who only waits needs no node.
local PARTS = {
  --- A function that starts a node; see @{p2pd.node}.
  node = function() return require("p2pd.node").new end,

  --- Peer addresses: `parse` and `format`; see @{p2pd.address}.
  address = module "p2pd.address",

  --- Codes to read out, by which two nodes find each other; see @{p2pd.code}.
  code = module "p2pd.code",

  --- Files and folders over a pipe; see @{p2pd.transfer}.
  transfer = module "p2pd.transfer",

  --- Network time; see @{p2pd.clock}.
  clock = module "p2pd.clock",

  --- Names for peers; see @{p2pd.contacts}.
  contacts = module "p2pd.contacts",

  --- The connection policies; see @{p2pd.policy}.
  policy = module "p2pd.policy",

  --- Other programs; see @{p2pd.process}.
  process = module "p2pd.process",

  --- TCP and unix sockets: `connect` and `listen`; see @{p2pd.tcp}.
  tcp = module "p2pd.tcp",

  stdin = standard.input,
  stdout = standard.output,
}

local IS_ASKED_AGAIN = { stdin = true, stdout = true } -- the output is flushed each time

standard.watch_input()

local names = {}
for _, part in ipairs { p2pd, PARTS } do
  for name in pairs(part) do names[#names + 1] = name end
end

local function load_part(_, name)
  local value = PARTS[name] and PARTS[name]()
  if not IS_ASKED_AGAIN[name] then p2pd[name] = value end
  return value
end

return setmetatable(p2pd, { __name = "p2pd", __dir = names, __index = load_part })
