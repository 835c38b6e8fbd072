--- Turns what a node is into events: compares what is with what was told last.
-- @classmod p2pd.node.changes
local options = require "p2pd.options"
local port_mapping = require "p2pd.port_mapping"

local changes = {}

local Changes = { __name = "p2pd.node.changes" }
Changes.__index = Changes

--- What has changed since listeners were told the last time.
-- @tparam node node
function changes.new(node)
  return setmetatable({ node = node, told = {} }, Changes)
end

-- -- what is, by key: the event that tells it, and a text that is another one when it has changed

local function add(state, kind, key, text, fields)
  fields.type = kind
  state[#state + 1] = { key = kind .. " " .. key, text = text, event = fields }
end

local function add_interfaces(state, routes)
  local found, order = {}, {}
  for _, route in ipairs(routes) do
    local one = found[route.name] or { name = route.name, number = route.interface, ipv4 = {}, ipv6 = {} }
    if not found[route.name] then order[#order + 1] = one end
    found[route.name] = one
    table.insert(one[route.family], route.nic)
  end
  for _, one in ipairs(order) do
    add(state, "interface", one.name, table.concat(one.ipv4, " ") .. "|" .. table.concat(one.ipv6, " "), one)
  end
end

local function add_nats(state, routes)
  for _, route in ipairs(routes) do
    local nat = route.nat
    if nat then
      local text = table.concat({ route.external, tostring(route.external_known), nat.type, nat.delta,
        nat.value }, " ")
      add(state, "nat", route.family .. " " .. route.nic, text, {
        interface = route.name, family = route.family, nic = route.nic,
        external = route.external_known and route.external or nil, nat = nat,
      })
    end
  end
end

local function add_mappings(state, routes)
  for _, route in ipairs(routes) do
    local one = port_mapping.describe(route)
    if one then
      local verified, doubt = port_mapping.is_verified(route)
      local reason = doubt or one.fault or one.reasons[1]
      local text = table.concat({ one.state, tostring(one.protocol), tostring(one.ip), tostring(one.port),
        tostring(verified), tostring(reason) }, " ")
      add(state, "mapping", route.family .. " " .. route.nic, text, {
        interface = route.name, family = route.family, nic = route.nic, state = one.state,
        protocol = one.protocol, ip = one.ip, port = one.port, verified = verified or false, reason = reason,
      })
    end
  end
end

local function add_brokers(state, brokers)
  for _, broker in ipairs(brokers) do
    add(state, "broker", tostring(broker.offset), broker.state, {
      name = broker.name, offset = broker.offset, state = broker.state, reason = broker.reason,
    })
  end
end

-- The order of brokers in an address changes with every hiccup, and says nothing that matters.
local function text_of(address)
  local offsets = {}
  for offset in address:match "^[^-]*":gmatch "%d+" do offsets[#offsets + 1] = offset end
  table.sort(offsets)
  return table.concat(offsets, ",") .. address:match "^[^-]*(.*)$"
end

local function find_state(node)
  local state = {}
  add_interfaces(state, node.routes)
  add_nats(state, node.routes)
  add_mappings(state, node.routes)
  add_brokers(state, node.signal:stats().brokers)
  local address = node.address
  add(state, "address", "", text_of(address), { address = address })
  return state
end

-- While the outside is looked at an address is about to change again.
local function is_settled(self, one)
  return one.event.type ~= "address" or not self.node.discovering or not self.told[one.key]
end

--- The present state, as events.
-- @treturn {table,...}
function Changes:present()
  local list = {}
  for i, one in ipairs(find_state(self.node)) do list[i] = options.merge(one.event) end
  return list
end

-- What tells that something is not there any more, by type.
local GONE = {
  interface = function(last)
    return { type = "interface", name = last.name, number = last.number, gone = true, ipv4 = {}, ipv6 = {} }
  end,
  mapping = function(last)
    return { type = "mapping", interface = last.interface, family = last.family, nic = last.nic, gone = true,
      state = "none", verified = false }
  end,
}

--- What has changed since the last call, as events.
-- @treturn {table,...} an interface, or a mapping, that has gone has `gone`; an address has `was`, the last
-- one
function Changes:take()
  local list, seen = {}, {}
  for _, one in ipairs(find_state(self.node)) do
    local last = self.told[one.key]
    seen[one.key] = true
    if is_settled(self, one) and not (last and last.text == one.text) then
      local event = options.merge(one.event)
      if last and event.type == "address" then event.was = last.event.address end
      list[#list + 1], self.told[one.key] = event, one
    end
  end
  for key, last in pairs(self.told) do
    if not seen[key] then
      self.told[key] = nil
      local gone = GONE[last.event.type]
      if gone then table.insert(list, 1, gone(last.event)) end
    end
  end
  return list
end

return changes
