local browser = require "spec.browser"
local chat = require "p2pd.chat"
local client = require "spec.http"
local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local loopback = require "spec.loopback"
local page = require "p2pd.http.page"
local qr = require "p2pd.http.qr"
local served = require "spec.served"
local task = require "p2pd.task"
local transfer = require "p2pd.transfer"

local SCREENS = "build/screens"
local SIZE_MAX = 150 * 1000 -- bytes, all files together
local SECONDS = 110
local TAB, ENTER = "\u{E004}", "\u{E007}" -- WebDriver's names of keys
local AXE = os.getenv "P2PD_AXE" or "build/browser/node_modules/axe-core/axe.min.js"

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

local function size_of_all()
  local sum = 0
  for name in pairs(page.FILES) do sum = sum + #page.text(name) end
  return sum
end

-- The style sheet's colours by name: those of light pages, and of dark ones.
local function colours_of(css)
  local found = {}
  for scheme, block in css:gmatch "([^\n]*)\n? *:root (%b{})" do
    local name, colours = scheme:find "dark" and "dark" or "light", {}
    for key, value in block:gmatch "%-%-([%a-]+): #(%x+)" do
      colours[key] = #value == 3 and value:gsub("%x", "%0%0") or value
    end
    found[name] = colours
  end
  return found
end

