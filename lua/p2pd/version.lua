--- The version of p2pd: what Lua, the build, the packages and the manual say.
-- @module p2pd.version
return "0.2"
