-- Requests of wrk's that no other is like, as those of people with sessions are.

local number = 0

request = function()
    number = number + 1
    return "GET " .. wrk.path .. " HTTP/1.1\r\nHost: localhost\r\nCookie: session=" .. number .. "\r\n\r\n"
end
