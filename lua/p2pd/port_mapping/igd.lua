--- Port mappings by UPnP: Internet Gateway Devices of version 1 and 2, and version 2's pinholes for IPv6. See
-- @{p2pd.port_mapping.pcp} for what a protocol's module has. A target for IPv6 may have `ipv4`, the target of
-- the same interface: then the device is looked for by IPv4; and `link_local`, our address of that kind.
-- @module p2pd.port_mapping.igd
local core = require "p2pd.core"
local http = require "p2pd.port_mapping.http"
local soap = require "p2pd.port_mapping.soap"
local ssdp = require "p2pd.port_mapping.ssdp"

local igd = { name = "UPnP", families = { ipv4 = true, ipv6 = true }, check_every = 300, waits = true }

local DESCRIPTION_S = 3
local PORTS_MAX = 8 -- that are tried while others have them
local PORT_FIRST, PORT_LAST = 1024, 65535
local CALLED = "p2pd"

-- UPnP's errors: IGD 1 and 2, WANIPConnection and WANIPv6FirewallControl.
local NOT_THERE = { [401] = true, [501] = true, [602] = true } -- such an action
local NO_SUCH_ENTRY = { [704] = true, [714] = true }
local CONFLICT, SAME_PORTS, PERMANENT_ONLY = 718, 724, 725

local Handle = { __name = "p2pd.port_mapping.igd", check_every = igd.check_every }
Handle.__index = Handle

-- -- finding the device and its services

-- What a description calls a service's control URL: absolute, or a path.
local function split_control(url, base_port, target)
  if url:find "^%a+:" then return ssdp.split(url, target) end
  local host = target.family == "ipv6" and "[::]" or target.gateway
  local path = url:find "^/" and url or "/" .. url
  return ssdp.split(("http://%s:%d%s"):format(host, base_port, path), target)
end

local function to_service(target, described, base_port)
  if not described or not described.type:find "^urn:[%w%-:.]+$" then return nil end
  local port, path = split_control(described.control, base_port, target)
  if not port then return nil end
  return { ip = target.gateway, nic = target.nic, port = port, path = path, type = described.type }
end

local function describe(target)
  local port, path, code = ssdp.find(target)
  if not port then return nil, path, code end
  local response, reason, errno = http.request({ ip = target.gateway, port = port, nic = target.nic },
    { method = "GET", path = path }, DESCRIPTION_S)
  if not response then return nil, reason, errno end
  if response.status ~= 200 or #response.body > http.BODY_MAX then
    return nil, "no description", "EPROTO"
  end
  local described
  described, reason, errno = core.gateway.igd_description(response.body, DESCRIPTION_S)
  if not described then return nil, reason, errno end
  return described, ssdp.split(described.url_base, target) or port
end

local function ask_address(service)
  local reply, reason, code = soap.call(service, "GetExternalIPAddress")
  if not reply then return nil, reason, code end
  local ip = reply.NewExternalIPAddress or ""
  local class, family = core.inet.class(ip)
  if family == "ipv4" and class ~= "unspecified" then return ip end
  return nil, "the WAN connection has no address", "ENETDOWN"
end

-- The WAN connection that has an address.
local function find_connection(target, described, port)
  local reason, code = "the device has no WAN connection", "EOPNOTSUPP"
  for _, one in ipairs { "first", "second" } do
    local service = to_service(target, described[one], port)
    if service then
      local ip
      ip, reason, code = ask_address(service)
      if ip then return service, ip end
    end
  end
  return nil, reason, code
end

-- Who asks for a pinhole does so from the address that it is for; the same device listens there.
local function find_firewall(target, described, port)
  local service = to_service(target.ipv4 or target, described.firewall, port)
  if not service then return nil, "the device controls no IPv6 firewall", "EOPNOTSUPP" end
  service.ip, service.nic = target.gateway, target.nic
  return service, target.nic
end

--- Whether the gateway is such a device. Waits.
-- @tparam table target
-- @treturn handle or nil, message, code
function igd.find(target)
  local is_ipv6 = target.family == "ipv6"
  local described, port, code = describe(target.ipv4 or target)
  if not described then return nil, port, code end
  local service, ip, errno = (is_ipv6 and find_firewall or find_connection)(target, described, port)
  if not service then return nil, ip, errno end
  return setmetatable({ target = target, service = service, ip = ip }, Handle)
end

-- -- mapping

local function new_record(service, fields)
  local record = { port = service.port, path = service.path, type = service.type, ipv4 = service.ipv4 }
  for name, value in pairs(fields) do record[name] = value end
  return record
end

local function mapping_arguments(self, want, external, lifetime)
  return {
    { "NewRemoteHost", "" },
    { "NewExternalPort", external },
    { "NewProtocol", "TCP" },
    { "NewInternalPort", want.port },
    { "NewInternalClient", self.target.nic },
    { "NewEnabled", 1 },
    { "NewPortMappingDescription", CALLED },
    { "NewLeaseDuration", lifetime },
  }
end

local function to_lease(self, external, lifetime, want)
  return { port = external, ip = self.ip, lifetime = lifetime > 0 and lifetime or want.lifetime,
    is_permanent = lifetime == 0, record = new_record(self.service, { external = external }) }
end

-- IGD 2: the device chooses another port when that one is taken.
local function add_any(self, want)
  if not self.service.type:find ":2$" then return nil, "IGD 1", "EOPNOTSUPP", 401 end
  local reply, reason, code, number = soap.call(self.service, "AddAnyPortMapping",
    mapping_arguments(self, want, want.external, want.lifetime))
  if not reply then return nil, reason, code, number end
  local port = math.tointeger(tonumber(reply.NewReservedPort))
  if not port or port < 1 or port > PORT_LAST then
    return nil, "an answer without a port", "EBADMSG"
  end
  return to_lease(self, port, want.lifetime, want)
