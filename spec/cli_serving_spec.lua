local helper = require "spec.helper"
local serving = require "p2pd.cli.serving"

describe("p2pd.cli.serving", function()
  it("check() wants the user's token where others can reach the server", function()
    assert.is_true(serving.check {})
    assert.is_true(serving.check { http = { ip = "127.0.0.1" } })
    assert.is_true(serving.check { http = { ip = "192.0.2.1" }, token_file = "/a/file" })
    local ok, fault = serving.check { http = { ip = "192.0.2.1" } }
    assert.same({ nil, "others can reach 192.0.2.1: --token-file is needed" }, { ok, fault })
  end)

  it("token() reads the user's, when there is one", function()
    assert.is_nil(serving.token {})
    local file = helper.scratch() .. "/token"
    helper.write(file, "0123456789abcdef")
    assert(os.execute("chmod 600 " .. file))
    assert.equal("0123456789abcdef", serving.token { token_file = file })
    assert.matches("No such file", select(2, serving.token { token_file = file .. "2" }))
  end)
end)