-- WCAG 2.2, "relative luminance".
local function luminance(colour)
  local parts = {}
  for hex in colour:gmatch "%x%x" do
    local value = tonumber(hex, 16) / 255
    parts[#parts + 1] = value <= 0.04045 and value / 12.92 or ((value + 0.055) / 1.055) ^ 2.4
  end
  return 0.2126 * parts[1] + 0.7152 * parts[2] + 0.0722 * parts[3]
end

local function contrast(one, other)
  local a, b = luminance(one), luminance(other)
  return (math.max(a, b) + 0.05) / (math.min(a, b) + 0.05)
end

describe("p2pd.http.page", function()
  local world = loopback.new(setup, teardown)

  describe("its files", function()
    it("are there, in the folder and in nothing else", function()
      for name in lfs.dir "lua/p2pd/http/page" do
        if not name:find "^%." then assert.truthy(page.FILES[name], name) end
      end
      for name in pairs(page.FILES) do assert.truthy(page.text(name), name) end
      assert.is_true(size_of_all() <= SIZE_MAX, size_of_all() .. " bytes")
    end)

    it("load nothing from elsewhere, and have no scripts or styles inside", function()
      local html = page.text "index.html"
      assert.is_nil(html:find "<script>")
      assert.is_nil(html:find " style=")
      assert.is_nil(html:find " on%w+=")
      for name in pairs(page.FILES) do
        for url in page.text(name):gmatch "https?://[^\"'`%s)]+" do
          assert.equal("http://www.w3.org/2000/svg", url, name)
        end
      end
    end)

    it("are served without a token, with a policy, and no others are", served.one(world, function(near)
      for name, kind in pairs(page.FILES) do
        local answer = client.request(near.port, "GET", "/page/" .. name)
        assert.same({ 200, kind }, { answer.status, answer.headers["content-type"] })
        assert.equal(page.text(name), answer.body)
        assert.matches("default%-src 'none'; script%-src 'self'", answer.headers["content-security-policy"])
      end
      assert.equal(page.text "index.html", client.request(near.port, "GET", "/").body)
      for _, name in ipairs { "nothing.js", "..%2fpage.lua", "%2e%2e", "app.js/more",
        "..%2f..%2f..%2f..%2fetc%2fpasswd" } do
        assert.equal(404, client.request(near.port, "GET", "/page/" .. name).status, name)
      end
    end))

    -- Of text on what is behind it, WCAG 2.2, 1.4.3 and 1.4.11.
    it("have colours that can be told apart, light and dark", function()
      for scheme, colours in pairs(colours_of(page.text "style.css")) do
        for pair, least in pairs { ["text back"] = 4.5, ["text card"] = 4.5, ["text field"] = 4.5,
          ["soft back"] = 4.5, ["soft card"] = 4.5, ["soft field"] = 4.5, ["accent card"] = 4.5,
          ["on-accent accent"] = 4.5, ["good card"] = 4.5, ["good back"] = 4.5, ["bad card"] = 4.5,
          ["bad back"] = 4.5, ["wait back"] = 4.5, ["accent back"] = 3, ["wait card"] = 3 } do
          local front, behind = pair:match "(%S+) (%S+)"
          local found = contrast(colours[front], colours[behind])
          assert.is_true(found >= least, ("%s, %s: %.2f"):format(scheme, pair, found))
        end
      end
    end)

    it("move nothing", function() -- for people whom that makes ill
      for _, word in ipairs { "animation", "transition", "scroll-behavior" } do
        assert.is_nil(page.text("style.css"):find(word, 1, true))
      end
    end)

    it("are inside the executable", helper.task(function()
      local child <close> = helper.p2pd { "-e", 'package.path = "/nowhere/?.lua"; '
        .. 'io.write(require "p2pd.http.page".text "app.js")', cwd = "/" }
      assert.equal(page.text "app.js", child:stdout():read "a")
    end))
  end)

  describe("QR code", function()
    it("is an SVG document with a quiet zone", function()
      local svg = assert(qr.svg "HELLO")
      assert.matches('^<svg [^>]*viewBox="0 0 29 29"', svg) -- version 1 has 21 modules
      assert.matches('d="M4 4h7v1h%-7z', svg) -- a finder pattern begins it
    end)

    it("is refused for nothing, and for too much", function()
      assert.same({ nil, "the text is empty", "EINVAL" }, { qr.svg "" })
      assert.same({ nil, "the text is too long for a QR code", "E2BIG" }, { qr.svg(("x"):rep(2049)) })
      assert.truthy(qr.svg(("\xff"):rep(2048)))
      assert.has_error(function() core.qr.encode() end)
    end)

    it("has a path, that asks for the token", served.one(world, function(near)
      local answer = near:call("GET", "/v1/address/qr")
      assert.same({ 200, "image/svg+xml" }, { answer.status, answer.headers["content-type"] })
      assert.equal(qr.svg(near.node.address), answer.body)
      assert.equal(401, client.request(near.port, "GET", "/v1/address/qr").status)
    end))
  end)

  -- -- in a browser

  local function url_of(one) return one.server.url .. "#" .. one.token end

  -- Calls fn(browser, near, far) with alice's page open.
  local function shown(fn)
    return function()
      if not browser.is_there() then return pending "there is no chromium" end
      local folder = helper.scratch()
      helper.in_task(function()
        local alice <close> = world:start { allow = loopback.ALLOWING.allow }
        local bob <close> = world:start { allow = loopback.ALLOWING.allow }
        alice:ready()
        bob:ready()
        local near <close> = served.new(alice, { files = folder .. "/near" })
        local far <close> = served.new(bob, { files = folder .. "/far" })
        local one <close> = browser.start(folder)
        one:open(url_of(near))
        one:wait_text("#live", "Live")
        fn(one, near, far, folder)
      end, SECONDS)
    end
  end

  -- The page of the other one, in another window.
  local function open_other(one, far)
    local first, second = one:window(), one:new_window()
    one:switch(second)
    one:open(url_of(far))
    one:wait_text("#live", "Live")
    one:switch(first)
    return first, second
  end

  local function connect(one, address)
    one:type("#whom", address)
    one:click "#connect-form button"
  end

  local function check_accessible(one, where)
    local axe = read(AXE)
    if not axe then return end
    one:run(axe .. "\nwindow.axe = axe")
    local found = one:run_async [[
      const done = arguments[arguments.length - 1];
      axe.run().then(r => done(r.violations.filter(v => v.impact === "serious" || v.impact === "critical")
        .map(v => v.id + ": " + v.nodes.map(n => n.html).slice(0, 3).join(" "))));
    ]]
    assert.same({}, { table.unpack(found) }, where)
  end

  local function shoot_all(one, name)
    lfs.mkdir(SCREENS)
    for _, width in ipairs { 360, 1440 } do
      for _, scheme in ipairs { "light", "dark" } do
        one:look(width, scheme)
        assert.same({}, one:run [[
          return [...document.body.querySelectorAll("*")]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.outerHTML.slice(0, 80));
        ]], width .. " is too narrow")
        local is_broader = one:run "return document.documentElement.scrollWidth > innerWidth"
        assert.is_false(is_broader, width .. " is too narrow")
        check_accessible(one, ("%s, %d, %s"):format(name, width, scheme))
        one:shoot(("%s/%s-%d-%s.png"):format(SCREENS, name, width, scheme))
      end
    end
    one:look(1440, "light")
  end

  describe("in a browser", function()
    it("shows the node, and keeps the token out of the URL", shown(function(one, near)
      assert.equal(near.node.address, one:run "return document.querySelector('#address').innerText")
      one:wait "const qr = document.querySelector('#qr'); return qr.complete && qr.naturalWidth > 0"
      assert.equal(near.server.url, one:run "return location.href")
      assert.truthy(one:run "return document.querySelector('#verdict').innerText.length > 10")
      assert.matches("connected to nobody", one:run "return document.querySelector('#drawing svg').ariaLabel")
      one:wait "return document.querySelectorAll('#events li').length > 0"
      shoot_all(one, "alone")
      one:command("POST", "/refresh")
      one:wait_text("#live", "Live")
      assert.same({}, one:complaints())
    end))

    it("has nothing that axe calls serious", shown(function(one)
      if not read(AXE) then return pending "there is no axe: make browser" end
      one:run "document.querySelectorAll('details').forEach(e => e.open = true)"
      check_accessible(one, "all open")
    end))

    it("asks for the token when it has none, or a wrong one", shown(function(one, near)
      one:run "sessionStorage.clear()"
      one:open(near.server.url)
      one:wait "return !document.querySelector('#sign-in').hidden"
      assert.equal("token", one:run "return document.activeElement.id")
      check_accessible(one, "sign in")
      one:type("#token", "wrong-wrong-wrong-wrong" .. ENTER)
      one:wait_text("#token-fault", "wrong")
      one:run "document.querySelector('#token').value = ''"
      one:type("#token", near.token .. ENTER)
      one:wait_text("#live", "Live")
    end))

    it("connects, chats, sends a file, and sees a path break", shown(function(one, near, far, folder)
      local first, second = open_other(one, far)
      connect(one, far.node.address)
      one:wait_text("#dials .state", "connected after")
      one:wait_text("#dials .waterfall", "direct")
      one:wait_text("#log", "is here")
      one:wait_text("#sessions", "direct by lo")
      one:wait "return document.querySelector('#drawing .wire.used') !== null"
      one:type("#say", "hello <b>bob</b>" .. ENTER)
      one:wait_text("#log", "You: hello")
      one:switch(second)
      one:wait_text("#log", "hello <b>bob</b>")
      one:type("#say", "hello alice" .. ENTER)
      one:switch(first)
      one:wait_text("#log", "hello alice")

      one:run [[
        const bytes = new Uint8Array(5e6);
        for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 7 + (at >> 8)) & 255;
        const carried = new DataTransfer();
        carried.items.add(new File([bytes], "five.bin"));
        const drop = new DragEvent("drop", { dataTransfer: carried, bubbles: true });
        document.querySelector("#drop").dispatchEvent(drop);
      ]]
      one:wait_text("#transfers", "waits for an answer")
      one:switch(second)
      one:wait_text("#offers", "five.bin (5.0 MB)")
      check_accessible(one, "offer")
      one:click "#offers button"
      one:wait_text("#transfers", "five.bin")
      one:wait "return document.querySelector('#transfers .save')"
      one:click "#transfers .save"
      local path = folder .. "/downloads/five.bin"
      helper.wait_until(function() return (lfs.attributes(path, "size") or 0) == 5000000 end)
      local saved = read(path)
      for at = 0, #saved - 1, 4999 do assert.equal((at * 7 + (at >> 8)) & 255, saved:byte(at + 1)) end
      one:switch(first)
      one:wait_text("#transfers", "has arrived")

      local session = near.node:sessions()[1]
      session:drop(session:path().number, "broken by the spec")
      one:wait_text("#sessions", "1 time")
      one:wait_text("#events", "goes by direct")
      one:type("#say", "still there" .. ENTER)
      one:switch(second)
      one:wait_text("#log", "still there")
      one:switch(first)
      shoot_all(one, "connected")
      one:switch(second)
      one:open "about:blank"
      one:switch(first)
      one:wait_text("#log", "has left")
      assert.same({}, one:complaints())
    end))

    it("tells the sender that a file is not wanted", shown(function(one, _, far)
      local first, second = open_other(one, far)
      connect(one, far.node.address)
      one:wait_text("#log", "is here")
      local path = helper.scratch() .. "/empty"
      helper.write(path, "")
      for _, wanted in ipairs { false, true } do
        one:type("#file", path)
        one:switch(second)
        one:wait_text("#offers", "empty (0 B)")
        one:click(wanted and "#offers button" or "#offers button.quiet")
        one:wait_text("#offers", "")
        one:switch(first)
        one:wait_text("#transfers", wanted and "has arrived" or "it is not wanted")
      end
      one:type("#file", path)
      one:wait_text("#transfers", "waits for an answer")
      one:click "#transfers button"
      one:wait_text("#transfers", "canceled")
    end))

    it("takes a folder that p2pd send sends, and saves what is in it", shown(function(one, near, far, folder)
      lfs.mkdir(folder .. "/photos")
      helper.write(folder .. "/photos/a b.txt", "first")
      helper.write(folder .. "/photos/<b>.txt", "second")
      local total = assert(transfer.count { folder .. "/photos" })
      local pipe <close> = assert(far.node:connect(near.node.address, { protocol = transfer.PROTOCOL }))
      local sending <close> = task.spawn(transfer.send, pipe, { folder .. "/photos" }, { total = total })
      one:wait_text("#offers", "photos, 2 files in all (11 B)")
      check_accessible(one, "offer of a folder")
      one:click "#offers button"
      assert.equal(2, sending:join(20).files)
      one:wait_text("#transfers", "is here")
      one:wait "return document.querySelectorAll('#transfers .save').length === 2"
      check_accessible(one, "a folder is here")
      one:click "#transfers .save:last-child"
      helper.wait_until(function() return read(folder .. "/downloads/a b.txt") == "first" end)
      one:command("POST", "/refresh")
      one:wait_text("#transfers", "is here")
      assert.same({}, one:complaints())
    end))

    it("sends several files, and folders, in one transfer", shown(function(one, near, far, folder)
      local place = ("%s/far/%s/"):format(folder, near.node.id)
      lfs.mkdir(folder .. "/trip")
      lfs.mkdir(folder .. "/trip/day 1")
      helper.write(folder .. "/trip/day 1/a.txt", "first")
      helper.write(folder .. "/trip/b.txt", "second")
      helper.write(folder .. "/c.txt", "third")
      connect(one, far.node.address)
      one:wait_text("#log", "is here")
      local function take(count, path, text)
        one:wait_text("#transfers", "waits for an answer")
        local taken = far:call("POST", "/v1/transfers/accept", '{"timeout":10}').json
        assert.equal(count, taken.files)
        far:call("GET", ("/v1/transfers/%s?wait=10"):format(taken.id))
        assert.equal(text, helper.read(place .. path))
        one:wait "return !document.querySelector('#transfers').innerText.includes('waits')"
      end
      one:type("#folder", folder .. "/trip")
      take(2, "trip/day 1/a.txt", "first")
      one:type("#file", folder .. "/c.txt\n" .. folder .. "/trip/b.txt")
      take(2, "c.txt", "third")
      one:drop("#drop", { folder .. "/trip", folder .. "/c.txt" })
      take(3, "trip/b.txt", "second")
      assert.equal("second", helper.read(place .. "b.txt"))
      one:wait_text("#transfers", "trip, 3 files in all")
      assert.same({}, one:complaints())
    end))

    it("chats with p2pd chat", shown(function(one, _, far)
      local heard, children <close> = {}, task.group()
      local talk = chat.new(far.node, { name = "bob", on_event = function(kind, _, text)
        heard[#heard + 1] = kind .. " " .. text
      end })
      children:spawn(talk.serve, talk)
      connect(one, far.node.address)
      one:wait_text("#who", "bob (")
      one:type("#say", "hello bob" .. ENTER)
      helper.wait_until(function() return heard[2] end)
      assert.same({ "joined direct", "said hello bob" }, heard)
      talk:say "hello page"
      one:wait_text("#log", "hello page")
      talk:leave()
      one:wait_text("#log", "has left")
    end))

    -- What the page makes of a node behind such a router.
    it("says what each kind of router means, and draws the path", shown(function(one)
      local show = [[
        const [type, delta, strategy, done] = arguments;
        const node = { version: "", address: "0-0-0-x", id: "abcdefgh", name: "n", ready: true, mappings: [],
          brokers: [{ name: "b", offset: 0, state: "online" }], clock: { now: 0, source: "ntp" }, limits: [],
          counts: {}, interfaces: [{ name: "eth0", number: 0, routes: [{ family: "ipv4", nic: "10.0.0.2",
            external: "192.0.2.1", nat: { type, delta, value: 0 } }] }] };
        const real = window.fetch;
        window.fetch = async (path, more) => path === "/v1/node" ? new Response(JSON.stringify(node))
          : real(path, more);
        import("/page/network.js").then(async (network) => {
          await network.refresh();
          network.showPath({ name: "bob", address: "0-[0,198.51.100.7,10.0.0.9,1,5,2,0]-0-bob",
            session: { path: { strategy, local: "10.0.0.2:1", remote: "198.51.100.7:2" } } });
          const used = document.querySelector("#drawing .used").getAttribute("d").split("L").length;
          window.fetch = real;
          const text = (id) => document.querySelector(id).innerText;
          done([text("#verdict") + text("#verdict-more"), text("#drawing-words"), used]);
        });
      ]]
      local seen = {}
      for kind = 1, 7 do
        local shows = one:run_async(show, kind, 6, kind == 6 and "relay" or "punch")
        assert.is_nil(seen[shows[1]], shows[1])
        seen[shows[1]] = true
        assert.equal(kind == 6 and 5 or 4, shows[3]) -- you, router, (servers,) their router, peer
        assert.matches(kind == 6 and "relay" or "punch", shows[2])
      end
      lfs.mkdir(SCREENS)
      for _, width in ipairs { 360, 600, 1440 } do
        one:look(width, "light")
        one:shoot(("%s/routers-%d-light.png"):format(SCREENS, width))
      end
    end))

    it("tells why nobody was reached", shown(function(one, near, far)
      connect(one, "nonsense")
      one:wait_text("#connect-fault", "neither an address nor a contact")
      one:run "document.querySelector('#whom').value = ''"
      local gone = far.node.address
      far.server:close()
      far.node:close()
      one:run "document.querySelector('#seconds').value = 2"
      connect(one, "address: " .. gone)
      one:wait_text("#dials .state", "failed after")
      one:wait_text("#dials .waterfall", "refused")
      shoot_all(one, "failed")
      assert.same(0, #near.node:sessions())
    end))

    -- The contacts are the user's file: the name is nobody's.
    it("keeps contacts, and is used by keys alone", shown(function(one, _, far)
      one:run "document.querySelector('#add-contact summary').focus()"
      one:press(ENTER, TAB, "z", "z", "b", "o", "b", TAB)
      assert.equal("contact-address", one:run "return document.activeElement.id")
      one:type("#contact-address", far.node.address .. ENTER)
      one:wait_text("#contacts", "zzbob")
      one:type("#contact-name", "zzbob")
      one:type("#contact-address", "nonsense" .. ENTER)
      one:wait_text("#contact-fault", "not a peer address")
      one:command("POST", "/refresh")
      one:wait_text("#contacts", "zzbob")
      one:run "document.querySelector('#whom').focus()"
      one:press("z", "z", "b", "o", "b", ENTER)
      one:wait_text("#dials h3", "zzbob")
      local reached = one:run [[
        return [...document.querySelectorAll("button, input, summary, a[href]")]
          .filter(e => e.tabIndex < 0 && !e.disabled).length
      ]]
      assert.equal(0, reached)
      one:click "#contacts button[aria-label='Remove zzbob']"
      one:wait "return !document.querySelector('#contacts').innerText.includes('zzbob')"
    end))

    it("says when it lost the node, and goes on when it is there again", shown(function(one, near)
      local port, token = near.port, near.token
      near.server:close()
      one:wait_text("#lost", "was lost at")
      one:wait_text("#live", "Not connected")
      shoot_all(one, "lost")
      local again <close> = served.new(near.node, { port = port, token = token })
      one:wait_text("#live", "Live")
      one:wait "return document.querySelector('#lost').hidden"
      assert.truthy(again)
    end))

    it("is painted soon", shown(function(one)
      local paint = one:wait [[
        return (performance.getEntriesByName("first-contentful-paint")[0] || {}).startTime;
      ]]
      print(("page: first paint %.0f ms, %d bytes"):format(paint, size_of_all()))
      assert.is_true(paint > 0)
    end))
  end)
end)