end

-- IGD 1: we choose ports until one is free, and do without a lifetime where none is granted.
local function add(self, want)
  local external, lifetime, port = want.external, want.lifetime, want.port
  local reply, reason, code, number
  for _ = 1, PORTS_MAX do
    reply, reason, code, number = soap.call(self.service, "AddPortMapping",
      mapping_arguments(self, { port = port }, external, lifetime))
    if reply then return to_lease(self, external, lifetime, want) end
    if number == PERMANENT_ONLY and lifetime > 0 then
      lifetime = 0
    elseif number == CONFLICT or number == SAME_PORTS then
      external = number == SAME_PORTS and external == want.external and external ~= port and port
        or math.random(PORT_FIRST, PORT_LAST)
      if number == SAME_PORTS or port ~= want.port then
        if not want.listen(external) then break end
        port = external
      end
    else
      break
    end
  end
  return nil, "refused: " .. reason, code, number
end

local function ask_for_pinhole(self, want)
  return soap.call(self.service, "AddPinhole", {
    { "RemoteHost", "" },
    { "RemotePort", 0 },
    { "InternalClient", self.target.nic },
    { "InternalPort", want.port },
    { "Protocol", 6 },
    { "LeaseTime", want.lifetime },
  })
end

-- The device by IPv4: not each listens on both.
local function use_ipv4(target, service)
  service.ip, service.nic, service.ipv4 = target.ipv4.gateway, target.ipv4.nic, true
end

local function add_pinhole(self, want)
  local reply, reason, code, number = ask_for_pinhole(self, want)
  if not reply and not number and self.target.ipv4 and not self.service.ipv4 then
    use_ipv4(self.target, self.service)
    reply, reason, code = ask_for_pinhole(self, want)
  end
  if not reply then return nil, "refused: " .. reason, code end
  local id = tostring(reply.UniqueID):match "^%d+$"
  if not id then return nil, "an answer without a pinhole", "EBADMSG" end
  self.pinhole = id
  return { port = want.port, ip = self.target.nic, lifetime = want.lifetime,
    record = new_record(self.service, { pinhole = id }) }
end

local function renew_pinhole(self, want)
  local reply, reason, code, number = soap.call(self.service, "UpdatePinhole", {
    { "UniqueID", self.pinhole },
    { "NewLeaseTime", want.lifetime },
  })
  if not reply and NO_SUCH_ENTRY[number or 0] then return add_pinhole(self, want) end
  if not reply then return nil, reason, code end
  return { port = want.port, ip = self.target.nic, lifetime = want.lifetime,
    record = new_record(self.service, { pinhole = self.pinhole }) }
end

--- Maps a port, or renews its mapping. Waits.
-- @tparam table want as for PCP; `listen`: function(port), whether we listen on a port now
-- @treturn lease or nil, message, code
function Handle:map(want)
  if self.pinhole then return renew_pinhole(self, want) end
  if self.target.family == "ipv6" then return add_pinhole(self, want) end
  local lease, reason, code, number = add_any(self, want)
  if lease then return lease end
  if number and (NOT_THERE[number] or number == PERMANENT_ONLY or number == CONFLICT) then
    lease, reason, code = add(self, want)
  end
  return lease, reason, code
end

--- The device may listen elsewhere since it was found, as after a restart. Waits.
-- @treturn boolean true when it answers there now; or nil, message, code
function Handle:find_again()
  local found, reason, code = igd.find(self.target)
  if not found then return nil, reason, code end
  self.service, self.ip = found.service, found.ip
  return true
end

-- -- its life

local function is_ours(self, reply)
  return reply.NewInternalClient == self.target.nic
end

-- A device that refuses to tell, because it lacks the action for instance, is believed to have the entry.
local function has_entry(self, action, arguments)
  local reply, reason, code, number = soap.call(self.service, action, arguments)
  if not reply and not number then return nil, reason, code end
  return not NO_SUCH_ENTRY[number or 0], reply
end

--- Whether the gateway still has the mapping, and its address. Waits.
-- @tparam lease lease
-- @treturn ?boolean nil, message, code when it does not answer
function Handle:check(lease)
  if self.target.family == "ipv6" then
    return has_entry(self, "GetPinholePackets", { { "UniqueID", self.pinhole } })
  end
  local is_there, reply, code = has_entry(self, "GetSpecificPortMappingEntry", {
    { "NewRemoteHost", "" },
    { "NewExternalPort", lease.port },
    { "NewProtocol", "TCP" },
  })
  if is_there == nil then return nil, reply, code end
  local ip = ask_address(self.service)
  local is_same = not ip or ip == lease.ip
  self.ip = ip or self.ip
  return is_there and is_same and (not reply or is_ours(self, reply))
end

local function to_removal(record)
  if record.pinhole then return "DeletePinhole", { { "UniqueID", record.pinhole } } end
  return "DeletePortMapping",
    { { "NewRemoteHost", "" }, { "NewExternalPort", record.external }, { "NewProtocol", "TCP" } }
end

--- Removes a mapping. Waits.
-- @tparam table target
-- @tparam table record of the lease
-- @treturn boolean true; or nil, message, code
function igd.remove(target, record)
  local service = { ip = target.gateway, nic = target.nic, port = record.port, path = record.path,
    type = record.type }
  if record.ipv4 and target.ipv4 then use_ipv4(target, service) end
  local reply, reason, code, number = soap.call(service, to_removal(record))
  if not reply and not NO_SUCH_ENTRY[number or 0] then return nil, reason, code end
  return true
end

return igd
