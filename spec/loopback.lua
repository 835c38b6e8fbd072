--- What specs of nodes share: a broker on loopback, nodes that use it, and a quiet log.
local core = require "p2pd.core"
local address = require "p2pd.address"
local helper = require "spec.helper"
local p2pd = require "p2pd"

local loopback = {}
loopback.__index = loopback

--- Prepares a `describe` block: `local world = loopback.new(setup, teardown)`.
-- @tparam function setup busted's, of that block
-- @tparam function teardown
-- @tparam[opt] table options `stun`: whether the nodes have a STUN server, too
-- @treturn loopback `broker`, `stun`, `settings` and `path` (of their file) are there once setup has run
function loopback.new(setup, teardown, options)
  local self = setmetatable({}, loopback)
  setup(function()
    self.level = core.log.level()
    core.log.level "error"
    self.broker = helper.mosquitto {}
    self.stun = options and options.stun and helper.coturn {} or nil
    self.path, self.settings = helper.settings { brokers = { self.broker }, stuns = { self.stun } }
  end)
  teardown(function()
    core.log.level(self.level)
    helper.close_all()
  end)
  return self
end

--- Options of a node that tells its peers why it refuses: it knows them all.
loopback.ALLOWING = { allow = function() return true end }

--- Starts a node.
-- @tparam[opt] table options as for p2pd.node
-- @return as p2pd.node
function loopback:try_start(options)
  local given = { settings = self.settings, interfaces = { "lo" } }
  for key, value in pairs(options or {}) do given[key] = value end
  return p2pd.node(given)
end

--- Starts a node, or fails.
-- @tparam[opt] table options as for p2pd.node
-- @treturn node
function loopback:start(options)
  return assert(self:try_start(options))
end

--- Starts a node that waits for nothing, and asks no router.
-- @tparam[opt] table options as for p2pd.node
function loopback:start_in_background(options)
  local given = { background = true, port_mapping = false }
  for key, value in pairs(options or {}) do given[key] = value end
  return self:start(given)
end

--- Settings with this world's broker, and with TURN servers.
-- @param ... entries of `turn`
-- @treturn table
function loopback:settings_with(...)
  return (select(2, helper.settings { brokers = { self.broker }, turn = { ... } }))
end

local function value_of(options)
  if type(options) == "function" then return options() end
  return options
end

--- A spec with two nodes, alice and bob.
-- @tparam function fn
-- @tparam[opt] table|function options of both, or what returns them when setup has run
-- @tparam[opt=options] table|function others bob's, when they are others
-- @treturn function for `it`
function loopback:pair(fn, options, others)
  return helper.task(function()
    local alice <close> = self:start(value_of(options))
    local bob <close> = self:start(value_of(others or options))
    fn(alice, bob)
  end)
end

--- From now on a node says that it listens at another port.
-- @treturn string the address that it tells
function loopback.pretend(node, port)
  local own = address.parse(node.address)
  own.ipv6, own.ipv4[1].port = {}, port
  local text = address.format(own)
  node.signal.address = function() return text end
  return text
end

return loopback
