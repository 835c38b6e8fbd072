--- What the MQTT specs share: clients of a broker on loopback, and how they talk.
local core = require "p2pd.core"

local mqtt = { WAIT = 8 } -- seconds that an event on loopback may take, back-off included

--- A client that is online; what `setup` does to it comes first.
-- @tparam table options of core.mqtt.open()
-- @tparam[opt] function setup called with the client
-- @treturn p2pd.mqtt the client
function mqtt.online(options, setup)
  local client = core.mqtt.open(options)
  if setup then setup(client) end
  assert(client:wait_online(mqtt.WAIT))
  return client
end

--- The options that lead to a broker.
-- @tparam table broker host and port
-- @tparam[opt] table more options
-- @treturn table
function mqtt.to(broker, more)
  local options = { host = broker.host, port = broker.port }
  for key, value in pairs(more or {}) do options[key] = value end
  return options
end

--- A client that is online and subscribed.
-- @tparam table broker
-- @tparam string topic
-- @treturn p2pd.mqtt the client
function mqtt.subscriber(broker, topic)
  return mqtt.online(mqtt.to(broker), function(client) client:subscribe(topic) end)
end

--- Publishes and receives.
-- @tparam p2pd.mqtt sender
-- @tparam p2pd.mqtt receiver subscribed to the topic
-- @tparam string topic
-- @tparam string text
-- @treturn string the topic
-- @treturn string the payload
function mqtt.exchange(sender, receiver, topic, text)
  assert(sender:publish(topic, text))
  return receiver:receive(mqtt.WAIT)
end

return mqtt
