-- Chats without pipes: what one tells another is handed over at once, or when the spec says so.
local message = require "p2pd.chat.message"
local passing = require "p2pd.chat.passing"

describe("p2pd.chat.passing", function()
  local people, queue, said, count

  before_each(function() people, queue, said, count = {}, {}, {}, 0 end)

  local function members_of(one)
    local list = {}
    for id in pairs(one.links) do list[#list + 1] = { id = id, nick = id, name = id } end
    return list
  end

  local function person(id)
    local one = { id = id, links = {}, events = {} }
    one.passing = passing.new { id = id,
      members = function() return members_of(one) end,
      is_here = function(other) return one.links[other] ~= nil end,
      tell = function(list, ...)
        for _, member in ipairs(list) do
          for _, text in ipairs { ... } do queue[#queue + 1] = { from = id, to = member.id, text = text } end
        end
      end,
      call = function(_, nick) return nick end,
      on_event = function(...)
        table.insert(one.events, table.concat({ ... }, " "))
      end }
    people[id] = one
    return one
  end

  local function deliver()
    while queue[1] do
      local one = table.remove(queue, 1)
      count = count + 1
      local to, kind, value = people[one.to], message.parse(one.text)
      if to.links[one.from] then
        to.passing:handle({ id = one.from, nick = one.from, name = one.from }, kind, value)
      end
    end
  end

  local function link(a, b)
    for _, pair in ipairs { { a, b }, { b, a } } do
      people[pair[1]].links[pair[2]] = true
      people[pair[1]].passing:welcome { id = pair[2], nick = pair[2], name = pair[2] }
    end
    deliver()
  end

  local function unlink(a, b)
    for _, pair in ipairs { { a, b }, { b, a } } do
      people[pair[1]].links[pair[2]] = nil
      people[pair[1]].passing:farewell { id = pair[2], nick = pair[2], name = pair[2] }
    end
    deliver()
  end

  local function say(id, text)
    said[id] = (said[id] or 0) + 1
    local line = id .. said[id]
    for other in pairs(people[id].links) do
      people[other].passing:take({ id = id, nick = id, name = id }, line, text)
    end
    deliver()
  end

  local function build(...)
    for id in ("abcde"):gmatch "." do person(id) end
    for _, pair in ipairs { ... } do link(pair:sub(1, 1), pair:sub(2, 2)) end
  end

  local function events_of(id)
    local list = people[id].events
    people[id].events = {}
    table.sort(list)
    return list
  end

  local function forget_events()
    for id in pairs(people) do events_of(id) end
  end

  it("passes a line on to who has no pipe to its author", function()
    build("ab", "ac")
    forget_events()
    say("b", "hi all")
    assert.same({ "said b hi all by a" }, events_of "c")
    assert.same({}, events_of "b")
  end)

  it("passes nothing on to who has one", function()
    build("ab", "ac", "bc")
    forget_events()
    say("b", "hi all")
    assert.same({ {}, {}, {} }, { events_of "a", events_of "b", events_of "c" })
  end)

  it("brings a line once, whatever the ways", function()
    build("ab", "bc", "cd", "da", "ac", "de")
    forget_events()
    say("b", "hi")
    assert.equal(1, #events_of "d")
    assert.same({ "said b hi by d" }, events_of "e")
    assert.is_true(count < 100)
  end)

  it("tells who is there, to both sides, once each", function()
    build("ab", "ac", "cd")
    assert.same({ "joined c by a", "joined d by a" }, events_of "b")
    assert.same({ "joined a by c", "joined b by c" }, events_of "d")
    local who = people.b.passing:who()
    table.sort(who)
    assert.same({ "c (by a)", "d (by a)" }, who)
  end)

  it("tells who has left, and who is out of reach", function()
    build("ab", "ac", "cd")
    forget_events()
    unlink("c", "d")
    assert.same({ "left d" }, events_of "b")
    unlink("a", "b")
    assert.same({ "left c out of reach without a" }, events_of "b")
    assert.same({ "left b" }, events_of "c")
    assert.same({}, people.b.passing:who())
  end)

  it("comes to rest when a circle of people loses one", function()
    build("ab", "bc", "cd", "db", "ae")
    count = 0
    unlink("a", "e")
    unlink("a", "b")
    assert.is_true(count < 100)
    for _, id in ipairs { "b", "c", "d" } do assert.same({}, people[id].passing:who()) end
  end)

  it("does not take another's word for who speaks for himself", function()
    build("ab", "ac", "bc")
    forget_events()
    local a = { id = "a", nick = "a", name = "a" }
    local forged = { "pass 1 forged b b I owe you", "here 1 b mallory", "gone b", "pass 1 x c c me" }
    for _, text in ipairs(forged) do
      people.c.passing:handle(a, message.parse(text))
    end
    assert.same({}, events_of "c")
  end)

  it("goes so far and no farther", function()
    local ids = {}
    for i = 1, 12 do
      ids[i] = "n" .. i
      person(ids[i])
      if i > 1 then link(ids[i - 1], ids[i]) end
    end
    forget_events()
    say("n1", "far")
    assert.equal(1, #events_of "n10")
    assert.equal(0, #events_of "n11")
  end)

  it("tells a new name", function()
    build("ab", "ac")
    forget_events()
    people.a.passing:announce { id = "b", nick = "Bee", name = "Bee" }
    deliver()
    assert.same({ "renamed b Bee" }, events_of "c")
  end)
end)
