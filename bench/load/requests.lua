-- Requests of the benchmark for wrk: wrk ... -s requests.lua URL -- SYSTEM WORKLOAD VALUE_BYTES KEYS
-- SYSTEM: hanas, noop (the same requests) or etcd (its HTTP gateway). WORKLOAD: put, get or mixed (9 reads, 1 write).

local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(text)
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local number = a * 65536 + (b or 0) * 256 + (c or 0)
    for place = 3, 0, -1 do
      local used = place == 1 and not b and "=" or place == 0 and not c and "="
      local digit = math.floor(number / 64 ^ place) % 64 + 1
      out[#out + 1] = used or digits:sub(digit, digit)
    end
  end
  return table.concat(out)
end

local puts, gets, workload, count = {}, {}, "put", 0

function init(arguments)
  local system, size, keys = arguments[1], tonumber(arguments[3]), tonumber(arguments[4])
  workload = arguments[2]
  math.randomseed(os.time())
  local value = string.rep("v", size)
  for number = 0, keys - 1 do
    local key = string.format("bench/%06d", number)
    if system == "etcd" then
      local name = '"key":"' .. base64(key) .. '"'
      local body = "{" .. name .. ',"value":"' .. base64(value) .. '"}'
      puts[#puts + 1] = wrk.format("POST", "/v3/kv/put", nil, body)
      gets[#gets + 1] = wrk.format("POST", "/v3/kv/range", nil, "{" .. name .. "}")
    else
      puts[#puts + 1] = wrk.format("PUT", "/v1/kv/" .. key, nil, value)
      gets[#gets + 1] = wrk.format("GET", "/v1/kv/" .. key)
    end
  end
end

function request()
  count = count + 1
  local from = puts
  if workload == "get" or workload == "mixed" and count % 10 ~= 0 then
    from = gets
  end
  return from[math.random(#from)]
end

function done(summary, latency)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"failed":%d,"refused":%d,"p50":%.1f,"p90":%.1f,"p99":%.1f,"p999":%.1f}\n',
    summary.requests, summary.duration / 1e6, failed, summary.errors.status,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency:percentile(99.9)))
end
