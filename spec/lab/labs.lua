--- Specs that need a lab, where the machine can have one.
local busted = require "busted"
local lab = require "p2pd.lab"

local labs = {}

local can, why = lab.is_possible()

--- busted's `describe`; where no lab can be had, one spec stands for all of them, and is skipped.
-- @tparam string name
-- @tparam function fn
function labs.describe(name, fn)
  busted.describe(name, function()
    if can then return fn() end
    busted.pending("needs namespaces: " .. why)
  end)
end

return labs
