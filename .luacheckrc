std = "lua54"
max_line_length = 110
exclude_files = { "build" }
files["spec"] = { std = "lua54+busted" }
files["docs/config.ld"] = { std = "max", ignore = { "111" } }
