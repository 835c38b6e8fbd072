local helper = require "spec.helper"
local lfs = require "lfs"
local version = require "p2pd.version"

local DIST = "p2pd-" .. version

local function output_of(command)
  local pipe <close> = assert(io.popen(("LD_PRELOAD= MAKEFLAGS= %s 2>&1"):format(command)))
  return pipe:read "a"
end

local function has(program)
  return output_of("command -v " .. program) ~= ""
end

describe("what is packed", function()
  local root, tree

  -- A copy of what git knows, or of all that was not built: `make dist` leaves the checkout as it is.
  setup(function()
    root = helper.scratch()
    local said = output_of(("make -s dist BUILD='%s'"):format(root))
    tree = root .. "/" .. DIST
    local status = output_of(("tar -C '%s' -xzf '%s/%s.tar.gz'; echo $?"):format(root, root, DIST))
    assert.equal("0\n", status, said)
  end)

  teardown(helper.close_all)

  it("has everything that builds, and nothing that was built", function()
    for _, path in ipairs { "Makefile", "LICENSE", "lua/p2pd/init.lua", "host/main.c", ".ci/run" } do
      assert.equal("file", lfs.attributes(tree .. "/" .. path, "mode"), path)
    end
    assert.is_nil(lfs.attributes(tree .. "/build"))
    assert.is_nil(lfs.attributes(tree .. "/p2pd"))
  end)

  it("is the same each time", function()
    local again = helper.scratch()
    output_of(("make -s dist BUILD='%s'"):format(again))
    local name = "/" .. DIST .. ".tar.gz"
    assert.equal(helper.read(root .. name), helper.read(again .. name))
  end)

  it("can be packed from the tarball again", function()
    local again = helper.scratch()
    output_of(("make -s -C '%s' dist BUILD='%s'"):format(tree, again))
    local list = "tar -tzf '%s/" .. DIST .. ".tar.gz' | sort"
    assert.equal(output_of(list:format(root)), output_of(list:format(again)))
  end)

  it("has a rockspec that names the version and the tarball", function()
    local spec = {}
    assert(loadfile(("%s/%s-1.rockspec"):format(root, DIST), "t", spec))()
    assert.equal(version .. "-1", spec.version)
    assert.equal(DIST, spec.source.dir)
    assert.matches("^file://.*/" .. DIST:gsub("%p", "%%%0") .. "%.tar%.gz$", spec.source.url)
    assert.equal("MIT", spec.description.license)
  end)
end)

-- What the pages lead to and show is there, too.
local function check_links(folder)
  local count = 0
  for path in output_of("find '" .. folder .. "' -name '*.md'"):gmatch "[^\n]+" do
    for target in helper.read(path):gmatch "%]%(([%w_./-]+)%)" do
      count = count + 1
      assert.is_truthy(lfs.attributes(path:match "^.*/" .. target, "mode"), path .. ": " .. target)
    end
  end
  assert.is_true(count > 20)
  assert.is_truthy(lfs.attributes(folder .. "docs/terminal.svg", "mode"))
end

describe("what is installed", function()
  teardown(helper.close_all)

  local EXPECTED = {
    "bin/p2pd", "bin/p2pd-netdelay", "lib/lua/5.4/p2pd/core.so", "share/lua/5.4/p2pd/init.lua",
    "share/lua/5.4/p2pd/strategy/punch.lua", "share/man/man1/p2pd.1",
    "share/bash-completion/completions/p2pd",
    "share/doc/p2pd/LICENSE", "share/doc/p2pd/CHANGELOG.md", "share/doc/p2pd/docs/protocol.md",
  }

  it("has command, module, manual, completion and documents, which lead to each other", function()
    local root = helper.scratch()
    local said = output_of(("make -s -o all -o man install DEPS=check DESTDIR='%s' PREFIX=/usr OUT='%s'")
      :format(root, package.searchpath("p2pd.core", package.cpath):match "^(.*)/p2pd/core%.so$"))
    for _, path in ipairs(EXPECTED) do
      assert.equal("file", lfs.attributes(root .. "/usr/" .. path, "mode"), said)
    end
    check_links(root .. "/usr/share/doc/p2pd/")
  end)
end)

describe("the version", function()
  it("is what the executable says", function()
    assert.matches("^p2pd " .. version .. " ", output_of((os.getenv "P2PD_EXE" or "./p2pd") .. " --version"))
  end)

  it("has a part in the list of changes", function()
    assert.matches("\n## " .. version .. " - ", helper.read "CHANGELOG.md", 1, true)
  end)
end)

describe("the Debian package", function()
  teardown(helper.close_all)

  it("has what apt needs to know", function()
    if os.getenv "P2PD_SAN" then return pending "it is made of what is not sanitized" end
    if not has "dpkg-shlibdeps" then return pending "there is no dpkg-shlibdeps" end
    local root = helper.scratch()
    local said = output_of(("make -s -o all -o man deb DEPS=check BUILD='%s'"):format(root))
    local file = output_of(("ls '%s'/*.deb"):format(root)):gsub("%s+$", "")
    local control = output_of(("dpkg-deb -f '%s'"):format(file))
    assert.matches("^Package: p2pd\nVersion: " .. version, control, 1, false)
    for _, name in ipairs { "libc6", "libev4", "libssl3", "lua5.4", "lua-dkjson" } do
      assert.matches("Depends: [^\n]*" .. name:gsub("%p", "%%%0"), control, 1, false)
    end
    local list = output_of(("dpkg-deb -c '%s'"):format(file))
    for _, path in ipairs { "usr/bin/p2pd", "man/man1/p2pd.1.gz", "completions/p2pd", "p2pd/core.so" } do
      assert.matches(path .. "\n", list, 1, true, said)
    end
    output_of(("dpkg-deb -x '%s' '%s/unpacked' 2>&1"):format(file, root))
    check_links(root .. "/unpacked/usr/share/doc/p2pd/")
  end)
end)
