--- What the MQTT specs share: clients of a broker on loopback, and how they talk.
local core = require "p2pd.core"
local helper = require "spec.helper"

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

local DYNAMIC_SECURITY = [[
{ "defaultACLAccess": { "publishClientSend": true, "publishClientReceive": true, "subscribe": false },
  "clients": [],
  "groups": [{ "groupname": "all", "roles": [{ "rolename": "all" }] }], "anonymousGroup": "all",
  "roles": [{ "rolename": "all",
    "acls": [{ "acltype": "subscribePattern", "topic": "%s", "priority": 0, "allow": true }] }] }
]]

--- A broker that refuses subscriptions, but for one pattern. (Its ACL files only hold messages back.)
-- @tparam string pattern
-- @treturn server
function mqtt.picky_broker(pattern)
  local listing <close> = assert(io.popen "LD_PRELOAD= ls /usr/lib/*/mosquitto_dynamic_security.so")
  local plugin = listing:read "l"
  local path = helper.write(helper.scratch() .. "/security.json", DYNAMIC_SECURITY:format(pattern))
  return helper.mosquitto { config = ("plugin %s\nplugin_opt_config_file %s"):format(plugin, path) }
end

--- A server on loopback.
-- @tparam function serve called in a task of its own for each stream
-- @return to be closed: host, port
function mqtt.serve(serve)
  local listener = assert(core.tcp.listen { ip = "127.0.0.1" })
  local task = core.task.spawn(function()
    while true do core.task.spawn(serve, assert(listener:accept())) end
  end)
  local _, port = listener:getsockname()
  return setmetatable({ host = "127.0.0.1", port = port }, { __close = function()
    task:cancel()
    listener:close()
  end })
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
