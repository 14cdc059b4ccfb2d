-- Posts the PNG files of a folder, the first argument, one after the other; prints one line of JSON at the end.
local requests, place = {}, 0

function init(args)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "image/png"
   for path in io.popen("ls " .. args[1] .. "/*.png"):lines() do
      local file = assert(io.open(path, "rb"))
      requests[#requests + 1] = wrk.format(nil, nil, nil, file:read("*a"))
      file:close()
   end
end

function request()
   place = place % #requests + 1
   return requests[place]
end

function done(summary, latency)
   local errors = summary.errors
   print(string.format(
      'RESULT {"requests": %d, "seconds": %f, "failed": %d, "p50_ms": %f, "p99_ms": %f}',
      summary.requests, summary.duration / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
