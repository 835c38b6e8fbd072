--- Writes p2pd(1), for troff's man macros, to standard output.
local commands = require "docs.commands"
local usage = require "p2pd.cli.usage"
local version = require "p2pd.version"

local FILES = {
  { "$XDG_DATA_HOME/p2pd/NAME.key", "the key of the node that is called NAME" },
  { "$XDG_DATA_HOME/p2pd/history", "what was typed at the prompt" },
}

local EXAMPLES = {
  { "A node that sends back what it reads, and a peer that talks to it:",
    "p2pd node --echo", "echo hi | p2pd connect ADDRESS" },
  { "What lies between this host and its peers:", "p2pd nat" },
  { "A command behind a NAT of the worst kind, on this machine:",
    "p2pd lab --a symmetric/random -- p2pd nat" },
}

local function escape(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("'", "\\(aq"):gsub("%f[^\n\0]%.", "\\&."))
end

local function write(...)
  io.write(table.concat({ ... }, " "), "\n")
end

local function section(title)
  write(".SH", title)
end

-- Blank lines part paragraphs.
local function paragraphs(text)
  for paragraph in (text .. "\n\n"):gmatch "(.-)\n\n+" do
    write ".PP"
    write(escape(paragraph))
  end
end

local function bold(text)
  return "\\fB" .. escape(text) .. "\\fR"
end

local function italic(text)
  return "\\fI" .. escape(text) .. "\\fR"
end

local function entry(head, text)
  write ".TP"
  write(head)
  write(escape(text))
end

local function option_head(names, argument)
  local heads = {}
  for i, name in ipairs(names) do heads[i] = bold(name) .. (argument and " " .. italic(argument) or "") end
  return table.concat(heads, ", ")
end

local function write_command(command)
  write(('.SS "p2pd %s"'):format(command.name))
  write ".PP"
  write(bold(command.usage))
  paragraphs(command.description)
  for _, argument in ipairs(command.arguments) do entry(italic(argument.name), argument.text) end
  for _, option in ipairs(command.options) do
    local default = option.default and (" (default: %s)"):format(option.default) or ""
    entry(option_head(option.names, option.argument), option.text .. default)
  end
  if command.epilog then paragraphs(command.epilog) end
end

local function write_rows(title, rows)
  section(title)
  for _, row in ipairs(rows) do entry(bold(row[1]), row[2]) end
end

local function write_examples()
  section "EXAMPLES"
  for _, example in ipairs(EXAMPLES) do
    paragraphs(example[1])
    write ".PP\n.in +4n\n.nf"
    for i = 2, #example do write(escape(example[i])) end
    write ".fi\n.in"
  end
end

write(('.TH P2PD 1 "" "p2pd %s" "User Commands"'):format(version))
write ".nh\n.ad l"
section "NAME"
write("p2pd \\-", escape(usage.PURPOSE))
section "SYNOPSIS"
for i, form in ipairs(usage.SYNOPSIS) do
  if i > 1 then write ".br" end
  write(bold "p2pd", escape(form))
end
section "DESCRIPTION"
paragraphs(usage.DESCRIPTION)
section "OPTIONS"
for _, option in ipairs(usage.OPTIONS) do entry(option_head({ option[1] }, option[2]), option[3]) end
section "COMMANDS"
for _, command in ipairs(commands.all()) do write_command(command) end
write_rows("ENVIRONMENT", usage.ENVIRONMENT)
write_rows("FILES", FILES)
section "EXIT STATUS"
paragraphs "0: all went well, 1: not, 2: a command was called wrongly; a command's own are with it."
write_examples()
section "SEE ALSO"
write "lua5.4(1)"
