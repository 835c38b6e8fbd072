--- A browser for specs: Chromium without a window, driven by WebDriver (W3C), which chromedriver speaks over
-- HTTP.
local core = require "p2pd.core"
local http = require "spec.http"
local json = require "dkjson"

local browser = { WAIT = 15 }

local ELEMENT = "element-6066-11e4-a52e-4f735466cecf" -- W3C WebDriver, section 12
local TURN_S = 0.02
local LAB_PORT = 9515

local function has(program)
  return os.execute(("command -v %s >/dev/null"):format(program)) or false
end

--- Whether there is one.
-- @treturn boolean
function browser.is_there()
  return has "chromium" and has "chromedriver"
end

-- Root can have no sandbox. Nothing but loopback is to be reached.
local FLAGS = { "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
  "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  "--hide-scrollbars", "--window-size=1440,900" }

local Browser = {}
Browser.__index = Browser

-- How requests reach a driver on this host: the answer's status and JSON.
local function exchange_here(port, method, path, body)
  local client <close> = http.connect(port)
  client.stream:settimeout(60) -- it starts, and loads pages, meanwhile
  client:send(method, path, { ["Content-Type"] = "application/json" }, body)
  local answer = assert(client:receive(), "the browser's driver hung up")
  return answer.status, answer.json
end

local function send(self, method, path, body)
  local status, answer = self.exchange(self.port, method, path, body and json.encode(body))
  local value = answer and answer.value
  if status >= 300 then
    error(("%s %s: %s"):format(method, path, value and value.message or status), 0)
  end
  if value == json.null then return nil end
  return value
end

local EMPTY = setmetatable({}, { __jsontype = "object" })

function Browser:command(method, path, body)
  local target = ("/session/%s%s"):format(self.session, path)
  return send(self, method, target, method == "POST" and (body or EMPTY) or nil)
end

--- A command of the browser's own protocol.
function Browser:cdp(name, params)
  return self:command("POST", "/goog/cdp/execute", { cmd = name, params = params or EMPTY })
end

function Browser:open(url)
  return self:command("POST", "/url", { url = url })
end

local function arguments(...)
  return setmetatable({ ... }, { __jsontype = "array" })
end

--- Runs a function's body in the page.
-- @tparam string script
-- @param ... its `arguments`
-- @return what it returns
function Browser:run(script, ...)
  return self:command("POST", "/execute/sync", { script = script, args = arguments(...) })
end

--- The same, until the script calls its last argument with a value.
function Browser:run_async(script, ...)
  return self:command("POST", "/execute/async", { script = script, args = arguments(...) })
end

--- Waits until a script's value is neither null nor false.
-- @return that
function Browser:wait(script, ...)
  local limit = core.clock.monotonic() + browser.WAIT
  while true do
    local value = self:run(script, ...)
    if value then return value end
    if core.clock.monotonic() > limit then
      local shown = self:run "return document.body.innerText"
      error(("it does not come true: %s\nthe page: %s"):format(script, shown), 2)
    end
    core.task.sleep(TURN_S)
  end
end

--- Waits until an element has a text.
function Browser:wait_text(selector, text)
  return self:wait([[
    return [...document.querySelectorAll(arguments[0])].some(e => e.innerText.includes(arguments[1]));
  ]], selector, text)
end

local function find(self, selector)
  return self:command("POST", "/element", { using = "css selector", value = selector })[ELEMENT]
end

function Browser:click(selector)
  return self:command("POST", ("/element/%s/click"):format(find(self, selector)))
end

--- Types into an element, by its keys.
function Browser:type(selector, text)
  return self:command("POST", ("/element/%s/value"):format(find(self, selector)), { text = text })
end

--- Drops files and folders of this host on an element.
function Browser:drop(selector, paths)
  local x, y = table.unpack(self:run([[
    const element = document.querySelector(arguments[0]);
    element.scrollIntoView({ block: "center" });
    const box = element.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  ]], selector))
  local data = { items = arguments(), files = arguments(table.unpack(paths)), dragOperationsMask = 1 }
  for _, kind in ipairs { "dragEnter", "dragOver", "drop" } do
    self:cdp("Input.dispatchDragEvent", { type = kind, x = x, y = y, data = data })
  end
end

--- Presses keys, one after the other, wherever the focus is.
function Browser:press(...)
  local actions = {}
  for _, key in ipairs { ... } do
    actions[#actions + 1] = { type = "keyDown", value = key }
    actions[#actions + 1] = { type = "keyUp", value = key }
  end
  return self:command("POST", "/actions", { actions = { { type = "key", id = "keys", actions = actions } } })
end

--- Opens another window.
-- @treturn string what `switch` takes
function Browser:new_window()
  return self:command("POST", "/window/new", { type = "window" }).handle
end

function Browser:window()
  return self:command("GET", "/window")
end

function Browser:switch(handle)
  return self:command("POST", "/window", { handle = handle })
end

--- From now on the page is so wide, and its reader likes this scheme of colours.
function Browser:look(width, scheme)
  self:cdp("Emulation.setDeviceMetricsOverride",
    { width = width, height = 800, deviceScaleFactor = 1, mobile = false })
  self:cdp("Emulation.setEmulatedMedia", { features = { { name = "prefers-color-scheme", value = scheme } } })
end

local BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function from_base64(text)
  local value_of = {}
  for i = 1, 64 do value_of[BASE64:byte(i)] = i - 1 end
  local parts = {}
  for at = 1, #text, 4 do
    local a, b, c, d = text:byte(at, at + 3)
    local bits = value_of[a] << 18 | value_of[b] << 12 | (value_of[c] or 0) << 6 | (value_of[d] or 0)
    parts[#parts + 1] = string.pack(">I3", bits):sub(1, value_of[d] and 3 or value_of[c] and 2 or 1)
  end
  return table.concat(parts)
end

--- Writes a picture of the whole page.
function Browser:shoot(path)
  local picture = self:cdp("Page.captureScreenshot", { format = "png", captureBeyondViewport = true,
    clip = self:run [[
      const root = document.documentElement;
      return { x: 0, y: 0, width: root.clientWidth, height: root.scrollHeight, scale: 1 };
    ]] })
  local file <close> = assert(io.open(path, "wb"))
  file:write(from_base64(picture.data))
end

Browser.__close = function(self)
  if self.session then pcall(send, self, "DELETE", "/session/" .. self.session) end
  self.driver:close()
end

-- The same in a host of the lab, where curl is sent.
local function exchange_in(place, host, folder)
  return function(port, method, path, body)
    local command = { "env", "LD_PRELOAD=", "curl", "-sS", "-m", "60", "-X", method, "-w", "\n%{http_code}",
      ("http://127.0.0.1:%d%s"):format(port, path) }
    if body then
      local file <close> = assert(io.open(folder .. "/body", "wb"))
      file:write(body)
      table.move({ "-H", "Content-Type: application/json", "--data-binary", "@" .. folder .. "/body" }, 1, 4,
        #command + 1, command)
    end
    local result = assert(place:run(host, command, 70))
    assert(result.status == 0, ("curl in %s: status %d %s"):format(host, result.status, result.err))
    local text, status = result.out:match "^(.*)\n(%d+)$"
    return tonumber(status), json.decode(text, 1, json.null)
  end
end

-- Where there is no IPv6 it does not tell which port it has chosen.
local function start_driver(spawn, wanted)
  local driver = assert(spawn { "chromedriver", "--port=" .. wanted, stdout = "pipe", stderr = "null",
    env = { LD_PRELOAD = "" } })
  driver:stdout():settimeout(browser.WAIT)
  for line in function() return (driver:stdout():read()) end do
    local port = line:match "started successfully on port (%d+)"
    if port then return driver, math.tointeger(tonumber(port)) end
  end
  driver:close()
  error "chromedriver does not start"
end

--- Starts one. Waits.
-- @tparam string folder for what it keeps, and `downloads` in it
-- @tparam[opt] lab place where it is to run, as `host` there
-- @tparam[opt] string host
-- @treturn browser to be closed
function browser.start(folder, place, host)
  local driver, port = start_driver(place and function(command) return place:spawn(host, command) end
    or core.process.spawn, place and LAB_PORT or 0)
  local self = setmetatable({ driver = driver, port = port,
    exchange = place and exchange_in(place, host, folder) or exchange_here }, Browser)
  local flags = arguments("--user-data-dir=" .. folder .. "/profile", table.unpack(FLAGS))
  local ok, made = pcall(send, self, "POST", "/session", { capabilities = { alwaysMatch = {
    browserName = "chrome",
    ["goog:loggingPrefs"] = { browser = "ALL" },
    ["goog:chromeOptions"] = { args = flags, binary = "/usr/bin/chromium",
      prefs = { ["download.default_directory"] = folder .. "/downloads" } },
  } } })
  if not ok then
    driver:close()
    error(made, 0)
  end
  self.session = made.sessionId
  return self
end

--- What the page and the browser have complained of since the last call: violations of the policy, errors.
-- @treturn {string,...}
function Browser:complaints()
  local list = {}
  for _, entry in ipairs(self:command("POST", "/se/log", { type = "browser" })) do
    if entry.level == "SEVERE" then list[#list + 1] = entry.message end
  end
  return list
end

return browser
