--- Writes p2pd's completion for bash to standard output.
local commands = require "docs.commands"
local strategy = require "p2pd.strategy"
local usage = require "p2pd.cli.usage"

-- What completes an option's argument, by the argument's name; of any other nothing is known.
local BY_ARGUMENT = {
  FILE = ":", -- bash's own completion
  PEER = '_p2pd_words "$(p2pd contacts 2>/dev/null | cut -d" " -f1)"',
  NAME = '_p2pd_words "$(ls /sys/class/net 2>/dev/null)"',
  ["A,B"] = ("_p2pd_list '%s'"):format(table.concat(strategy.DEFAULT, " ")),
}

local HEAD = [=[
# bash completion for p2pd: its options and commands, and theirs.

# Adds what compgen finds.
_p2pd_offer() {
    local found
    found=$(compgen "$@") && mapfile -t -O ${#COMPREPLY[@]} COMPREPLY <<<"$found"
}

_p2pd_words() {
    _p2pd_offer -W "$1" -- "$cur"
}

# Completes the last word of a list with commas.
_p2pd_list() {
    _p2pd_offer -P "${cur%"${cur##*,}"}" -W "$1" -- "${cur##*,}"
}

_p2pd_nothing() {
    compopt +o bashdefault +o default
}

_p2pd() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -e | -l) ((i++)) ;;
        -*) ;;
        *)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    for ((; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} != -- ]] || return 0
    done
    case $command in
    '')
        case $prev in
        -e | -l) return 0 ;;
        esac
        if [[ $cur == -* ]]; then
            _p2pd_words '@OPTIONS@'
        else
            _p2pd_words '@COMMANDS@ help'
            _p2pd_offer -f -X '!*.lua' -- "$cur"
        fi
        return 0
        ;;
    help)
        _p2pd_words '@COMMANDS@'
        return 0
        ;;
]=]

local TAIL = [=[
    esac
}

complete -o bashdefault -o default -F _p2pd p2pd
]=]

local function names_of(list)
  local names = {}
  for i, one in ipairs(list) do names[i] = one.name end
  return names
end

local function own_options()
  local names = {}
  for _, option in ipairs(usage.OPTIONS) do
    if names[#names] ~= option[1] then names[#names + 1] = option[1] end
  end
  return names
end

local function completion_of(option)
  if option.choices then return ("_p2pd_words '%s'"):format(table.concat(option.choices, " ")) end
  return BY_ARGUMENT[option.argument] or "_p2pd_nothing"
end

local function write_command(command)
  local words, lines = {}, {}
  for _, option in ipairs(command.options) do
    table.move(option.names, 1, #option.names, #words + 1, words)
    if option.argument then
      lines[#lines + 1] = ("        %s)\n            %s\n            return 0\n            ;;\n")
        :format(table.concat(option.names, " | "), completion_of(option))
    end
  end
  io.write("    ", command.name, ")\n")
  if lines[1] then io.write("        case $prev in\n", table.concat(lines), "        esac\n") end
  io.write("        _p2pd_words '", table.concat(words, " "), "'\n        ;;\n")
end

local all = commands.all()
io.write((HEAD:gsub("@(%u+)@", {
  OPTIONS = table.concat(own_options(), " "),
  COMMANDS = table.concat(names_of(all), " "),
})))
for _, command in ipairs(all) do write_command(command) end
io.write(TAIL)
