--- Port mappings and IPv6 pinholes by PCP (RFC 6887).
-- A protocol's module has `name`, `families`, `find(target)` (is it spoken there?) and `remove(target,
-- record)`, which `waits` or does not; what `find` returns maps: `:map(want)` and `:check(lease)`, each
-- `check_every` seconds. A target is `{ family, gateway, nic, name }`; a lease `{ port, ip, lifetime, record
-- }`: the external port and address, seconds, and what `remove` needs.
-- @module p2pd.port_mapping.pcp
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local epoch = require "p2pd.port_mapping.epoch"

local pcp = { name = "PCP", families = { ipv4 = true, ipv6 = true }, check_every = 60 }

local PORT = 5351
local WAITS = { 0.25, 0.5, 1 } -- seconds after each request; the gateway is on the link
local SUCCESS, UNSUPP_OPCODE = 0, 4

local Handle = { __name = "p2pd.port_mapping.pcp", check_every = pcp.check_every }
Handle.__index = Handle

local function to_hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local function from_hex(text)
  return (tostring(text):gsub("%x%x", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Each datagram of the gateway's until one is the answer that `is_answer` wants.
local function await_answer(socket, from, seconds, is_answer)
  local limit = deadline.after(seconds)
  repeat
    local data, ip, port = socket:recvfrom(limit:left())
    if not data and port == "ECONNREFUSED" then return nil, "the gateway does not speak it", port end
    if data and ip == from and port == PORT then
      local answer, reason, code = core.pcp.decode(data)
      if answer and is_answer(answer) then return answer end
      if code == "EPROTONOSUPPORT" then return nil, reason, code end
    end
  until limit:has_passed()
  return nil, "no answer", "ETIMEDOUT"
end

-- Asks until the gateway answers. Waits.
local function ask(target, request, is_answer)
  local socket <close>, fault, errno = core.udp.bind { ip = target.nic }
  if not socket then return nil, fault, errno end
  local answer, reason, code
  for _, seconds in ipairs(WAITS) do
    local from, message, problem = socket:sendto(request, target.gateway, PORT)
    if not from then return nil, message, problem end
    answer, reason, code = await_answer(socket, from, seconds, is_answer)
    if answer or code ~= "ETIMEDOUT" then break end
  end
  return answer, reason, code
end

local function announce(target)
  return ask(target, core.pcp.encode { opcode = "announce", client = target.nic },
    function(answer) return answer.opcode == "announce" end)
end

--- Whether the gateway speaks PCP. Waits.
-- @tparam table target
-- @treturn handle or nil, message, code
function pcp.find(target)
  local answer, reason, code = announce(target)
  if not answer then return nil, reason, code end
  if answer.result ~= SUCCESS and answer.result ~= UNSUPP_OPCODE then
    return nil, "refused: " .. answer.result_name, "EACCES"
  end
  local self = setmetatable({ target = target, nonce = core.random.bytes(12) }, Handle)
  epoch.note(self, answer.epoch)
  return self
end

local function check_mapping(target, want, answer)
  if answer.result ~= SUCCESS then return nil, "refused: " .. answer.result_name, "EACCES" end
  local class, family = core.inet.class(answer.external_ip)
  if family ~= target.family or class == "unspecified" or answer.external_port == 0
    or answer.lifetime == 0 then
    return nil, "an answer without a mapping", "EBADMSG"
  end
  if family == "ipv6" and (answer.external_ip ~= target.nic or answer.external_port ~= want.port) then
    return nil, "the gateway translates IPv6", "EOPNOTSUPP"
  end
  return true
end

--- Maps a port, or renews its mapping. Waits.
-- @tparam table want `port` (ours), `external` (the port wished for), `lifetime` (seconds), `ip` (the
-- external address wished for)
-- @treturn lease or nil, message, code
function Handle:map(want)
  local target = self.target
  local request = core.pcp.encode { opcode = "map", client = target.nic, lifetime = want.lifetime,
    nonce = self.nonce, internal_port = want.port, external_port = want.external, external_ip = want.ip }
  local answer, reason, code = ask(target, request, function(answer)
    return answer.opcode == "map" and answer.nonce == self.nonce and answer.internal_port == want.port
      and answer.protocol == 6
  end)
  if not answer then return nil, reason, code end
  epoch.note(self, answer.epoch)
  local ok
  ok, reason, code = check_mapping(target, want, answer)
  if not ok then return nil, reason, code end
  return { port = answer.external_port, ip = answer.external_ip, lifetime = answer.lifetime,
    record = { port = want.port, nonce = to_hex(self.nonce) } }
end

--- Whether the gateway still has its mappings. Waits. Its address is told by MAP alone.
-- @tparam lease lease `is_doubted`: its address may be another one
-- @treturn ?boolean nil, message, code when it does not answer
function Handle:check(lease)
  if lease.is_doubted then return false end
  local answer, reason, code = announce(self.target)
  if not answer then return nil, reason, code end
  return epoch.note(self, answer.epoch)
end

--- Has a mapping removed: sends one datagram and waits for nothing.
-- @tparam table target
-- @tparam table record of the lease
-- @treturn boolean true; or nil, message, code
function pcp.remove(target, record)
  local nonce = from_hex(record.nonce)
  if #nonce ~= 12 then return nil, "no record of a mapping", "EINVAL" end
  local socket <close>, reason, code = core.udp.bind { ip = target.nic }
  if not socket then return nil, reason, code end
  return socket:sendto(core.pcp.encode { opcode = "map", client = target.nic, nonce = nonce,
    internal_port = record.port }, target.gateway, PORT)
end

return pcp
