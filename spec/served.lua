--- Nodes that are served over HTTP, for specs.
local http = require "p2pd.http"
local client = require "spec.http"
local helper = require "spec.helper"
local task = require "p2pd.task"

local served = {}

local Served = {}
Served.__index = Served

--- A request with the token, on a connection of its own.
-- @treturn table see `spec.http`; it has failed when its status is 300 or more, unless `status` is given
function Served:call(method, target, body, headers)
  local all = { Authorization = "Bearer " .. self.token }
  if type(body) == "string" then all["Content-Type"] = "application/json" end
  for name, value in pairs(headers or {}) do all[name] = value end
  return client.request(self.port, method, target, all, body)
end

--- Opens a connection that has the token in its headers.
function Served:begin(method, target, headers, body)
  local all = { Authorization = "Bearer " .. self.token }
  for name, value in pairs(headers or {}) do all[name] = value end
  local one = client.connect(self.port)
  one:send(method, target, all, body)
  return one
end

Served.__close = function(self) self.server:close() end

--- Serves a node.
-- @tparam node node
-- @tparam[opt] table options as for p2pd.http.serve
-- @treturn table to be closed: node, server, port, token, call, begin
function served.new(node, options)
  local given = { port = 0 }
  for name, value in pairs(options or {}) do given[name] = value end
  local server = assert(http.serve(node, given))
  return setmetatable({ node = node, server = server, port = server.port, token = server.token }, Served)
end

--- A spec with a node that is served.
-- @tparam loopback world
-- @tparam function fn
-- @tparam[opt] table options
function served.one(world, fn, options)
  return function()
    helper.in_task(function()
      local node <close> = world:start()
      local one <close> = served.new(node, options)
      fn(one)
    end)
  end
end

--- A spec with two.
function served.two(world, fn)
  return world:pair(function(alice, bob)
    local near <close> = served.new(alice)
    local far <close> = served.new(bob)
    fn(near, far)
  end)
end

--- A file system of a mebibyte, where one can be mounted.
-- @treturn ?table to be closed: path
function served.small_disk()
  local path = helper.scratch()
  local is_mounted = os.execute(("LD_PRELOAD= mount -t tmpfs -o size=1m none '%s' 2>/dev/null"):format(path))
  return is_mounted and setmetatable({ path = path }, { __close = function()
    os.execute(("LD_PRELOAD= umount '%s'"):format(path))
  end }) or nil
end

--- Two ends of a pipe: ids at both.
function served.join(near, far, more)
  local accepting = task.spawn(far.call, far, "POST", "/v1/pipes/accept", "{}")
  local body = ('{"address":"%s"%s}'):format(far.node.address, more or "")
  local opened = near:call("POST", "/v1/pipes", body)
  assert(opened.status == 201, opened.body)
  local accepted = accepting:join()
  assert(accepted.status == 201, accepted.body)
  return opened.json.id, accepted.json.id
end

return served
