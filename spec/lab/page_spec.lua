-- The page of a node behind a NAT, in a browser there: to a peer behind another one, whose page is open, too.
local browser = require "spec.browser"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local lfs = require "lfs"

local HOME = { { type = "port-restricted", delta = "equal" } }
local ENTER = "\u{E007}"
local SECONDS = 150
local SCREENS = "build/screens"

local function serve(l, host)
  local folder = helper.scratch()
  local child = assert(l:p2pd(host, { "serve", "--http", "127.0.0.1:12333", "--no-port-mapping",
    "--name", "page-" .. host,
    env = { XDG_DATA_HOME = folder, XDG_CONFIG_HOME = folder,
      XDG_RUNTIME_DIR = folder } }))
  child:stdout():settimeout(20)
  local url = assert(child:stdout():read(), "p2pd serve does not start")
  child:stdout():read() -- the token's place
  return child, url, child:stdout():read():match "^address: (.*)$"
end

local function open_page(l, host, url)
  local folder = helper.scratch()
  local one = browser.start(folder, l, host)
  one:open(url)
  one:wait_text("#live", "Live")
  return one, folder
end

labs.describe("p2pd.http.page in the lab", function()
  teardown(helper.close_all)

  it("connects through two NATs, chats, sends a file, and goes on by another path", function()
    if not browser.is_there() then return pending "there is no chromium" end
    helper.in_task(function()
      local l <close> = assert(lab.open {
        hosts = { alice = { nats = HOME, latency = 0.01 }, bob = { nats = HOME, latency = 0.01 } },
        servers = { brokers = 2, stuns = 2, ntps = 1 },
      })
      local near_node <close>, near_url = serve(l, "alice")
      local far_node <close>, far_url, far_address = serve(l, "bob")
      local near <close> = open_page(l, "alice", near_url)
      local far_page, folder = open_page(l, "bob", far_url)
      local far <close> = far_page
      assert.truthy(near_node and far_node)
      near:wait_text("#verdict", "can be reached by punching")

      near:type("#whom", far_address .. ENTER)
      near:wait_text("#dials .state", "connected after")
      near:wait_text("#dials .waterfall", "punch")
      near:wait_text("#sessions", "punch")
      near:wait_text("#drawing", "Their router")
      near:wait_text("#drawing-words", "through the internet")
      near:type("#say", "hello" .. ENTER)
      far:wait_text("#log", "hello")

      local path = folder .. "/sent.bin"
      local bytes = ("0123456789abcdef"):rep(5000000 // 16)
      helper.write(path, bytes)
      near:type("#file", path)
      far:wait_text("#offers", "sent.bin (5.0 MB)")
      far:click "#offers button"
      far:wait "return document.querySelector('#transfers .save')"
      near:wait_text("#transfers", "has arrived")
      far:click "#transfers .save"
      local saved = folder .. "/downloads/sent.bin"
      helper.wait_until(function() return lfs.attributes(saved, "size") == #bytes end)
      assert.is_true(helper.read(saved) == bytes)

      local port = near:run "return document.querySelector('#sessions dd').innerText":match ":(%d+) to "
      assert(l:run("alice", { "iptables", "-A", "OUTPUT", "-p", "tcp", "--sport", port, "-j", "REJECT",
        "--reject-with", "tcp-reset" }))
      near:type("#say", "are you still there?" .. ENTER)
      near:wait_text("#sessions", "1 time")
      far:wait_text("#log", "are you still there?")
      near:wait_text("#events", "resumed")
      lfs.mkdir(SCREENS)
      for _, width in ipairs { 360, 1440 } do
        near:look(width, "light")
        near:shoot(("%s/lab-%d-light.png"):format(SCREENS, width))
      end
      assert.same({}, near:complaints())
      assert.same({}, far:complaints())
    end, SECONDS)
  end)
end)
