-- wrk: POST of 1 KiB, each request with an idempotency key of its own; the word after "--" tells this run's from those
-- of other runs. The request is formatted once, since wrk is on a core with the upstream.
local before, after, count = "", "", 0
function init(arguments)
  wrk.method = "POST"
  wrk.body = string.rep("x", 1024)
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.headers["Idempotency-Key"] = arguments[1] .. "-@"
  before, after = wrk.format():match("^(.-%-)@(.*)$")
end
function request()
  count = count + 1
  return before .. count .. after
end
