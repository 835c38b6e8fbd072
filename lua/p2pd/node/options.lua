--- The options of a node and of its dials: what there is, and of which kind; see @{p2pd.options}.
-- @module p2pd.node.options
local accepted = require "p2pd.node.accepted"
local dial = require "p2pd.dial"
local id = require "p2pd.id"
local options = require "p2pd.options"

local known = {}

local function is_id_list(value)
  if type(value) ~= "table" then return false end
  for key, one in pairs(value) do
    if math.type(key) ~= "integer" or not id.is_id(one) then return false end
  end
  return true
end

local function is_protocol_list(value)
  if type(value) ~= "table" then return false end
  for key, one in pairs(value) do
    if math.type(key) ~= "integer" or not accepted.is_protocol(one) then return false end
  end
  return true
end

local IDS = { "a list of node ids", is_id_list }

--- Of `p2pd.node`.
known.NODE = {
  name = options.is_a "string",
  force = options.BOOLEAN,
  key = { "a key", options.is_a("userdata")[2] },
  port = options.PORT,
  interfaces = { "a list of names", options.is_a("table")[2] },
  settings = { "a table or a path", function(value)
    return type(value) == "table" or type(value) == "string"
  end },
  policy = { "the name of a policy, or a function", function(value)
    return (pcall(dial.find_policy, value))
  end },
  strategies = { "a list of strategies", options.is_a("table")[2] },
  protocols = { "a list of protocols' names", is_protocol_list },
  secure = options.BOOLEAN,
  birthday = options.BOOLEAN,
  resume = options.SECONDS,
  port_mapping = options.BOOLEAN,
  background = options.BOOLEAN,
  allow = { "a function, or a list of node ids", function(value)
    return type(value) == "function" or is_id_list(value)
  end },
  deny = IDS,
  trust = IDS,
  limits = { "a table of limits", options.is_a("table")[2] },
}

--- Of `node:connect`.
known.CONNECT = {
  timeout = options.SECONDS,
  strategies = known.NODE.strategies,
  policy = known.NODE.policy,
  protocol = { "a protocol's name", accepted.is_protocol },
  exclusive = options.BOOLEAN,
  secure = options.BOOLEAN,
}

return known
