--- A directed graph of names, and its circles.
local graph = {}

local Graph = {}
Graph.__index = Graph

--- Adds an edge, and one more reason for it.
function Graph:add(from, to, because)
  for _, name in ipairs { from, to } do self.edges[name] = self.edges[name] or {} end
  local reasons = self.edges[from][to] or {}
  if reasons[#reasons] ~= because then reasons[#reasons + 1] = because end
  self.edges[from][to] = reasons
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- Tarjan's strongly connected components; what has only one node is left out.
local function components(edges)
  local index, low, on_stack, stack, found, count = {}, {}, {}, {}, {}, 0
  local function pop_component(root)
    local nodes = {}
    repeat
      local name = table.remove(stack)
      on_stack[name] = nil
      nodes[#nodes + 1] = name
    until name == root
    table.sort(nodes)
    if nodes[2] then found[#found + 1] = nodes end
  end
  local function visit(name)
    count = count + 1
    index[name], low[name], on_stack[name] = count, count, true
    stack[#stack + 1] = name
    for _, to in ipairs(sorted_keys(edges[name])) do
      if not index[to] then visit(to) end
      if on_stack[to] then low[name] = math.min(low[name], low[to]) end
    end
    if low[name] == index[name] then pop_component(name) end
  end
  for _, name in ipairs(sorted_keys(edges)) do
    if not index[name] then visit(name) end
  end
  return found
end

--- The sets of nodes from each of which one gets to all others.
-- @treturn {table,...} each: nodes (sorted names), edges among them (from, to, because: a list)
function Graph:circles()
  local circles = components(self.edges)
  for i, nodes in ipairs(circles) do
    local circle = { nodes = nodes, edges = {} }
    for _, from in ipairs(nodes) do
      for _, to in ipairs(nodes) do
        local because = self.edges[from][to]
        if because then circle.edges[#circle.edges + 1] = { from = from, to = to, because = because } end
      end
    end
    circles[i] = circle
  end
  return circles
end

--- An empty graph.
function graph.new()
  return setmetatable({ edges = {} }, Graph)
end

return graph
