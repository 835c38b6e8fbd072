--- QR codes as SVG.
-- @module p2pd.http.qr
local core = require "p2pd.core"

local qr = {}

local QUIET = 4 -- modules around it, ISO/IEC 18004

local DOCUMENT = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">'
  .. '<path fill="#fff" d="M0 0h%dv%dH0z"/><path d="%s"/></svg>\n'

-- A row's dark modules, each run of them one rectangle.
local function add_row(parts, row, y)
  for from, run in row:gmatch "()(\1+)" do
    parts[#parts + 1] = ("M%d %dh%dv1h-%dz"):format(QUIET + from - 1, QUIET + y, #run, #run)
  end
end

--- A text's QR code.
-- @tparam string text
-- @treturn string an SVG document, black on white in every scheme of colours; or nil, message, code (ELIBACC:
-- libqrencode is not there; E2BIG: the text is too long; EINVAL: it is empty)
function qr.svg(text)
  local size, modules, code = core.qr.encode(text)
  if not size then return nil, modules, code end
  local parts, whole = {}, size + 2 * QUIET
  for y = 0, size - 1 do add_row(parts, modules:sub(y * size + 1, (y + 1) * size), y) end
  return DOCUMENT:format(whole, whole, whole, whole, table.concat(parts))
end

return qr
