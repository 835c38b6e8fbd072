--- Port mappings by NAT-PMP (RFC 6886), which libnatpmp speaks. See @{p2pd.port_mapping.pcp} for what a
-- protocol's module has.
-- @module p2pd.port_mapping.natpmp
local core = require "p2pd.core"
local epoch = require "p2pd.port_mapping.epoch"

local natpmp = { name = "NAT-PMP", families = { ipv4 = true }, check_every = 60 }

local PORT = 5351
local ANSWER_S = 1.75

local Handle = { __name = "p2pd.port_mapping.natpmp", check_every = natpmp.check_every }
Handle.__index = Handle

local function ask(target, options)
  options = options or {}
  options.gateway, options.timeout = target.gateway, ANSWER_S
  return core.gateway.natpmp(options)
end

--- Whether the gateway speaks NAT-PMP. Waits.
-- @tparam table target
-- @treturn handle or nil, message, code
function natpmp.find(target)
  local answer, reason, code = ask(target)
  if not answer then return nil, reason, code end
  local self = setmetatable({ target = target, ip = answer.ip }, Handle)
  epoch.note(self, answer.epoch)
  return self
end

--- Maps a port, or renews its mapping. Waits.
-- @tparam table want as for PCP
-- @treturn lease or nil, message, code
function Handle:map(want)
  local answer, reason, code = ask(self.target, { internal_port = want.port, external_port = want.external,
    lifetime = want.lifetime })
  if not answer then return nil, reason, code end
  epoch.note(self, answer.epoch)
  if answer.port == 0 or answer.lifetime == 0 then
    return nil, "an answer without a mapping", "EBADMSG"
  end
  return { port = answer.port, ip = self.ip, lifetime = answer.lifetime, record = { port = want.port } }
end

--- Whether the gateway still has its mappings, and its address. Waits.
-- @treturn ?boolean nil, message, code when it does not answer
function Handle:check()
  local answer, reason, code = ask(self.target)
  if not answer then return nil, reason, code end
  local is_same = epoch.note(self, answer.epoch) and answer.ip == self.ip
  self.ip = answer.ip
  return is_same
end

-- A request as RFC 6886 section 3.4 has it; without a port to suggest and without a lifetime it removes.
local function removal(port)
  return (">BBHHHI4"):pack(0, 2, 0, port, 0, 0)
end

--- Has a mapping removed: sends one datagram and waits for nothing.
-- @tparam table target
-- @tparam table record of the lease
-- @treturn boolean true; or nil, message, code
function natpmp.remove(target, record)
  local socket <close>, reason, code = core.udp.bind { ip = target.nic }
  if not socket then return nil, reason, code end
  return socket:sendto(removal(record.port), target.gateway, PORT)
end

return natpmp
