--- Routes of /v1 about contacts: names for peers, in a file of the user's.
-- @module p2pd.http.v1.contacts
local contacts = require "p2pd.contacts"
local describe = require "p2pd.http.describe"
local problem = require "p2pd.http.problem"

local NAME = { type = "string", minLength = 1, maxLength = 64, description = "A contact's name." }
local CONTACT = describe.object({ name = NAME, address = { type = "string", maxLength = 2048 },
  replace = { type = "boolean" } }, { "name", "address" })

local function list_contacts(call)
  local found, reason, code = contacts.list()
  if not found then return problem.of(reason, code) end
  local list = describe.list()
  for i, one in ipairs(found) do
    list[i] = { name = one.name, address = one.address, id = contacts.id_of(one.address) }
  end
  return call:send_json(200, { contacts = list })
end

local function add_contact(call)
  local body = call.body
  local ok, reason, code = contacts.add(body.name, body.address, body.replace)
  if not ok then return problem.of(reason, code) end
  return call:send_json(201, { name = body.name, address = body.address, id = contacts.id_of(body.address) })
end

local function remove_contact(call)
  local ok, reason, code = contacts.remove(call.params.name)
  if not ok then return problem.of(reason, code) end
  return call:send_nothing(204)
end

return {
  { method = "GET", path = "/v1/contacts", id = "listContacts", tag = "peers", handler = list_contacts,
    summary = "The contacts, by name. A contact's name may stand for an address.",
    answers = { [200] = { description = "The contacts.", schema = describe.object({
      contacts = describe.array(describe.ref "Contact") }, { "contacts" }) } } },
  { method = "POST", path = "/v1/contacts", id = "addContact", tag = "peers", handler = add_contact,
    body = CONTACT, summary = "Adds a contact; with `replace` also when the name is somebody else's.",
    answers = { [201] = { description = "The contact.", schema = describe.ref "Contact" } } },
  { method = "DELETE", path = "/v1/contacts/{name}", id = "removeContact", tag = "peers",
    handler = remove_contact, params = { name = NAME }, summary = "Removes a contact.",
    answers = { [204] = { description = "It is done." } } },
}
