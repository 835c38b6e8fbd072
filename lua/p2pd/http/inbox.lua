--- Receives files that peers send, once a user of the API, or a rule, has said that they are wanted.
-- @classmod p2pd.http.inbox
local contacts = require "p2pd.contacts"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local partner = require "p2pd.transfer.partner"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"
local transfer = require "p2pd.transfer"

local inbox = {}

inbox.MAX = 64      -- at a time, offers among them; contacts' come all the same
inbox.PEER_MAX = 8  -- of one peer
inbox.OFFER_S = 600 -- for somebody to say that it is wanted

--- Whose files are taken without asking anybody: those of "nobody", of "contacts", or of "anyone".
inbox.RULES = { nobody = true, contacts = true, anyone = true }

local Inbox = { __name = "p2pd.http.inbox" }
Inbox.__index = Inbox

--- @tparam table service node, files, transfers
-- @tparam[opt="nobody"] string rule whose files are taken without asking
function inbox.new(service, rule)
  return setmetatable({ service = service, rule = rule or "nobody", count = 0, by_peer = {},
    news = task.condition(), tasks = task.group() }, Inbox)
end

-- -- what is wanted

local function is_wanted(self, peer)
  return self.rule == "anyone" or self.rule == "contacts" and contacts.name_of(peer) ~= nil
end

-- Waits for a user of the API.
local function offer(self, entry)
  self.news:broadcast()
  local limit = deadline.after(inbox.OFFER_S)
  while entry.state == "offered" and not limit:has_passed() do entry.changed:wait(limit:left()) end
  if entry.state == "running" then return true end
  self.service.transfers:set(entry, "refused", "nobody took it")
  return nil, "it is not wanted"
end

-- Asked by @{p2pd.transfer} before anything is taken.
local function admit(self, held, total)
  local is_taken = is_wanted(self, held.peer)
  held.entry = self.service.transfers:add { direction = "receive", peer = held.peer, name = total.name,
    files = total.files, bytes = total.bytes, stopped = held.stopped,
    state = is_taken and "running" or "offered" }
  if is_taken then return true end
  return offer(self, held.entry)
end

-- -- receiving

local function receive(self, held)
  local book = self.service.transfers
  local place, fault = self.service.files:place_for(held.peer)
  if not place then return core.log.write("warning", "http: no place for files: " .. fault) end
  local summary, reason, code = transfer.receive(held.pipe, place, {
    admit = function(total) return admit(self, held, total) end,
    stop = function()
      held.stopped:wait()
      return "it was canceled"
    end,
    on_bytes = function(count) held.entry.moved = held.entry.moved + count end,
    on_event = function(event) if held.entry then book:note(held.entry, event) end end,
  })
  if held.entry then book:conclude(held.entry, summary, reason, code) end
end

local function attend(self, held)
  local _ <close> = held.pipe
  local over <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    self.count, self.by_peer[held.peer] = self.count - 1, self.by_peer[held.peer] - 1
    if self.by_peer[held.peer] == 0 then self.by_peer[held.peer] = nil end
    if held.entry then self.service.transfers:set(held.entry, "canceled", "it was canceled", "ECANCELED") end
  end })
  receive(self, held)
end

-- Strangers do not keep contacts out.
local function has_place(self, peer, running)
  if running >= inbox.PEER_MAX then return false end
  return self.count < inbox.MAX or contacts.name_of(peer) ~= nil
end

-- A peer has to have proven who it is: its folder has its id for a name.
local function take(self, pipe)
  local peer = pipe.peer
  local running = self.by_peer[peer] or 0
  if not pipe.secure or not has_place(self, peer, running) then return pipe:close() end
  self.count, self.by_peer[peer] = self.count + 1, running + 1
  self.tasks:detach(attend, self, { pipe = pipe, peer = peer, stopped = task.condition() })
end

--- Receives until the node is closed. Waits.
function Inbox:serve()
  for pipe in self.service.node:pipes(partner.PROTOCOL) do take(self, pipe) end
end

-- -- users of the API

local function find_offer(self)
  for _, entry in ipairs(self.service.transfers.order) do
    if entry.state == "offered" then return entry end
  end
end

local function wait_offer(self, seconds)
  local limit = deadline.after(seconds)
  while true do
    local entry = find_offer(self)
    if entry then return entry end
    if limit:has_passed() then return problem.new(504, "nobody offers files", "ETIMEDOUT") end
    self.news:wait(limit:left())
  end
end

--- Takes what a peer offers.
-- @tparam ?string wanted the offer's id; nil: the oldest one, or the first that comes
-- @tparam number seconds for which one is waited for
-- @treturn table entry of @{p2pd.http.transfers}; or a problem
function Inbox:accept(wanted, seconds)
  local entry
  if wanted then entry = self.service.transfers:find(wanted) else entry = wait_offer(self, seconds) end
  if problem.is(entry) then return entry end
  if entry.state ~= "offered" then return problem.new(409, "it is " .. entry.state) end
  self.service.transfers:set(entry, "running")
  return entry
end

--- Refuses what a peer offers, or cancels what it sends: the peer is told. Its next transfer is another one.
-- @tparam table entry
function Inbox:refuse(entry)
  if entry.state == "offered" then return self.service.transfers:set(entry, "refused", "it was refused") end
  self.service.transfers:cancel(entry)
  entry.stopped:broadcast()
end

--- Ends all.
function Inbox:close()
  self.tasks:cancel()
end

Inbox.__close = Inbox.close

return inbox
