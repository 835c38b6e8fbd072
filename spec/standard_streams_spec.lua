-- Standard descriptors that are closed or full, for every command.
local cli = require "p2pd.cli"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local lfs = require "lfs"
local loopback = require "spec.loopback"
local p2pd = require "p2pd"
local task = helper.task

local FAILURES = { [">/dev/full"] = "No space left on device", [">&-"] = "it is closed" }

-- Commands that say nothing as long as they have nothing to say.
local SILENT = { connect = true, contacts = true, listen = true, send = true, recv = true }

local function echo(accepted)
  local pipe <close> = accepted
  for data in function() return (pipe:recv()) end do pipe:write(data) end
  cli.drain(pipe)
end

describe("standard streams", function()
  local world = loopback.new(setup, teardown, { stun = true })
  local peer

  local function start_echo()
    local node = world:start()
    p2pd.spawn(function()
      for pipe in node:pipes() do p2pd.spawn(echo, pipe) end
    end)
    peer = node.address
    return node
  end

  -- What makes a command write without help from others.
  local function arguments_of(name)
    local with_node = { name, "--settings", world.path, "--interface", "lo" }
    local more = { connect = { peer }, ping = { peer, "-c", "1" }, nat = { "--json" }, node = {}, chat = {},
      expose = { "--allow-anybody", "1" }, forward = { "0", peer } }
    if not more[name] then return { name } end
    return table.move(more[name], 1, #more[name], #with_node + 1, with_node)
  end

  local function can_run(name) return name ~= "lab" or lab.is_possible() end

  local function run(redirection, arguments)
    local status, out, err = helper.run_redirected(redirection, arguments)
    return status, err, out
  end

  it("are written to by p2pd.cli alone", function()
    for _, command in ipairs(cli.commands()) do
      for line in io.lines("scripts/" .. command.name .. ".lua") do
        local code = line:gsub("cli%.print", "")
        assert.not_matches("%f[%w]print%f[%W]", code)
        assert.not_matches("io%.write", code)
        assert.not_matches("io%.stdout", code)
      end
    end
  end)

  for redirection, reason in pairs(FAILURES) do
    local pattern = "p2pd: standard output: " .. reason

    it("are told to fail with " .. redirection .. " by every command", task(function()
      local _ <close> = start_echo()
      for _, command in ipairs(cli.commands()) do
        if not SILENT[command.name] and can_run(command.name) then
          local status, err = run(redirection, arguments_of(command.name))
          assert.matches(pattern, err, 1, true)
          assert.equal(1, status, command.name)
        end
        local status, err = run(redirection, { command.name, "--help" })
        assert.same({ 1, pattern .. "\n" }, { status, err })
      end
    end, 60))

    it("are told to fail with " .. redirection .. " by connect", task(function()
      local _ <close> = start_echo()
      local status, err = run("<<<x " .. redirection, arguments_of "connect")
      assert.equal(1, status)
      assert.matches("^p2pd: write: ", err)
    end))

    it("are told to fail with " .. redirection .. " by the rest", task(function()
      for _, arguments in ipairs { { "--help" }, { "--version" }, { "help" }, { "help", "node" },
          { "-e", "io.write(1)" } } do
        local status, err = run(redirection, arguments)
        assert.same({ 1, pattern .. "\n" }, { status, err })
      end
      local status, err = run(redirection, { "-e", "print(1)" })
      assert.same({ 1, "p2pd: standard output: a write failed\n" }, { status, err })
    end))
  end

  it("do not change another exit status", task(function()
    assert.same({ 7, "", "" }, { run(">/dev/full", { "-e", "io.write(1) os.exit(7, true)" }) })
    assert.equal(2, (run(">/dev/full", { "node", "--no-such-option" })))
  end))

  describe("that are closed", function()
    it("are an empty input to connect", task(function()
      local _ <close> = start_echo()
      assert.same({ 0, "", "" }, { run("<&-", arguments_of "connect") })
    end))

    it("are an empty input to a script, and to Lua's own input", task(function()
      assert.same({ 0, "", "" }, { run("<&-", {}) })
      assert.same({ 0, "", "nil\n" }, { run("<&-", { "-e", "print(io.read())" }) })
    end))

    it("end the lab, which leaves nothing behind", task(function()
      if not can_run "lab" then return end
      local status, err, out = run("<&-", { "lab" })
      assert.equal(0, status, err)
      local folder = out:match "settings +(%S+)/settings%.lua"
      assert.is_string(folder)
      assert.is_nil(lfs.attributes(folder))
    end))

    it("are not taken by other files", task(function()
      local code = [[
        local p2pd, lfs = require "p2pd", require "lfs"
        local node <close> = assert(p2pd.node { settings = "%s", interfaces = { "lo" } })
        local names = {}
        for fd = 0, 2 do names[fd + 1] = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target") end
        local file <close> = io.open("%s", "w")
        file:write(table.concat(names, " "))]]
      local result = helper.scratch() .. "/names"
      assert.equal(0, (run("<&- >&- 2>&-", { "-e", code:format(world.path, result) })))
      assert.equal("/dev/null /dev/null /dev/null", helper.read(result))
    end))
  end)
end)
