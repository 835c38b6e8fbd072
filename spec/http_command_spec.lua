local helper = require "spec.helper"
local command = require "p2pd.http.command"

describe("p2pd.http.command", function()
  it("check() wants the user's token where others can reach the server", function()
    assert.is_true(command.check {})
    assert.is_true(command.check { http = { ip = "127.0.0.1" } })
    assert.is_true(command.check { http = { ip = "192.0.2.1" }, token_file = "/a/file" })
    local ok, fault = command.check { http = { ip = "192.0.2.1" } }
    assert.same({ nil, "others can reach 192.0.2.1: --token-file is needed" }, { ok, fault })
  end)

  it("token() reads the user's, when there is one", function()
    assert.is_nil(command.token {})
    local file = helper.scratch() .. "/token"
    helper.write(file, "0123456789abcdef")
    assert(os.execute("chmod 600 " .. file))
    assert.equal("0123456789abcdef", command.token { token_file = file })
    assert.matches("No such file", select(2, command.token { token_file = file .. "2" }))
  end)
end)
