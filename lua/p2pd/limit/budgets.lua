--- Every budget of a node, in one table: what others can make it do or hold, how much of it, and why so much.
-- A budget is asked for by what is wanted (`asked`), and several may belong to one thing: all of them must
-- have room. `step` is whose it is: a stranger's, a trusted peer's, or (nil) everybody's. `per` is what has
-- one of its own: each peer, each source (an IPv4 address, an IPv6 /48), each target, or all together.
-- A rate is `number` in `seconds`, of which `burst` may come at once; places are held and given back. Of
-- places that `yield` to a newcomer the holder (peer or source) with the most gives up its oldest; when all
-- have the same, the oldest gives way once it is `tenure` seconds old.
-- docs/security.md has this table, and a spec compares the two.
-- @module p2pd.limit.budgets
local budgets = {
  -- signalling
  { name = "messages_of_strangers", asked = "messages", step = "stranger", per = "all", number = 100,
    seconds = 1, burst = 200, unit = "messages opened",
    reason = "opening one costs 0.1 ms: a flood gets 1 % of a core" },
  { name = "messages_of_known", asked = "messages", step = "known", per = "all", number = 100, seconds = 1,
    burst = 200, unit = "messages opened", reason = "who holds a reply token does not wait among strangers" },
  { name = "messages_of_trusted", asked = "messages", step = "trusted", per = "all", number = 500,
    seconds = 1, burst = 1000, unit = "messages opened", reason = "nor trusted peers among those" },
  { name = "messages_of_peer", asked = "messages_of_peer", per = "peer", number = 200, seconds = 1,
    burst = 400, unit = "messages", reason = "no peer uses up the others' share" },
  { name = "log_lines", asked = "log_lines", per = "all", number = 30, seconds = 60, burst = 20,
    unit = "lines about refusals", reason = "who can make us refuse must not fill the disk" },
  { name = "clock_answers", asked = "clock_answers", per = "all", number = 60, seconds = 60, burst = 20,
    unit = "messages", reason = "who replays old messages gets few answers that tell of the clocks" },

  -- answers to requests for a pipe
  { name = "answers", asked = "answers", per = "all", number = 32, unit = "at a time",
    reason = "each holds a task, and a few sockets" },
  { name = "answers_to_strangers", asked = "answers", step = "stranger", per = "all", number = 24,
    yields = "peer", tenure = 0.25, unit = "at a time", reason = "8 places are the trusted peers'" },
  { name = "answers_to_peer", asked = "answers", per = "peer", number = 16, unit = "at a time",
    reason = "a dial makes three at most" },
  { name = "connects_of_peer", asked = "connects", step = "stranger", per = "peer", number = 120,
    seconds = 60, burst = 60, unit = "connections back", reason = "twenty dials, with three addresses each" },
  { name = "syns", asked = "syns", per = "all", number = 500, seconds = 1, burst = 4000, unit = "SYNs",
    reason = "what a home router's NAT table bears" },
  { name = "syns_of_strangers", asked = "syns", step = "stranger", per = "all", number = 20, seconds = 1,
    burst = 600, unit = "SYNs", reason = "a flood of requests is no flood of SYNs" },
  { name = "syns_of_peer", asked = "syns", step = "stranger", per = "peer", number = 240, seconds = 60,
    burst = 240, unit = "SYNs", reason = "a punch of eight attempts" },
  { name = "syns_to_target", asked = "syns", step = "stranger", per = "target", number = 30, seconds = 60,
    burst = 30, unit = "SYNs", reason = "whoever asks: to an address that never proved itself at most 60 "
      .. "leave in any minute" },
  { name = "birthdays_of_strangers", asked = "birthdays", step = "stranger", per = "all", number = 1,
    seconds = 60, burst = 1, unit = "birthday attacks", reason = "each sends some 3,000 SYNs" },
  { name = "birthdays_to_target", asked = "birthdays", step = "stranger", per = "target", number = 1,
    seconds = 600, burst = 1, unit = "birthday attacks", reason = "to an address that never proved itself" },
  { name = "relays_of_strangers", asked = "relays", step = "stranger", per = "all", number = 4,
    yields = "peer", tenure = 20, unit = "at a time", reason = "they are made with our credentials" },
  { name = "relays_of_peer", asked = "relays", step = "stranger", per = "peer", number = 1,
    unit = "at a time", reason = "a stranger needs one" },
  { name = "relays_made", asked = "relays_made", step = "stranger", per = "all", number = 12, seconds = 60,
    burst = 6, unit = "relays", reason = "an allocation lives for minutes at some servers" },

  -- the listener
  { name = "unverified_of_strangers", asked = "unverified", step = "stranger", per = "all", number = 64,
    yields = "source", tenure = 1, unit = "at a time", reason = "streams that have not proved themselves" },
  { name = "unverified_of_trusted", asked = "unverified", step = "trusted", per = "all", number = 16,
    yields = "source", tenure = 1, unit = "at a time", reason = "from where a trusted peer has come before" },
  { name = "refused", asked = "refused", per = "all", number = 32, unit = "at a time",
    reason = "streams that are told why they are refused, and refusals that wait for their time" },

  -- pipes
  { name = "pipes_of_strangers", asked = "pipes", step = "stranger", per = "all", share = 0.4,
    yields = "peer", unit = "at a time", reason = "a share of the descriptors" },
  { name = "pipes_of_peer", asked = "pipes", step = "stranger", per = "peer", number = 128,
    unit = "at a time", reason = "a hundred at once are still one user's work" },
  { name = "pipes", asked = "pipes", per = "all", share = 0.7, unit = "at a time",
    reason = "a share of the descriptors" },
  { name = "pipes_waiting", asked = "pipes_waiting", per = "all", number = 128, unit = "at a time",
    reason = "for accept()" },
  { name = "pipes_waiting_of_strangers", asked = "pipes_waiting", step = "stranger", per = "all",
    number = 112, unit = "at a time", reason = "16 places are the trusted peers'" },

  { name = "streams", asked = "streams", per = "all", number = 16384, unit = "at a time",
    reason = "pipes of sessions, at 2 KiB each" },
  { name = "streams_of_peer", asked = "streams", step = "stranger", per = "peer", number = 1024,
    unit = "at a time", reason = "what a browser or a forwarded service opens at once" },

  -- descriptors: `share` of RLIMIT_NOFILE that may be taken when one more is wanted
  { name = "descriptors_of_strangers", step = "stranger", share = 0.5, unit = "descriptors taken",
    reason = "a birthday attack of our own takes 320" },
  { name = "descriptors_of_trusted", step = "trusted", share = 0.75, unit = "descriptors taken",
    reason = "the rest is our own work's" },
}

return budgets
