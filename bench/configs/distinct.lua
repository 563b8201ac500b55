-- wrk: each request asks for an answer of its own; the word after "--" tells this run's from those of other runs.
local run, count = "", 0
function init(arguments) run = arguments[1] end
function request()
  count = count + 1
  return wrk.format(nil, wrk.path .. "?" .. run .. "-" .. count)
end
