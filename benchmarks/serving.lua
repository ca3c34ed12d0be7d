-- Asks the questions of a file, one JSON body a line, one after the other; prints what came back as one line of JSON.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  bodies = {}
  for line in io.lines(arguments[1]) do
    table.insert(bodies, wrk.format("POST", "/v1/answer", { ["Content-Type"] = "application/json" }, line))
  end
  sent, answered, refused, failed = 0, 0, 0, 0
end

function request()
  sent = sent + 1
  return bodies[sent % #bodies + 1]
end

function response(status)
  if status == 200 then
    answered = answered + 1
  elseif status == 503 then
    refused = refused + 1
  else
    failed = failed + 1
  end
end

function done(summary, latency)
  local total = { sent = 0, answered = 0, refused = 0, failed = 0 }
  for _, thread in ipairs(threads) do
    for name in pairs(total) do
      total[name] = total[name] + thread:get(name)
    end
  end
  local e = summary.errors
  io.write(string.format(
    '{"sent": %d, "answered": %d, "refused": %d, "failed": %d, "socket_errors": %d, '
      .. '"seconds": %.6f, "median_ms": %.3f, "p99_ms": %.3f}\n',
    total.sent, total.answered, total.refused, total.failed, e.connect + e.read + e.write + e.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
