-- The files of contrib/, tried with the real servers: only places, ports and the loopback are changed.
local core = require "p2pd.core"
local forward = require "p2pd.forward"
local helper = require "spec.helper"
local p2pd = require "p2pd"
local task = helper.task

local WAIT = 10

-- Replaces each text of a file, which has to be there.
local function edited(path, changes)
  local text = helper.read(path)
  for _, change in ipairs(changes) do
    local from, to = change[1]:gsub("%p", "%%%0"), change[2]:gsub("%%", "%%%%")
    local n
    text, n = text:gsub(from, to)
    assert(n > 0, path .. " has no " .. change[1])
  end
  return text
end

local function run(...)
  local child <close> = assert(core.process.spawn { stdout = "pipe", stderr = "stdout", ... })
  child:stdout():settimeout(WAIT)
  local out = child:stdout():read "a"
  return select(2, child:wait(WAIT)), out
end

-- Starts a server and waits until its port can be connected to.
local function start(port, ...)
  local child = assert(core.process.spawn { stdout = "null", stderr = "null",
    env = { PATH = os.getenv "PATH" .. ":/usr/sbin", LD_PRELOAD = "" }, ... })
  helper.wait_until(function()
    assert(child:wait(0) == nil, "the server ended")
    local stream <close> = p2pd.tcp.connect(port)
    return stream ~= nil
  end)
  return child
end

-- The command of contrib/p2pd.service with its environment, on loopback and in a folder of the spec's.
local function spawn_unit(folder, peer)
  local text = helper.read "contrib/p2pd.service"
  local command = { env = {} }
  for name, value in text:match "\nEnvironment=([^\n]+)":gmatch "(%S+)=(%S+)" do
    assert(value:find "^/", name)
    command.env[name] = folder
  end
  local line = text:match "\nExecStart=/usr/local/bin/p2pd ([^\n]+)":gsub("${P2PD_PEER}", peer)
  for word in line:gmatch "%S+" do command[#command + 1] = word end
  table.insert(command, 2, "--interface=lo")
  return helper.p2pd(command)
end

describe("contrib/", function()
  local folder, cert, key

  before_each(function()
    folder = helper.scratch()
    cert, key = helper.certificate(folder)
  end)
  teardown(helper.close_all)

  it("mosquitto.conf is a broker with TLS and a password, by which nodes meet", task(function()
    local port = helper.free_port()
    assert.equal(0, (run("mosquitto_passwd", "-b", "-c", folder .. "/passwd", "p2pd", "secret")))
    local path = helper.write(folder .. "/mosquitto.conf", "user root\n" .. edited("contrib/mosquitto.conf", {
      { "listener 8883", ("listener %d 127.0.0.1"):format(port) },
      { "certfile /etc/mosquitto/certs/fullchain.pem", "certfile " .. cert },
      { "keyfile /etc/mosquitto/certs/privkey.pem", "keyfile " .. key },
      { "password_file /etc/mosquitto/p2pd.passwd", "password_file " .. folder .. "/passwd" },
    }))
    local server <close> = start(port, "mosquitto", "-c", path)
    local function node(pass)
      local entry = { host = "127.0.0.1", port = port, tls = true, ca = cert, user = "p2pd", pass = pass }
      return assert(p2pd.node { interfaces = { "lo" },
        settings = { mqtt = { entry }, stun = {}, ntp = {}, turn = {} } })
    end
    local alice <close> = node "secret"
    local bob <close> = node "secret"
    assert.equal("hello", (alice:echo(bob.address, "hello", WAIT)))
    local level = core.log.level()
    core.log.level "error"
    local mallory <close> = node "guess"
    core.log.level(level)
    assert.is_nil((mallory:echo(bob.address, "hello", 1)))
    assert.is_nil((server:wait(0)))
  end))

  it("turnserver.conf relays, by UDP and by TLS, for who has the password", task(function()
    local port, tls_port = helper.ports(2)
    local path = helper.write(folder .. "/turnserver.conf", edited("contrib/turnserver.conf", {
      { "listening-port=3478", ("listening-port=%d\nlistening-ip=127.0.0.1\nrelay-ip=127.0.0.1\n"
        .. "allow-loopback-peers\npidfile=%s/pid\nuserdb=%s/db\nlog-file=%s/log")
        :format(port, folder, folder, folder) },
      { "tls-listening-port=5349", "tls-listening-port=" .. tls_port },
      { "cert=/etc/coturn/fullchain.pem", "cert=" .. cert },
      { "pkey=/etc/coturn/privkey.pem", "pkey=" .. key },
    }))
    local server <close> = start(tls_port, "turnserver", "-c", path)
    local broker = helper.mosquitto {}
    local function node(transport, pass)
      local _, settings = helper.settings { brokers = { broker } }
      local is_tls = transport == "tls"
      settings.turn = { { host = "127.0.0.1", port = is_tls and tls_port or port, transport = transport,
        user = "p2pd", pass = pass, ca = is_tls and cert or nil } }
      settings.stun = { { host = "127.0.0.1", port = port } }
      return assert(p2pd.node { interfaces = { "lo" }, settings = settings })
    end
    local bob <close> = node("udp", "change-me")
    for _, transport in ipairs { "udp", "tls" } do
      local alice <close> = node(transport, "change-me")
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "relay" } }))
      assert.equal("relay", pipe.strategy)
    end
    local _, without = helper.settings { brokers = { broker } }
    local carol <close> = assert(p2pd.node { interfaces = { "lo" }, settings = without })
    local mallory <close> = node("udp", "guess")
    local pipe, failure = mallory:connect(carol.address, { strategies = { "relay" }, timeout = 5 })
    assert.is_nil(pipe)
    assert.matches("401", tostring(failure), 1, true)
    assert.is_nil((server:wait(0)))
  end, 40))

  describe("p2pd.service", function()
    it("is a unit that systemd understands", task(function()
      if not os.execute "command -v systemd-analyze >/dev/null" then return pending "there is no systemd" end
      local path = helper.write(folder .. "/p2pd.service", edited("contrib/p2pd.service", {
        { "/usr/local/bin/p2pd", "/bin/true" },
      }))
      local status, out = run("systemd-analyze", "verify", path)
      assert.same({ 0, "" }, { status, out })
    end))

    it("runs a command that exposes a service, keeps its key, and ends when it is told to", task(function()
      local broker = helper.mosquitto {}
      local settings = select(2, helper.settings({ brokers = { broker } }, folder .. "/settings.lua"))
      assert(os.execute(("mkdir %s/p2pd && mv %s/settings.lua %s/p2pd"):format(folder, folder, folder)))
      local home <close> = assert(p2pd.node { interfaces = { "lo" }, settings = settings })
      local child <close> = spawn_unit(folder, home.id)
      child:stdout():settimeout(WAIT)
      local address = assert(child:stdout():read "l"):match "^address: (.+)$"
      assert.is_not_nil(address)
      local pipe = forward.open(home, address, "imap")
      assert.is_nil(pipe)
      assert.is_not_nil(core.folder.resolve(folder .. "/p2pd/server.key"))
      child:kill "TERM"
      assert.same({ "exit", 143 }, { child:wait(WAIT) })
    end))
  end)
end)
