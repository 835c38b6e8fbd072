--- Runs busted in the very interpreter that runs this file: `lua5.4 spec/run.lua [options] FILE...`.
require "busted.runner" { standalone = false }
