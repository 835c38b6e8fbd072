--- Routes of /v1 about files that peers have sent: listing, downloading, removing.
-- @module p2pd.http.v1.files
local describe = require "p2pd.http.describe"
local names = require "p2pd.transfer.names"
local problem = require "p2pd.http.problem"
local range = require "p2pd.http.range"
local transfers = require "p2pd.http.transfers"
local url = require "p2pd.http.url"

local BYTES = "application/octet-stream"
local STATUS = { EINVAL = 400, ENOENT = 404, ENOTDIR = 404, ELOOP = 404 }

local RANGE = {
  Range = { type = "string", description = "The part that is wanted: bytes=FIRST-LAST, bytes=FIRST- or "
    .. "bytes=-COUNT. More than one are not: then all of it comes." },
  ["If-Range"] = { type = "string", description = "The ETag or the Last-Modified that the first part had: "
    .. "when the file is another one by now, all of it comes." },
}
local PEER = { peer = { type = "string", description = "The node id of who has sent it." } }

-- What the folder of files says is about this host, and not about a peer.
local function problem_of(reason, code)
  return problem.new(STATUS[code] or 500, reason, code)
end

local function with_files(handler)
  return function(call)
    if not call.service.files then return problem.new(501, "there is no folder for files") end
    return handler(call, call.service.files)
  end
end

local function path_of(call)
  return table.concat({ call.params.peer, table.unpack(call.params.rest) }, "/")
end

local list_files = with_files(function(call, files)
  local found, more, code = files:list(call.query.under)
  if not found then return problem_of(more, code) end
  for _, one in ipairs(found) do one.url = transfers.url_of(one.path) end
  return call:send_json(200, { files = describe.list(found), truncated = more })
end)

local function headers_of(path, validators)
  local headers = { ["Accept-Ranges"] = "bytes", ["Content-Disposition"] =
    "attachment; filename*=UTF-8''" .. url.encode((names.split(path))) }
  for name, value in pairs(validators) do headers[name] = value end
  return headers
end

local get_file = with_files(function(call, files)
  local path = path_of(call)
  local file <close>, size, mtime = files:read(path)
  if not file then return problem_of(size, mtime) end
  local validators = range.validators(size, mtime)
  local headers, offset, length = headers_of(path, validators), nil, nil
  if call.method == "GET" then offset, length = range.find(call.headers, size, validators) end
  if offset == false then
    return problem.new(416, "the file has no such part", nil, { ["Content-Range"] = "bytes */" .. size })
  end
  if not offset then return call:send_file(200, BYTES, file, 0, size, headers) end
  headers["Content-Range"] = ("bytes %d-%d/%d"):format(offset, offset + length - 1, size)
  return call:send_file(206, BYTES, file, offset, length, headers)
end)

local remove_file = with_files(function(call, files)
  local ok, reason, code = files:remove(path_of(call))
  if not ok then return problem_of(reason, code) end
  return call:send_nothing(204)
end)

return {
  { method = "GET", path = "/v1/files", id = "listFiles", tag = "files", handler = list_files,
    query = { under = { type = "string", maxLength = 4095,
      description = "A folder, as paths have it: the files in it alone." } },
    summary = "The files that peers have sent, and the beginnings of those that are not whole, by path.",
    answers = { [200] = { description = "The files; `truncated` when there are more.",
      schema = describe.object({ files = describe.array(describe.ref "File"),
        truncated = { type = "boolean" } }, { "files", "truncated" }) } } },
  { method = "GET", path = "/v1/files/{peer}/...", id = "getFile", tag = "files", handler = get_file,
    params = PEER, headers = RANGE,
    summary = "A file that a peer has sent, or one part of it. The further segments are its path.",
    answers = { [200] = { description = "Its bytes.", type = BYTES },
      [206] = { description = "The part of it that was asked for.", type = BYTES },
      [416] = { description = "It has no such part.", type = problem.TYPE } } },
  { method = "HEAD", path = "/v1/files/{peer}/...", id = "headFile", tag = "files", handler = get_file,
    params = PEER, summary = "What GET says of a file, without its bytes.",
    answers = { [200] = { description = "Its size (Content-Length) and version (ETag, Last-Modified)." } } },
  { method = "DELETE", path = "/v1/files/{peer}/...", id = "removeFile", tag = "files", handler = remove_file,
    params = PEER, summary = "Removes a file that a peer has sent, or the beginning of one.",
    answers = { [204] = { description = "It is gone." } } },
}
