--- What strategies ask a node for, besides what anybody may: methods of the node. docs/strategies.md shows
-- how they are used.
-- @submodule p2pd.node
local handshake = require "p2pd.handshake"
local task = require "p2pd.task"

local methods = {}

--- Whether a peer is more than a stranger: trusted, or let in by the node's `allow`.
-- @tparam string peer_id
-- @treturn boolean
function methods:is_known(peer_id)
  return self.allow ~= nil or self.limits.trust:step(peer_id) == "trusted"
end

--- What a peer may have us connect to, as @{p2pd.net.reach} takes it.
-- @tparam table peer a parsed address: of one that we dial, or a message's `sender`
-- @treturn table
function methods:standing(peer)
  return { is_trusted = peer.typed ~= nil or self:is_known(peer.node_id), typed = peer.typed,
    routes = self.routes }
end

local OTHER_FAMILY = { ipv4 = "ipv6", ipv6 = "ipv4" }

--- Candidate pairs: each of our routes with each of a peer's of the same family.
-- @tparam table peer a parsed address
-- @tparam[opt=false] boolean is_mixed those of different families instead, for who has something in between
-- that speaks both
-- @treturn {table,...} route (ours), remote (a record of the peer's), family (of the route), who (see
-- @{standing})
function methods:pairs(peer, is_mixed)
  local list, who = {}, self:standing(peer)
  for _, route in ipairs(self.routes) do
    for _, remote in ipairs(peer[is_mixed and OTHER_FAMILY[route.family] or route.family]) do
      list[#list + 1] = { route = route, remote = remote, family = route.family, who = who }
    end
  end
  return list
end

--- The interface that a stream goes by, or nil.
function methods:interface_of(stream)
  return self.network:interface_of((stream:getsockname() or ""):gsub("%%.*", ""))
end

--- A peer, or a STUN server, sees something else than our address says: the network is looked at again.
-- For strategies.
-- @tparam string why
function methods:doubt_address(why)
  if self.upkeep then self.upkeep:doubt(why) end
end

--- What a strategy keeps for this node, made when it is first asked for. Closed with the node, when it can be
-- closed. For strategies.
-- @param key whatever tells it from others': the strategy's module, for instance
-- @tparam function make_new called without arguments
-- @return what it returned, the same each time
function methods:keep(key, make_new)
  if self.kept[key] == nil then self.kept[key] = make_new() end
  return self.kept[key]
end

--- Answers a peer's request. For strategies.
-- @tparam table m the request
-- @tparam[opt] table fields what the answer carries besides the pipe's id; its type is the `reply` of the
-- request's entry
-- @treturn boolean true; or nil, message, code
function methods:reply(m, fields)
  local all = { pipe = m.pipe }
  for name, value in pairs(fields or {}) do all[name] = value end
  return self.signal:reply(m, self.signal.messages[m.type].reply, all)
end

--- Sends a message that nobody answers, once. For strategies.
-- @tparam table peer a parsed address
-- @tparam string kind the message's type
-- @tparam table fields what it carries, `pipe` among them
-- @treturn boolean true; or nil, message, code
function methods:send(peer, kind, fields)
  return self.signal:send(peer, kind, fields)
end

--- The answerer's part on a stream that a strategy connected for a request: waits until the dialer has proved
-- who it is and has chosen this stream. For strategies.
-- @tparam stream stream taken over: closed when this fails
-- @tparam table m the request
-- @treturn stream a verified stream; or nil, message, code (ECANCELED when the dialer chose another)
function methods:admit(stream, m)
  local held <close> = task.hold(stream)
  local _ <close> = setmetatable({}, { __close = function()
    if self.closed then stream:abort() end -- the dialer is not to wait for us
  end })
  local hello, reason, code = handshake.receive(stream)
  if code == "EACCES" or code == "ECONNRESET" then
    return nil, "the dialer does not wait any more", "ECANCELED"
  end
  if not hello then return nil, reason, code end
  if hello.role == "back" then return nil, "an unexpected first line", "EPROTO" end
  local found
  found, reason, code = handshake.answer(stream, hello,
    { to = self.id, from = m.from, pipe = m.pipe, context = self.tls,
      insecure = m.insecure and self.insecure })
  if not found then return nil, reason, code end
  self.responder.admitted[stream] = found
  return held:release()
end

return methods
