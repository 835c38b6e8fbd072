local elf = require "spec.elf"

local ENDBR64 = "\xf3\x0f\x1e\xfa"
local sanitized = os.getenv "P2PD_SAN" ~= nil

local function output_folder()
  return assert(package.searchpath("p2pd.core", package.cpath)):match "^(.*)/p2pd/core%.so$"
end

local BINARIES = {
  { name = "the executable", path = os.getenv "P2PD_EXE" or "./p2pd" },
  { name = "core.so", path = output_folder() .. "/p2pd/core.so" },
  { name = "p2pd-netdelay", path = output_folder() .. "/p2pd-netdelay" },
}

for _, binary in ipairs(BINARIES) do
  describe("the hardening of " .. binary.name, function()
    local file = elf.read(binary.path)

    it("leaves its place in memory to the system", function() assert.equal("relocatable", file.kind) end)

    it("makes what the linker has resolved read-only", function()
      assert.is_true(file.relro)
      assert.is_true(file.bind_now)
    end)

    it("has a stack that cannot be executed", function() assert.is_false(file.executable_stack) end)

    it("watches the stack", function()
      assert.matches("\0__stack_chk_fail\0", file.names, 1, true)
    end)

    it("has the checked functions of the C library", function()
      if sanitized then return pending "the sanitizers check them" end
      assert.matches("\0__%w+_chk\0", file.names)
    end)

    it("was compiled with the flags that leave no name behind", function()
      if not file.bytes:find("-fstack-protector-strong", 1, true) then
        return pending "it has no debugging information"
      end
      assert.matches("-fstack-clash-protection", file.bytes, 1, true)
    end)

    it("lets indirect calls arrive at functions only", function()
      if file.machine ~= "x86_64" then return pending "the flag is x86's" end
      assert.matches(ENDBR64, file.bytes, 1, true)
    end)
  end)
end
