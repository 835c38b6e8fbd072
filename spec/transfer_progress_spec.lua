-- The bar that shows how far a transfer is.
local progress = require "p2pd.transfer.progress"

describe("p2pd.transfer.progress", function()
  it("writes sizes and durations for people", function()
    for bytes, text in pairs { [0] = "0 B", [999] = "999 B", [1000] = "1.0 kB", [123456] = "123 kB",
      [1550000] = "1.6 MB", [2^40] = "1.1 TB" } do
      assert.equal(text, progress.size(bytes))
    end
    for seconds, text in pairs { [0] = "0:00", [65] = "1:05", [7200] = "2:00:00" } do
      assert.equal(text, progress.duration(seconds))
    end
  end)
  it("shows share, amounts, rate and time left in 79 columns", function()
    assert.equal(" 45 % [==========              ] 450 kB of 1.0 MB, 110 kB/s 0:05 left",
      progress.line(450000, 1000000, 110000, true))
    assert.equal("100 % 0 B of 0 B, 0 B/s ", progress.line(0, 0, 0, false))
    assert.is_true(#progress.line(999.4e15, 999.4e15, 123.4e12, true) <= 79)
  end)
  it("draws now and then, and takes its line away", function()
    local drawn = {}
    local bar = progress.new { draw = function(line) drawn[#drawn + 1] = line or "gone" end }
    bar:begin(10)
    bar.drawn = bar.drawn - 1
    bar:add(5)
    bar:add(1)
    bar:clear()
    assert.equal(2, #drawn)
    assert.matches("^ 50 %%", drawn[1])
    assert.equal("gone", drawn[2])
  end)
end)
