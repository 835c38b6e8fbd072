-- docs/http.md: every example runs, its answer has the shape that is shown, and every path has one.
local core = require "p2pd.core"
local helper = require "spec.helper"
local http = require "p2pd.http"
local json = require "dkjson"
local loopback = require "spec.loopback"
local served = require "spec.served"

local PATH = "docs/http.md"

-- Commands with the answers that follow them.
local function examples()
  local list, text = {}, helper.read(PATH)
  for kind, block in text:gmatch "```(%a*)\n(.-)```" do
    if kind == "sh" then list[#list + 1] = { command = block } end
    if kind == "json" then list[#list].shape = assert(json.decode(block)) end
  end
  return list
end

-- What is missing in a value that a shape shows; texts and numbers may be others.
local function find_missing(shape, value, where)
  if type(shape) ~= type(value) then return ("%s is %s"):format(where, type(value)) end
  if type(shape) ~= "table" then return nil end
  for key, one in pairs(shape) do
    local missing = find_missing(one, value[key], where .. "." .. key)
    if missing then return missing end
  end
end

-- A shape's list shows one item; an empty one says nothing.
local function run(command, env, folder)
  local child <close> = assert(core.process.spawn { "sh", "-e", "-c", "cd " .. folder .. "; " .. command
    .. "\nwait",
    stdout = "pipe", env = env })
  child:stdout():settimeout(15)
  local out = child:stdout():read "a"
  local _, status = child:wait(5)
  return out, status
end

-- /v1/pipes/{id} as a pattern for the commands of the page.
local function pattern_of(path)
  local pattern = path:gsub("/%.%.%.$", ""):gsub("[%-.]", "%%%0"):gsub("{%w+}", '[^/"%%s?]+')
  return "API" .. pattern .. '[/"?%s]'
end

describe("docs/http.md", function()
  local world = loopback.new(setup, teardown)

  it("has examples that run, and answers of their shape", world:pair(function(alice, bob)
    local near <close> = served.new(alice, { files = helper.scratch() .. "/files" })
    local far <close> = served.new(bob, { files = helper.scratch() .. "/files" })
    local env = { API = near.server.url:sub(1, -2), TOKEN = near.token, PEER = bob.address,
      PEER_API = far.server.url:sub(1, -2), PEER_TOKEN = far.token,
      LD_PRELOAD = "" } -- a sanitizer's library is not for curl
    local folder = helper.scratch()
    for _, example in ipairs(examples()) do
      local out, status = run(example.command, env, folder)
      assert.equal(0, status, example.command .. "\n" .. tostring(out))
      if example.shape then
        local value = json.decode(out)
        assert(value, example.command .. "\n" .. tostring(out))
        assert.is_nil(find_missing(example.shape, value, "answer"), example.command .. "\n" .. out)
      end
    end
    assert.equal("hello", helper.read(folder .. "/got.txt"))
  end))

  it("has one for every path", function()
    local text = {}
    for _, example in ipairs(examples()) do text[#text + 1] = example.command end
    text = table.concat(text, "\n") .. "\n"
    for _, route in ipairs(http.routes()) do
      assert.truthy(text:find(pattern_of(route.path)), route.method .. " " .. route.path)
    end
  end)
end)
