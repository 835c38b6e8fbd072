--- The shell script that builds what a plan says.
-- @module p2pd.lab.script
local topology = require "p2pd.lab.topology"

local script = {}

local function here_document(command, text)
  return ("%s <<'__END'\n%s\n__END\n"):format(command, text)
end

-- In the namespace itself. Files first: interfaces that come up later take some of them over.
local function body(namespace)
  local lines = {}
  for _, file in ipairs(namespace.files) do
    lines[#lines + 1] = ("[ ! -e %s ] || echo %s >%s\n"):format(file[1], file[2], file[1])
  end
  return table.concat(lines)
end

local function configure(namespace)
  local lines = {}
  for _, one in ipairs { { "ip -batch -", namespace.ip }, { "ip -6 -batch -", namespace.ip6 or {} } } do
    if one[2][1] then lines[#lines + 1] = here_document(one[1], table.concat(one[2], "\n")) end
  end
  for _, text in ipairs(namespace.nft) do lines[#lines + 1] = here_document("nft -f -", text) end
  return table.concat(lines)
end

--- What is run inside a namespace by a shell of its own.
local function inside(namespace, text)
  if text == "" then return "" end
  return ("nsenter --net=/run/netns/%s sh -e <<'__INSIDE'\n%s__INSIDE\n"):format(namespace.name, text)
end

local function each(plan, fn)
  local parts = {}
  for i, namespace in ipairs(plan.namespaces) do parts[i] = inside(namespace, fn(namespace)) end
  return table.concat(parts)
end

--- Changes one namespace that is there already.
-- @tparam table namespace `name`, `ip`, `nft`
-- @treturn string
function script.change(namespace)
  return inside(namespace, configure(namespace))
end

--- Builds every namespace of a plan and what is in it.
-- @tparam table plan of @{p2pd.lab.topology}
-- @treturn string
function script.build(plan)
  local batch = { "netns attach " .. topology.NET .. " $$" }
  for i = 2, #plan.namespaces do batch[i] = "netns add " .. plan.namespaces[i].name end
  return ("ip -batch - <<__END\n%s\n__END\n"):format(table.concat(batch, "\n"))
    .. each(plan, body)
    .. here_document("ip -batch -", table.concat(plan.cables, "\n"))
    .. each(plan, configure)
end

return script
