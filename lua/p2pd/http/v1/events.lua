--- The route of /v1 that tells what happens.
-- @module p2pd.http.v1.events
local SILENCE_S = 15 -- until a line is sent that says nothing: proxies and clients like that

local function send_events(call)
  local reader = call.service.feed:read(call.headers["last-event-id"])
  local stream = call:begin(200, "text/event-stream")
  if not stream then return end
  while true do
    local text, _, code = reader:next(SILENCE_S)
    if not text and code == "EBADF" then return stream:shutdown() end
    if not stream:write(text or ": still here\n\n") then return end
  end
end

return {
  { method = "GET", path = "/v1/events", id = "followEvents", tag = "node", handler = send_events,
    waits = true,
    summary = "What happens, as server-sent events: those of node:events() and `dial`; the present state "
      .. "first. With Last-Event-ID it goes on from there.",
    answers = { [200] = { description = "Events.", type = "text/event-stream" } } },
}
