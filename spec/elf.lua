--- Reads what an ELF file says about itself: enough to see how it was linked (64-bit, little-endian).
local elf = {}

local MAGIC = "\127ELF\2\1"
local HEADER, PROGRAM = "<c16 I2 I2 I4 I8 I8 I8 I4 I2 I2 I2 I2 I2 I2", "<I4 I4 I8 I8 I8 I8 I8 I8"
local MACHINES = { [62] = "x86_64", [183] = "aarch64" }
local TYPES = { [2] = "fixed", [3] = "relocatable" } -- ET_EXEC; ET_DYN: a PIE or a shared object
local PT_LOAD, PT_DYNAMIC, PT_GNU_STACK, PT_GNU_RELRO = 1, 2, 0x6474e551, 0x6474e552
local EXECUTABLE = 1
local DT_STRTAB, DT_STRSZ, DT_BIND_NOW, DT_FLAGS, DT_FLAGS_1 = 5, 10, 24, 30, 0x6ffffffb
local FLAG_NOW, FLAG_1_NOW = 8, 1

local function segments(bytes, at, size, count)
  local list = {}
  for i = 0, count - 1 do
    local kind, flags, offset, address, _, length = PROGRAM:unpack(bytes, at + i * size + 1)
    list[#list + 1] = { kind = kind, flags = flags, offset = offset, address = address, length = length }
  end
  return list
end

local function find(list, kind)
  for _, segment in ipairs(list) do
    if segment.kind == kind then return segment end
  end
end

local function dynamic_entries(bytes, segment)
  local entries = {}
  for at = segment.offset + 1, segment.offset + segment.length, 16 do
    local tag, value = ("<I8 I8"):unpack(bytes, at)
    if tag == 0 then break end
    entries[tag] = value
  end
  return entries
end

-- The names that the dynamic linker works with, as one string.
local function dynamic_names(bytes, list, entries)
  for _, segment in ipairs(list) do
    local offset = entries[DT_STRTAB] - segment.address
    if segment.kind == PT_LOAD and offset >= 0 and offset < segment.length then
      local from = segment.offset + offset + 1
      return bytes:sub(from, from + entries[DT_STRSZ] - 1)
    end
  end
  return ""
end

--- Reads a file.
-- @tparam string path
-- @treturn table kind ("fixed" or "relocatable"), machine ("x86_64", "aarch64" or nil), relro, bind_now,
-- executable_stack (booleans), names (what the dynamic linker knows, each between NULs), bytes (the file)
function elf.read(path)
  local file <close> = assert(io.open(path, "rb"))
  local bytes = file:read "a"
  assert(bytes:sub(1, #MAGIC) == MAGIC, path .. " is no 64-bit ELF file")
  local _, kind, machine, _, _, at, _, _, _, size, count = HEADER:unpack(bytes)
  local list = segments(bytes, at, size, count)
  local entries = dynamic_entries(bytes, find(list, PT_DYNAMIC))
  local stack = find(list, PT_GNU_STACK)
  return {
    kind = TYPES[kind],
    machine = MACHINES[machine],
    relro = find(list, PT_GNU_RELRO) ~= nil,
    bind_now = entries[DT_BIND_NOW] ~= nil or (entries[DT_FLAGS] or 0) & FLAG_NOW ~= 0
      or (entries[DT_FLAGS_1] or 0) & FLAG_1_NOW ~= 0,
    executable_stack = not stack or stack.flags & EXECUTABLE ~= 0,
    names = dynamic_names(bytes, list, entries),
    bytes = bytes,
  }
end

return elf
