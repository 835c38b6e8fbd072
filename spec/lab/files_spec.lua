-- Two nodes behind port-restricted NATs, each with `p2pd serve`: curl alone connects them, and moves a file.
local core = require "p2pd.core"
local helper = require "spec.helper"
local json = require "dkjson"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local url = require "p2pd.http.url"

local HOME = { { type = "port-restricted", delta = "equal" } }
local API = "http://127.0.0.1:12333"
local WAIT, SECONDS, SIZE = 30, 90, 20 * 1000 * 1000

labs.describe("p2pd serve and curl, in the lab", function()
  local l, base

  setup(function()
    base = helper.scratch()
    core.task.run(function()
      l = assert(lab.open {
        hosts = { alice = { nats = HOME, latency = 0.01 }, bob = { nats = HOME, latency = 0.01 } },
        servers = { brokers = 2, stuns = 2, ntps = 1 },
      })
    end)
  end)
  teardown(function()
    core.task.run(function() if l then l:close() end end)
    helper.close_all()
  end)

  -- What a user sees of it: a token and an address.
  local function serve(host)
    local folder = helper.scratch()
    local child = assert(l:p2pd(host, { "serve", "--no-port-mapping", "--name", "files-" .. host,
      env = { XDG_DATA_HOME = folder, XDG_CONFIG_HOME = folder, XDG_RUNTIME_DIR = folder } }))
    child:stdout():settimeout(WAIT)
    local token = assert(child:stdout():read(), "p2pd serve does not start"):match "#(%x+)$"
    child:stdout():read() -- the token's place
    return child, { host = host, token = token, address = child:stdout():read():match "^address: (.*)$",
      folder = folder }
  end

  local function spawn_curl(one, path, ...)
    local line = { "curl", "-s", "-H", "Authorization: Bearer " .. one.token, API .. path, ... }
    line.stdin, line.stdout, line.cwd, line.env = "null", "pipe", base, { LD_PRELOAD = "" }
    return assert(l:spawn(one.host, line))
  end

  local function answer_of(child)
    child:stdout():settimeout(WAIT)
    local text = child:stdout():read "a"
    assert.same({ "exit", 0 }, { child:wait(WAIT) })
    return (assert(json.decode(text), text))
  end

  local function curl(one, path, ...)
    local child <close> = spawn_curl(one, path, ...)
    return answer_of(child)
  end

  local function sha256(path)
    local sum <close> = assert(io.popen(("LD_PRELOAD= sha256sum '%s'"):format(path)))
    return sum:read "a":match "^%x+"
  end

  it("connect, and move a file that arrives as it was", function()
    os.execute(("LD_PRELOAD= sh -c 'head -c %d /dev/urandom >%s/sent'"):format(SIZE, base))
    helper.in_task(function()
      local near_node <close>, near = serve "alice"
      local far_node <close>, far = serve "bob"
      assert.truthy(near_node and far_node)
      local accepting <close> = spawn_curl(far, "/v1/pipes/accept", "--json", '{"protocol":"hello/1"}')
      local pipe
      helper.wait_until(function()
        pipe = curl(near, "/v1/pipes", "--json", json.encode { address = far.address, protocol = "hello/1" })
        return pipe.id
      end)
      assert.equal("punch", pipe.strategy)
      assert.equal(pipe.protocol, answer_of(accepting).protocol)

      local target = ("/v1/transfers?to=%s&name=photo.jpg"):format(url.encode(far.address))
      local sending <close> = spawn_curl(near, target, "-T", "sent", "-X", "POST")
      local offer = curl(far, "/v1/transfers/accept", "--json", "{}")
      assert.same({ "running", SIZE }, { offer.state, offer.bytes })
      local sent = answer_of(sending)
      assert.same({ "done", SIZE, sha256(base .. "/sent") },
        { sent.state, sent.moved, sent.items[1].sha256 })
      local got = curl(far, ("/v1/transfers/%s?wait=10"):format(offer.id))
      assert.same({ "done", sent.items[1].sha256 }, { got.state, got.items[1].sha256 })

      local file = curl(far, "/v1/files").files[1]
      assert.same({ "photo.jpg", SIZE, got.items[1].url }, { file.name, file.size, file.url })
      local fetching <close> = spawn_curl(far, file.url, "-o", "got")
      assert.same({ "exit", 0 }, { fetching:wait(WAIT) })
      assert.equal(sha256(base .. "/sent"), sha256(base .. "/got"))
      assert.equal(1, #curl(near, "/v1/sessions").sessions)
    end, SECONDS)
  end)
end)
