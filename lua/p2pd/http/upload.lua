--- What a request brings to be sent: one file, which is its body; or a form with files (multipart/form-data),
-- whose names may have folders in them.
-- @module p2pd.http.upload
local multipart = require "p2pd.http.multipart"
local names = require "p2pd.transfer.names"
local problem = require "p2pd.http.problem"
local text = require "p2pd.text"
local transfers = require "p2pd.http.transfers"

local upload = {}

upload.FILES_MAX = 10000 -- of a form

local PIECE = 64 * 1024
local LARGE = 1 << 40 -- bytes: more than are written at once

--- How a body is to be read.
-- @tparam table headers the request's, by name in lower case
-- @tparam ?string name a file's, or that of the folder into which a form's files are put
-- @treturn table `name`, `boundary` (nil: the body is the file), `size` (nil: not known); or a problem
function upload.plan(headers, name)
  local boundary, reason = multipart.boundary(headers["content-type"])
  if reason then return problem.new(400, reason, "EINVAL") end
  if not name and not boundary then return problem.new(400, "the query.name is missing", "EINVAL") end
  local size = math.tointeger(tonumber(headers["content-length"]))
  if not name then return { boundary = boundary, size = size } end
  local safe, fault = names.make_safe(name)
  if not safe then return problem.new(400, fault, "EINVAL") end
  if safe:find("/", 1, true) then return problem.new(400, "a name has no slash", "EINVAL") end
  return { name = safe, boundary = boundary, size = size }
end

-- -- one file after the other

-- Until its end, or until somebody has canceled the transfer.
local function read_file(entry, read, path, size)
  local first, reason, code = read()
  if reason then return nil, reason, code end
  local second
  if not size and first then second, reason, code = read() end
  if reason then return nil, reason, code end
  local ok
  ok, reason, code = entry.kept:begin(path, size or second and LARGE or #(first or ""))
  while ok and first do
    ok, reason, code = entry.kept:write(first)
    entry.bytes = entry.kept.size
    first, second = second, nil
    if ok and not first then first, reason, code = read() end
    if reason then return nil, reason, code end
    if transfers.is_over(entry) then return nil, entry.error, entry.code end
  end
  if ok then ok, reason, code = entry.kept:finish() end
  return ok, reason, code
end

-- A field that is no file is a mistake: nothing would come of it.
local function path_of(part, folder)
  if not part.filename then
    return nil, ('"%s" in the form is no file'):format(text.printable(part.name, 100)), "EINVAL"
  end
  local path, reason = names.make_safe((folder and folder .. "/" or "") .. part.filename)
  if path then return path end
  return nil, ('"%s": %s'):format(text.printable(part.filename, 200), reason), "EINVAL"
end

local function read_part(entry, form, part, folder)
  local path, reason, code = path_of(part, folder)
  if not path then return nil, reason, code end
  if entry.files == upload.FILES_MAX then
    return nil, ("more than %d files"):format(upload.FILES_MAX), "EMSGSIZE"
  end
  entry.name = entry.name or path:match "^[^/]+"
  local ok
  ok, reason, code = read_file(entry, function() return form:read() end, path)
  if not ok then return nil, ("%s: %s"):format(path, reason), code end
  entry.files = entry.files + 1
  return true
end

local function read_form(entry, recv, plan)
  local form = multipart.new(plan.boundary, recv)
  while true do
    local part, reason, code = form:next()
    if reason then return nil, reason, code end
    if not part and entry.files == 0 then return nil, "the form has no files", "EINVAL" end
    if not part then return true end
    local ok
    ok, reason, code = read_part(entry, form, part, plan.name)
    if not ok then return nil, reason, code end
  end
end

--- Reads a body. Waits.
-- @tparam table entry of @{p2pd.http.transfers}; `kept` is an @{p2pd.http.outgoing}; gets `bytes`, `files`
-- and `name`
-- @tparam request request
-- @tparam table plan
-- @treturn boolean true; or nil, message, code
function upload.read(entry, request, plan)
  local stream = request:stream()
  local function recv() return stream:recv(PIECE) end
  if plan.boundary then return read_form(entry, recv, plan) end
  local ok, reason, code = read_file(entry, recv, plan.name, plan.size)
  if ok then entry.files = 1 end
  return ok, reason, code
end

return upload
