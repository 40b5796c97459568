#!lua name=rtbus
--
-- rtbus: durable job events in Redis.  A library of functions for Redis 7 and
-- later:
--
--     redis-cli -x FUNCTION LOAD REPLACE < rtbus.lua
--
--
-- CHANNEL
--
-- All functions but rtbus_command take one key, a channel C or <prefix>{C}:
-- C is 1-200 bytes of A-Z a-z 0-9 _ . : - and %XX (percent-encoded: two of
-- 0-9 A-F), and the prefix is free of braces.
-- It stands for four names, of which the keys share one cluster slot:
--
--     <prefix>{C}:events   stream, an entry per event
--     <prefix>{C}:state    hash, what is known of the job
--     <prefix>{C}:output   string, the text so far
--     <prefix>C            pub/sub channel
--
-- In a cluster the pub/sub channel is a shard channel (SSUBSCRIBE).  With a
-- prefix it is then <prefix>{C}, since <prefix>C lies in some other slot.
--
--
-- FCALL rtbus_publish 1 <channel> <event> <data> [APPEND <text>] [TTL <s>]
--     [MAXLEN <n>] [MAXSIZE <bytes>] [ARGS <array>] [ATTACHMENTS <array>]
--     [END <status>]
--     [SET <field> <value> ...]
--
--     -> "<epoch>-<seq>", the position of the event in its channel
--
-- In one step: takes the next position, adds the event to the stream, the
-- fields to the hash and the text to the output, renews the life of the three
-- keys, and publishes
--
--     {"event":<event>,"data":<data>,"id":"<epoch>-<seq>","timestamp":<ms>}
--
--     event        1-128 bytes of UTF-8 without control characters; none of
--                  the names that Socket.IO keeps for itself: connect,
--                  connect_error, disconnect, disconnecting, newListener,
--                  removeListener
--     data         any JSON (RFC 8259), UTF-8, nested 63 deep at most (the
--                  message around it makes 64); kept byte for byte
--     APPEND       UTF-8 text that the output grows by
--     TTL          seconds that the keys live from now on, up to 315360000;
--                  default 86400.  Within a second, and 1 % of it, one
--                  event renews it for all
--     MAXLEN       entries that the stream keeps (~: some more), up to
--                  1000000000; default 10000
--     MAXSIZE      bytes of the message, as rtbus_max_event counts them, and so
--                  of name, data (or ARGS) and ATTACHMENTS; the text of APPEND,
--                  and the fields of SET together, may have as many.  Up to
--                  67108864; default 1048576, like that of rtbus_max_event: what
--                  is longer nobody would get
--     ARGS         JSON array, several arguments in place of data, which has
--                  to be "" then; message and entry have "args", no "data"
--     ATTACHMENTS  JSON array of up to 10 strings, each base64 (RFC 4648,
--                  section 4, with its padding) in one line; message and entry
--                  have "attachments".  Their places in data, or ARGS, are
--                  {"_placeholder":true,"num":<n>}, n from 0
--     END          completed, cancelled, interrupted or failed: this event is
--                  the last one of the job, and status is what became of it;
--                  message and entry have "end", the hash has the status
--     SET          fields of the hash, up to 1000 of them, names and values
--                  as they come.  It is the last option: all that follows is
--                  fields.  "epoch", "seq", "outputLength", "outputLost" and
--                  "stateLost" are
--                  set by the function alone
--
-- Options may be in lower case, and each may be given once.
--
-- The entry has the fields event, data (or args), attachments (if any), end (if
-- it is the last one) and timestamp.  The hash gets what SET says, and epoch, seq
-- and updatedAt (ms); createdAt (ms) when it has none; with END also status, and
-- end and endedAt, the position and the time (ms) of the first such event; with
-- APPEND outputLength, the bytes of the output.  Where there is such a length and
-- no output, Redis has lost that one, as when it evicts keys: outputLost counts
-- the bytes of what was lost so.
--
-- seq counts 1, 2, 3 ... without holes as long as the stream exists.  The
-- stream's last id is the truth, also when its entries were trimmed or
-- deleted, when the hash is gone or says something else, and when a producer
-- has added the next id with an XADD of its own.  A channel whose stream is
-- gone is made anew: with seq 1 and an epoch which is the time in ms, or more
-- where it takes more to be greater than the epoch that the hash still has
-- and than all that the library has handed out since it was loaded.  With all
-- keys of a channel gone, and the server restarted or the library loaded
-- again, and the clock set back behind the old epoch, nobody could know.
--
--
-- FCALL_RO rtbus_snapshot 1 <channel>
--
--     -> [ [ field, value, ... ], output, position ]
--
-- The state, the text and the stream's last id as of one moment.  Nothing
-- there: [ [], "", "0-0" ].  An output that is lost and not begun anew is told of
-- by a last field "outputLost".  Writes nothing; a replica answers it as well.
--
--
-- FCALL_RO rtbus_position 1 <channel>
--
--     -> [ position, timestamp ]
--
-- The stream's last id, "0-0" without a stream, and the timestamp of the event
-- at it; "" if there is none.  It is what a reader that comes needs, and small
-- however large the events are.
--
--
-- FCALL rtbus_claim 1 <channel> <user>
--
--     -> the userId of the state
--
-- A state that has no userId gets this one.  One that is made by it lives for
-- 86400 s, unless an event renews it.  Whoever the answer names is the owner.
--
-- A channel that has events or an output, but no state, or one that was made when
-- there were such already, is not given away: its state may be lost, and the events
-- somebody's.  The answer is "" then, and nobody is the owner.  An operator who
-- knows better removes the field "stateLost", or sets "userId".
--
--
-- FCALL rtbus_command 1 <stream> <dedupe-id> [MAXLEN <n>] <field> <value> ...
--
--     -> [ stream id, 1 ], or [ stream id of the first one, 0 ], or [ "", -1 ]
--
-- Adds an entry to a stream of commands, which has n of them at most; default
-- 100000.  What its groups have read and acknowledged, all of them, makes room.
-- What one of them has not is never cut: if there is no room, nothing is added,
-- and the answer is -1.  A stream without a group keeps the last ones (~).
--
-- A dedupe id, if not "", is remembered for 600 s: the same one again adds
-- nothing.  Up to 200 bytes; up to 1000 fields.  The key to remember it by is
-- {<stream>}:dedupe:<id>, or <stream>:dedupe:<id> if the stream's name has a
-- hash tag, so that the two share a slot.
--
--
-- FCALL rtbus_job_claim 1 <channel> <user> <busy> <key> <owner> <keep> <cursor>
--     <judging> [<more>]
-- FCALL rtbus_job_append 1 <channel> <epoch> <events> <owner> <renew> <type>
--     <format> <text> <status> <usage> <error> [<event> <data> <quoted> <name>
--     ...]
-- FCALL rtbus_job_check 1 <channel> <judging> [<more>]
-- FCALL rtbus_job_stop 1 <channel> <epoch>
--
-- What rtbus_capture, rtbus_replay and rtbus_stop of nginx are made of; not for
-- others, and they change from one version to the next.  A job is claimed, which
-- makes its channel anew; it grows by appends, each of which says how many events
-- there were before it, and ends with one that has a status.  An entry of such a
-- job has "text" in place of data that is not JSON, "name" if the event is called
-- otherwise by its source, and the last one "end" and "capture".
--
--
-- FCALL_RO rtbus_version 0
--
--     -> 5: a number that grows with each change of this file
--
--
-- ERRORS
--
-- "ERR rtbus: <reason>" says what is wrong with the arguments.  Redis' own
-- errors (WRONGTYPE, OOM, READONLY ...) come as they are, and "NOPERM rtbus:"
-- if they would have come too late.  In all cases nothing has been written.
-- Redis rolls nothing back; what ensures it is the order: the arguments are
-- checked; the hash is read, which fails if it is none; permissions for what
-- comes last are asked for; the first write is the one that may be refused for
-- what its key holds, and the only one that may be refused for want of memory.
--
-- "TRYAGAIN rtbus:", likewise with nothing written: a slot of a cluster is on its
-- way from one master to another, and not all keys of the channel are there yet,
-- or some do not exist, which cannot be told from that.  Clients for clusters
-- try again by themselves when they get a TRYAGAIN.
--
-- A user needs FCALL, the commands used below for the three keys, and PUBLISH
-- for the channel; in a cluster SPUBLISH and CLUSTER INFO instead.
--

local VERSION = 5

local OPTIONS = {
    APPEND = true, TTL = true, MAXLEN = true, MAXSIZE = true, ARGS = true,
    ATTACHMENTS = true, END = true, SET = true
}

local STATUSES = {
    completed = true, cancelled = true, interrupted = true, failed = true
}

-- A client of Socket.IO takes an event of such a name for something else.

local RESERVED = {
    connect = true, connect_error = true, disconnect = true,
    disconnecting = true, newListener = true, removeListener = true
}

-- What is the function's own in the hash.

local OWN = {
    epoch = true, seq = true, outputLength = true, outputLost = true,
    stateLost = true
}

local TTL, TTL_MAX = 86400, 315360000
local MAXLEN, MAXLEN_MAX = '10000', 1000000000
local MAXSIZE, MAXSIZE_MAX = 1048576, 67108864

local NO_OPTIONS = {
    ttl = 1000 * TTL, maxlen = MAXLEN, maxsize = MAXSIZE, more = {}
}

-- What a message has around the parts of an event, at the most, escapes aside.

local ENVELOPE = 120

local CHANNEL_MAX = 200
local EVENT_MAX = 128
local FIELDS_MAX = 1000
local DEPTH_MAX = 63
local ATTACHMENTS_MAX = 10

local COMMANDS_MAXLEN = 100000
local COMMANDS_TRIM = 1000
local DEDUPE_MAX = 200
local DEDUPE_TTL = '600000'

-- Names are kept with what was made of them, up to so many.

local CACHE_MAX = 1000

-- Above it numbers are not exact; no clock of ours gets there.

local EPOCH_MAX = 9e15


-- Redis gives a library these when it is called, not when it is loaded.

local call, try, allowed, decode
local byte, find, format, gsub, match, sub, upper
local floor, max
local guard, pairs, tonumber, type, unpack

local cluster
local null
local utf8_state, json_state, json_bad_utf8
local last_epoch = 0

local channels, channels_count = {}, 0
local heads, heads_count = {}, 0


-- Texts are checked by tables: a state is a table, which has the state that
-- comes next for each byte.  No text costs more than another one of its length.

local function new_state(next)
    local state = {}

    for b = 0, 255 do
        state[b] = next or state
    end

    return state
end


local function set_next(state, first, last, next)
    for b = first, last do
        state[b] = next
    end
end


-- From the state through a character that is not ASCII (RFC 3629), and back.

local function add_utf8(state, bad)
    local one, two, three = new_state(bad), new_state(bad), new_state(bad)
    local e0, ed = new_state(bad), new_state(bad)
    local f0, f4 = new_state(bad), new_state(bad)

    set_next(state, 0x80, 0xff, bad)
    set_next(state, 0xc2, 0xdf, one)
    set_next(state, 0xe0, 0xef, two)
    set_next(state, 0xf1, 0xf3, three)

    state[0xe0], state[0xed], state[0xf0], state[0xf4] = e0, ed, f0, f4

    set_next(one, 0x80, 0xbf, state)
    set_next(two, 0x80, 0xbf, one)
    set_next(three, 0x80, 0xbf, two)
    set_next(e0, 0xa0, 0xbf, one)
    set_next(ed, 0x80, 0x9f, one)
    set_next(f0, 0x90, 0xbf, two)
    set_next(f4, 0x80, 0x8f, two)
end


-- The part of the grammar that the decoder is lax about: strings have no control
-- characters, nor are those blanks between the tokens, and a dot has digits on
-- both sides.

local function add_json(outside, bad, bad_utf8)
    local text, escape = new_state(), new_state()
    local minus, dot = new_state(outside), new_state(bad)

    set_next(outside, 0x00, 0x1f, bad)
    set_next(outside, 0x80, 0xff, bad)

    outside[0x09], outside[0x0a], outside[0x0d] = outside, outside, outside
    outside[0x22], outside[0x2d], outside[0x2e] = text, minus, dot

    for b = 0, 255 do
        minus[b] = outside[b]
    end

    minus[0x2e] = bad

    set_next(dot, 0x30, 0x39, outside)

    set_next(text, 0x00, 0x1f, bad)
    text[0x22], text[0x5c] = outside, escape
    add_utf8(text, bad_utf8)

    set_next(escape, 0x00, 0xff, bad)
    set_next(escape, 0x20, 0x7e, text)
end


local function prepare()
    local json = cjson.new()

    json.decode_invalid_numbers(false)
    json.decode_max_depth(DEPTH_MAX)

    decode, null = json.decode, json.null

    utf8_state, json_state, json_bad_utf8 = new_state(), new_state(), new_state()

    add_utf8(utf8_state, new_state())
    add_json(json_state, new_state(), json_bad_utf8)

    byte, find, format = string.byte, string.find, string.format
    gsub, match, sub, upper = string.gsub, string.match, string.sub,
                              string.upper
    floor, max = math.floor, math.max
    guard, pairs = _G.pcall, _G.pairs
    tonumber, type, unpack = _G.tonumber, _G.type, _G.unpack

    allowed, try, call = redis.acl_check_cmd, redis.pcall, redis.call
end


local function refuse(reason)
    return redis.error_reply('ERR rtbus: ' .. reason)
end


local function no_permission(what)
    return redis.error_reply('NOPERM rtbus: this user has no permission for '
                             .. what)
end


-- Of a reply of redis.pcall that is no table otherwise.

local function is_error(reply)
    return type(reply) == 'table' and reply.err
end


-- It stays open as long as those who call may not ask.

local function find_cluster()
    if allowed('CLUSTER', 'INFO') then
        cluster = not is_error(try('CLUSTER', 'INFO'))
    end
end


-- A key that is missing may still be with the master that has had the slot so
-- far; to make it here would be to have it twice.  While a slot is on its way
-- Redis refuses a command with several keys, one of which is missing; so it
-- does not matter which command that is.  The words differ from version to
-- version; but who may ask has nothing else to be refused for.

local function parted(...)
    if cluster == nil then
        find_cluster()
    end

    if not cluster then
        return nil
    end

    local reply = try('EXISTS', ...)

    if not is_error(reply) then
        return nil
    end

    if not allowed('EXISTS', ...) then
        return no_permission('EXISTS')
    end

    return redis.error_reply('TRYAGAIN rtbus: the slot is on its way to '
                             .. 'another server')
end


local function channel_names(key)
    local prefix, name = match(key, '^([^{}]*){([A-Za-z0-9_.:%%-]+)}$')

    if not prefix then
        prefix, name = '', match(key, '^[A-Za-z0-9_.:%%-]+$')
    end

    if not name or #name > CHANNEL_MAX then
        return nil
    end

    if find(name, '%', 1, true)
        and find(gsub(name, '%%[0-9A-F][0-9A-F]', ''), '%', 1, true)
    then
        return nil
    end

    if channels_count == CACHE_MAX then
        channels, channels_count = {}, 0
    end

    local base = prefix .. '{' .. name .. '}'

    local names = {
        events = base .. ':events',
        state = base .. ':state',
        output = base .. ':output',
        plain = prefix .. name,
        shard = prefix == '' and name or base,
    }

    channels[key] = names
    channels_count = channels_count + 1

    return names
end


-- The state after a text, from the one before it.  Blanks make it a whole number
-- of steps.

local function last_state(state, s)
    local padded = s .. '                '

    for i = 1, #s, 16 do
        local a, b, c, d, e, f, g, h, k, l, m, n, o, p, q, r
            = byte(padded, i, i + 15)

        state = state[a][b][c][d][e][f][g][h][k][l][m][n][o][p][q][r]
    end

    return state
end


local function is_utf8(s)
    return find(s, '^[%z\1-\127]*$') or last_state(utf8_state, s) == utf8_state
end


-- May a dot stand in a number without a digit on each side?  Some dots are looked
-- at one by one.

local function odd_dot(s)
    local i, n = find(s, '.', 1, true), 0

    while i do
        local before, _, after = byte(s, i - 1, i + 1)

        n = n + 1

        if n > 16 or before == 45
            or before >= 48 and before <= 57
                and not (after and after >= 48 and after <= 57)
        then
            return true
        end

        i = find(s, '.', i + 1, true)
    end

    return false
end


-- Half of a surrogate pair is good grammar, and what you get when text is cut in
-- two by those who count in UTF-16.  What stands in its place must not make an
-- escape of what is around it, nor base64.

local function no_halves(s)
    if not find(s, '\\u[dD]') then
        return nil
    end

    if find(s, '\\\\', 1, true) then
        s = gsub(s, '\\\\', '?')
    end

    return (gsub(s, '\\u[dD][89a-fA-F]%x%x', '?'))
end


-- What is wrong with it, if anything; and the value.

local function json_fault(s)
    local ok, value = guard(decode, s)

    if not ok then
        local rest = no_halves(s)

        if rest then
            ok, value = guard(decode, rest)
        end

        if not ok then
            return ' is not JSON'
        end
    end

    if not find(s, '^[ -~]*$') or odd_dot(s) then
        local state = last_state(json_state, s)

        if state == json_bad_utf8 then
            return ' is not UTF-8'
        end

        if state ~= json_state then
            return ' is not JSON'
        end
    end

    return nil, value
end


-- What the message begins with: {"event":"<name>","data":

local function event_head(event)
    if event == '' then
        return nil, 'event name is empty'
    end

    if #event > EVENT_MAX then
        return nil, 'event name is too long'
    end

    if find(event, '[%z\1-\31\127]') then
        return nil, 'control character in event name'
    end

    if not is_utf8(event) then
        return nil, 'event name is not UTF-8'
    end

    if RESERVED[event] then
        return nil, 'reserved event name'
    end

    if heads_count == CACHE_MAX then
        heads, heads_count = {}, 0
    end

    local head = '{"event":"' .. gsub(event, '["\\]', '\\%0') .. '","data":'

    heads[event] = head
    heads_count = heads_count + 1

    return head
end


local function is_number(s, max)
    return #s <= 10 and find(s, '^[1-9]%d*$') and tonumber(s) <= max
end


local function too_long(maxsize)
    return ' is too long, ' .. maxsize .. ' bytes are allowed'
end


local function number_fault(value, max)
    return not is_number(value, max) and ' is not a number from 1 to ' .. max
end


local function array_fault(value)
    local fault, list = json_fault(value)

    if not fault and not find(value, '^%s*%[') then
        fault = ' is not an array'
    end

    return fault, list
end


local function attachments_fault(list)
    for i = 1, #list do
        if type(list[i]) ~= 'string' then
            return ' is not an array of strings'
        end
    end

    if #list > ATTACHMENTS_MAX then
        return ' has too many attachments'
    end

    for i = 1, #list do
        local text = list[i]

        if #text % 4 > 0 or not find(text, '^[A-Za-z0-9+/]*=?=?$') then
            return ' is not base64'
        end
    end
end


-- A client puts an attachment in each of these places, and fails if there is
-- none for it.

local function bad_placeholder(value, count)
    if type(value) ~= 'table' then
        return false
    end

    local mark, n = value._placeholder, value.num

    if mark and mark ~= null then
        return mark ~= true or type(n) ~= 'number' or n < 0 or n >= count
               or n ~= floor(n)
    end

    for _, member in pairs(value) do
        if bad_placeholder(member, count) then
            return true
        end
    end

    return false
end


local function set_fault(args, first, maxsize)
    local count, size = #args - first + 1, 0

    if count == 0 or count % 2 == 1 then
        return ' needs pairs of field and value'
    end

    if count > 2 * FIELDS_MAX then
        return ' has too many fields'
    end

    for i = first, #args, 2 do
        if OWN[args[i]] then
            return ' may not set "' .. args[i] .. '"'
        end

        size = size + #args[i] + #args[i + 1]
    end

    return size > maxsize and too_long(maxsize)
end


-- The options from args[3] on, as they are given; nil and what is wrong.

local function find_options(args)
    local given, i = {}, 3

    while args[i] do
        local name, value = upper(args[i]), args[i + 1]

        if not OPTIONS[name] then
            return nil, 'unknown option'
        end

        if given[name] then
            return nil, name .. ' is given twice'
        end

        if name == 'SET' then
            given.SET, i = i + 1, #args + 1

        elseif value then
            given[name], i = value, i + 2

        else
            return nil, name .. ' has no value'
        end
    end

    return given
end


-- The options, without those of JSON checked; nil and what is wrong with them.

local function read_options(args)
    local given, fault = find_options(args)

    if not given then
        return nil, fault
    end

    fault = given.TTL and number_fault(given.TTL, TTL_MAX)

    if fault then
        return nil, 'TTL' .. fault
    end

    fault = given.MAXLEN and number_fault(given.MAXLEN, MAXLEN_MAX)

    if fault then
        return nil, 'MAXLEN' .. fault
    end

    fault = given.MAXSIZE and number_fault(given.MAXSIZE, MAXSIZE_MAX)

    if fault then
        return nil, 'MAXSIZE' .. fault
    end

    local maxsize = given.MAXSIZE and tonumber(given.MAXSIZE) or MAXSIZE
    local text = given.APPEND

    if text then
        fault = #text > maxsize and too_long(maxsize)
                or not is_utf8(text) and ' is not UTF-8'

        if fault then
            return nil, 'APPEND' .. fault
        end
    end

    fault = given.END and not STATUSES[given.END] and ' is none of completed, '
            .. 'cancelled, interrupted and failed'

    if fault then
        return nil, 'END' .. fault
    end

    fault = given.SET and set_fault(args, given.SET, maxsize)

    if fault then
        return nil, 'SET' .. fault
    end

    local more = {}

    if given.ATTACHMENTS then
        more[1], more[2] = 'attachments', given.ATTACHMENTS
    end

    if given.END then
        more[#more + 1], more[#more + 2] = 'end', given.END
    end

    return {
        text = text ~= '' and text or nil,
        ttl = 1000 * (given.TTL or TTL),
        maxlen = given.MAXLEN or MAXLEN,
        maxsize = maxsize,
        list = given.ARGS,
        binary = given.ATTACHMENTS,
        more = more,
        status = given.END,
        fields = given.SET,
    }
end


-- What is wrong with the JSON of an event, and its size.

local function event_fault(event, data, options)
    local list, binary = options.list, options.binary
    local maxsize = options.maxsize
    local size = #event + #data + (list and #list or 0)
                 + (binary and #binary or 0) + ENVELOPE

    if size > maxsize then
        return 'event' .. too_long(maxsize)
    end

    local name, fault, value, attachments

    if binary then
        fault, attachments = array_fault(binary)
        fault = fault or attachments_fault(attachments)

        if fault then
            return 'ATTACHMENTS' .. fault
        end
    end

    if not list then
        name = 'data'
        fault, value = json_fault(data)

    elseif data == '' then
        name = 'ARGS'
        fault, value = array_fault(list)

    else
        return 'with ARGS the data has to be ""'
    end

    if fault then
        return name .. fault
    end

    if binary and #attachments > 0 and bad_placeholder(value, #attachments) then
        return name .. ' has a bad placeholder'
    end
end


-- What XINFO STREAM says, by name; nil without a stream; an error.

local function stream_info(key)
    if try('EXISTS', key) == 0 then
        return nil
    end

    local reply = try('XINFO', 'STREAM', key)

    if reply.err then
        return nil, reply
    end

    local info = {}

    for i = 1, #reply, 2 do
        info[reply[i]] = reply[i + 1]
    end

    return info
end


-- Is the id a later than b?  They have up to 20 digits in each part.

local function is_later(a, b)
    local a1, a2 = match(a, '(%d+)-(%d+)')
    local b1, b2 = match(b, '(%d+)-(%d+)')

    if a1 == b1 then
        a1, b1 = a2, b2
    end

    if #a1 ~= #b1 then
        return #a1 > #b1
    end

    return a1 > b1
end


-- "old" is what the hash has, which may be anything.

local function new_epoch(now, old)
    old = old and find(old, '^%d+$') and tonumber(old)

    if not old or old >= EPOCH_MAX then
        old = 0
    end

    last_epoch = max(tonumber(now), last_epoch + 1, old + 1)

    return format('%.0f', last_epoch)
end


-- Takes an entry back that was added as <epoch>-0: the hash had an epoch ahead
-- of the stream.  With its last entry there, the stream stands again where it
-- did; otherwise only an epoch above both is sure to be new.

local function take_back(events, id)
    local info, err = stream_info(events)

    if err then
        return nil, err
    end

    local reply = try('XDEL', events, id)

    if is_error(reply) then
        return nil, reply
    end

    local top = call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
    local deleted = info['max-deleted-entry-id']

    if not top then
        return false
    end

    local last = is_later(deleted, top[1]) and deleted or top[1]

    -- newer versions let nothing be below the greatest id that was deleted, so
    -- that one goes first, and take 0-0 for no id

    call('XSETID', events, id, 'ENTRIESADDED', info['entries-added'] - 1,
         'MAXDELETEDID', deleted == '0-0' and '0-1' or deleted)
    call('XSETID', events, last)

    return true
end


-- Adds to a stream that is there; false if it is not.

local function add(events, id, now, event, kind, data, options)
    return try('XADD', events, 'NOMKSTREAM', 'MAXLEN', '~', options.maxlen,
               id, 'event', event, kind, data, 'timestamp', now,
               unpack(options.more))
end


local function create(events, id, now, event, kind, data, options)
    return try('XADD', events, 'MAXLEN', '~', options.maxlen, id,
               'event', event, kind, data, 'timestamp', now,
               unpack(options.more))
end


-- Adds where the stream's own last id says, or makes the channel anew.  "id":
-- what add() has answered, if there was an epoch to ask it for.

local function add_slowly(names, epoch, id, now, ...)
    local events, info, err, restored = names.events

    if type(id) == 'string' then
        restored, err = take_back(events, id)

        if err then
            return err
        end

    else
        err = parted(events, names.state, names.output)

        if err then
            return err
        end
    end

    info, err = stream_info(events)

    if err then
        return err
    end

    local last = info and info['last-generated-id']

    if last and last ~= '0-0' and restored ~= false then
        return add(events, match(last, '^%d+-') .. '*', now, ...)
    end

    return create(events, new_epoch(now, epoch) .. '-1', now, ...)
end


-- What the next event of a channel needs to know if the hash says so, too.

local function remember(names, epoch)
    names.epoch, names.next_id = epoch, nil
    names.expires = nil

    if epoch and #epoch <= 15 and find(epoch, '^[1-9]%d*$') then
        names.next_id = epoch .. '-*'
    end
end


-- The first end of an epoch counts: replays go no further.

local function mark_end(state, epoch, id, now, status)
    local ended = call('HGET', state, 'end')

    if ended and match(ended, '^(%d+)-') == epoch then
        return
    end

    call('HSET', state, 'status', status, 'end', id, 'endedAt', now)
end


-- Takes an APPEND back.

local function shorten(output, length)
    if length == 0 then
        call('DEL', output)
        return
    end

    call('SET', output, call('GETRANGE', output, 0, length - 1), 'KEEPTTL')
end


-- A text begins.  If there was one before, it was lost.

local function begin_output(state)
    local length = tonumber(call('HGET', state, 'outputLength') or 0) or 0

    if length > 0 then
        local lost = tonumber(call('HGET', state, 'outputLost') or 0) or 0

        call('HSET', state, 'outputLost', format('%.0f', lost + length))
    end
end


-- Reads, asks, and only then writes; args has the fields of SET.

local function write(names, event, head, kind, data, options, args)
    local events, state, output = names.events, names.state, names.output
    local text, ttl = options.text, options.ttl

    local epoch = try('HGET', state, 'epoch')

    if epoch ~= names.epoch then
        if is_error(epoch) then
            return epoch
        end

        remember(names, epoch)
    end

    if text or not epoch then
        local err = parted(events, state, output)

        if err then
            return err
        end
    end

    -- a state without an epoch is new, or what is made in place of a lost one

    local lost = not epoch and call('EXISTS', events, output) > 0

    local next_id = names.next_id

    if not next_id then
        local _, err = stream_info(events)

        if err then
            return err
        end

    elseif text then
        local entries = try('XLEN', events)

        if is_error(entries) then
            return entries
        end
    end

    local time = call('TIME')
    local now = format('%s%03d', time[1], floor(time[2] / 1000))

    -- what is left of the stream's life does not tell the time: others may set it

    local left, expires = call('PTTL', events)

    if not names.expires or left > ttl or left <= ttl - 1000
        or left <= ttl * 0.99
    then
        expires = now + ttl
    end

    if cluster == nil then
        find_cluster()
    end

    local verb = cluster and 'SPUBLISH' or 'PUBLISH'
    local channel = cluster and names.shard or names.plain

    local denied = not allowed(verb, channel, '') and verb
                   or not allowed('HSET', state, '', '') and 'HSET'
                   or expires and not allowed('PEXPIREAT', state, '1')
                       and 'PEXPIREAT'
                   or text and not allowed('XADD', events, '*', '', '')
                       and 'XADD'

    if denied then
        return no_permission(denied)
    end

    -- the first write is the text, if there is any, else the entry

    local length

    if text then
        length = try('APPEND', output, text)

        if is_error(length) then
            return length
        end
    end

    local id, seq

    if next_id then
        id = add(events, next_id, now, event, kind, data, options)

        if type(id) == 'string' then
            seq = sub(id, #epoch + 2)
        end
    end

    if not seq or seq == '0' then
        id = add_slowly(names, epoch, id, now, event, kind, data, options)

        if is_error(id) then
            if text then
                shorten(output, length - #text)
            end

            return id
        end

        epoch, seq = match(id, '^(%d+)-(%d+)$')

        call('HSET', state, 'epoch', epoch)

        if not call('HGET', state, 'createdAt') then
            call('HSET', state, 'createdAt', now)
        end

        if lost then
            call('HSET', state, 'stateLost', '1')
        end
    end

    if options.status then
        mark_end(state, epoch, id, now, options.status)
    end

    local first = options.fields or #args + 1

    if text then
        if length == #text then
            begin_output(state)
        end

        call('HSET', state, 'seq', seq, 'updatedAt', now, 'outputLength',
             length, unpack(args, first))

    else
        call('HSET', state, 'seq', seq, 'updatedAt', now, unpack(args, first))
    end

    if expires then
        call('PEXPIREAT', events, expires)
        call('PEXPIREAT', state, expires)
        call('PEXPIREAT', output, expires)

        remember(names, epoch)
        names.expires = expires

    elseif text and length == #text then
        call('PEXPIREAT', output, names.expires)
    end

    if options.binary then
        data = data .. ',"attachments":' .. options.binary
    end

    if options.status then
        data = data .. ',"end":"' .. options.status .. '"'
    end

    call(verb, channel, head .. data .. ',"id":"' .. id .. '","timestamp":'
                        .. now .. '}')

    return id
end


local function publish(keys, args)
    if not call then
        prepare()
    end

    local key, event, data, reason = keys[1], args[1], args[2]

    if keys[2] or not key then
        return refuse('one key is expected, the channel')
    end

    local names = channels[key] or channel_names(key)

    if not names then
        return refuse('bad channel')
    end

    if not data then
        return refuse('an event name and data are expected')
    end

    local head = heads[event]

    if not head then
        head, reason = event_head(event)

        if reason then
            return refuse(reason)
        end
    end

    local options, kind = NO_OPTIONS, 'data'

    if args[3] then
        options, reason = read_options(args)

        if reason then
            return refuse(reason)
        end

    end

    reason = event_fault(event, data, options)

    if reason then
        return refuse(reason)
    end

    if options.list then
        kind, data = 'args', options.list
        head = sub(head, 1, -7) .. 'args":'
    end

    return write(names, event, head, kind, data, options, args)
end


-- The names of a channel for a function that takes nothing else; nil and an
-- error.

local function only_channel(keys, args)
    if not call then
        prepare()
    end

    if #keys ~= 1 then
        return nil, refuse('one key is expected, the channel')
    end

    if #args > 0 then
        return nil, refuse('no arguments are expected')
    end

    local names = channels[keys[1]] or channel_names(keys[1])

    if not names then
        return nil, refuse('bad channel')
    end

    return names
end


-- The field "outputLost" for a state whose output is lost, and not begun anew.

local function add_lost(state)
    local length, lost = 0, 0

    for i = 1, #state, 2 do
        if state[i] == 'outputLength' then
            length = tonumber(state[i + 1]) or 0

        elseif state[i] == 'outputLost' then
            lost = tonumber(state[i + 1]) or 0
        end
    end

    if length > 0 then
        state[#state + 1] = 'outputLost'
        state[#state + 1] = format('%.0f', lost + length)
    end
end


-- last-generated-id, whatever has become of the entries

local function snapshot(keys, args)
    local names, fault = only_channel(keys, args)

    if not names then
        return fault
    end

    fault = parted(names.events, names.state, names.output)

    if fault then
        return fault
    end

    local state = try('HGETALL', names.state)

    if state.err then
        return state
    end

    local output = try('GET', names.output)

    if is_error(output) then
        return output
    end

    if not output then
        add_lost(state)
    end

    local info, err = stream_info(names.events)

    if err then
        return err
    end

    return { state, output or '', info and info['last-generated-id'] or '0-0' }
end


-- XINFO brings the first and the last entry; they stay here

local function position(keys, args)
    local names, fault = only_channel(keys, args)

    if not names then
        return fault
    end

    fault = parted(names.events, names.state)

    if fault then
        return fault
    end

    local info, err = stream_info(names.events)

    if err then
        return err
    end

    if not info then
        return { '0-0', '' }
    end

    local last, entry = info['last-generated-id'], info['last-entry']
    local timestamp = ''

    if entry and entry[1] == last then
        local fields = entry[2]

        for i = 1, #fields, 2 do
            if fields[i] == 'timestamp' and find(fields[i + 1], '^%d+$')
                and #fields[i + 1] < 20
            then
                timestamp = fields[i + 1]
            end
        end
    end

    return { last, timestamp }
end


local function claim(keys, args)
    if not call then
        prepare()
    end

    local key, user = keys[1], args[1]

    if #keys ~= 1 then
        return refuse('one key is expected, the channel')
    end

    if #args ~= 1 then
        return refuse('a user is expected')
    end

    if user == '' then
        return refuse('bad user')
    end

    local names = channels[key] or channel_names(key)

    if not names then
        return refuse('bad channel')
    end

    local state = names.state
    local owner = try('HGET', state, 'userId')

    if owner then
        return owner
    end

    local fault = parted(names.events, state, names.output)

    if fault then
        return fault
    end

    -- what is left of a channel that has lost its state may be anybody's

    local made = call('EXISTS', state) == 0

    if call('HGET', state, 'stateLost')
        or made and call('EXISTS', names.events, names.output) > 0
    then
        return ''
    end

    if made and not allowed('PEXPIRE', state, '1') then
        return no_permission('PEXPIRE')
    end

    local reply = try('HSET', state, 'userId', user)

    if is_error(reply) then
        return reply
    end

    if made then
        call('PEXPIRE', state, 1000 * TTL)
    end

    return user
end


-- Jobs whose events nginx captures.  The state of one that runs names its owner,
-- a worker of nginx, and until when it is to be believed without news of it.

local LEASE = 15000

local CHECKED = {
    'userId', 'status', 'lease', 'capture:type', 'capture:format', 'end',
    'endedAt', 'owner', 'capture:epoch'
}


local function clock()
    local time = call('TIME')

    return format('%s%03d', time[1], floor(time[2] / 1000))
end


-- What a job function needs first: the names of the channel, the time, and the
-- fields of the state that are asked for; or nil and an error.

local function open_job(keys, args, count, ...)
    if not call then
        prepare()
    end

    if #keys ~= 1 then
        return nil, refuse('one key is expected, the channel')
    end

    if #args < count then
        return nil, refuse('too few arguments')
    end

    local names = channels[keys[1]] or channel_names(keys[1])

    if not names then
        return nil, refuse('bad channel')
    end

    if cluster == nil then
        find_cluster()
    end

    local fields = try('HMGET', names.state, ...)

    if is_error(fields) then
        return nil, fields
    end

    return names, fields, clock()
end


local function send(names, message)
    if cluster then
        call('SPUBLISH', names.shard, message)
    else
        call('PUBLISH', names.plain, message)
    end
end


local function may_write(names)
    local verb = cluster and 'SPUBLISH' or 'PUBLISH'
    local channel = cluster and names.shard or names.plain

    local denied = not allowed(verb, channel, '') and verb
                   or not allowed('HSET', names.state, '', '') and 'HSET'
                   or not allowed('HDEL', names.state, '') and 'HDEL'
                   or not allowed('PEXPIRE', names.events, '1') and 'PEXPIRE'
                   or not allowed('APPEND', names.output, '') and 'APPEND'

    return denied and no_permission(denied)
end


-- Ends a job that runs: the last event, the state, what the keys live from now
-- on.  One that has had no answer has no last event either.

local function finish(names, now, status, failure)
    local state, events = names.state, names.events

    local fields = call('HMGET', state, 'epoch', 'events', 'usage', 'capture:type',
                        'capture:format', 'capture:keep')
    local epoch, count, usage = fields[1], fields[2], fields[3]

    call('HSET', state, 'status', status, 'completedAt', now, 'updatedAt', now)
    call('HDEL', state, 'owner', 'lease')

    if failure ~= '' then
        call('HSET', state, 'error', failure)
    end

    names.expires, names.left = nil, nil

    if not fields[4] and status == 'failed' then
        return
    end

    local data = '{"status":"' .. status .. '","usage":' .. (usage or 'null')
                 .. ',"events":' .. (count or '0') .. '}'
    local kind = fields[5] or ''

    local id = try('XADD', events, 'NOMKSTREAM', epoch .. '-*',
                   'event', 'capture:end', 'data', data, 'timestamp', now,
                   'end', status, 'capture', kind)

    if type(id) ~= 'string' then
        return
    end

    call('HSET', state, 'seq', match(id, '%d+$'), 'end', id, 'endedAt', now)
    call('PEXPIRE', events, 1000 * (fields[6] or 300))

    send(names, '{"event":"capture:end","data":' .. data .. ',"id":"' .. id
                .. '","timestamp":' .. now .. ',"end":"' .. status
                .. '","capture":"' .. kind .. '"}')
end


-- The owner has not been heard of: whoever finds out says so, once.

local function judge(names, now, status, lease)
    if status == 'running' and lease and tonumber(now) > tonumber(lease) then
        finish(names, now, 'interrupted', '')
        return 'interrupted', true
    end

    return status, false
end


-- The reply of who may judge, and, if asked for it, whether that was done.

local function judged(reply, more, lost)
    if more then
        reply[#reply + 1] = lost and 'lost' or ''
    end

    return reply
end


local function job_claim(keys, args)
    local names, s, now = open_job(keys, args, 7, 'userId', 'status', 'epoch',
                                   'owner', 'lease', 'capture:key', 'endedAt')

    if not names then
        return s
    end

    local user, busy, key, owner, keep, cursor = unpack(args, 1, 6)
    local state, events, output = names.state, names.events, names.output

    local fault = parted(events, state, output) or may_write(names)

    if fault then
        return fault
    end

    if s[1] and s[1] ~= user then
        return { 'forbidden', '', '' }
    end

    local info, err = stream_info(events)

    if err then
        return err
    end

    local last = info and info['last-generated-id'] or '0-0'
    local epoch, status, old = s[3] or '0', s[2], s[4] or ''

    local lost = false

    if args[7] == '1' then
        status, lost = judge(names, now, status, s[5])
    end

    local more = args[8]

    if cursor ~= '' then
        local fits = s[3] and match(cursor, '^%d+-') == epoch .. '-'
                     and not is_later(cursor, last)

        return judged({ fits and 'attach' or 'gone', epoch, '' }, more, lost)
    end

    local running = status == 'running'

    if key ~= '' and s[6] == key then
        local fresh = s[7]
                      and tonumber(now) - tonumber(s[7]) <= 1000 * tonumber(keep)

        if running
            or fresh and (status == 'completed' or status == 'cancelled')
        then
            return judged({ 'attach', epoch, '' }, more, lost)
        end
    end

    if running and busy ~= 'replace' then
        return judged({ busy == 'attach' and 'attach' or 'busy', epoch, '' },
                      more, lost)
    end

    local denied = not allowed('DEL', events, output) and 'DEL'
                   or not allowed('XGROUP', 'CREATE', events, 'g', '$')
                       and 'XGROUP'
                   or not allowed('XSETID', events, '1-0') and 'XSETID'

    if denied then
        return no_permission(denied)
    end

    if running then
        finish(names, now, 'cancelled', '')
    end

    local newest = match(last, '^%d+')

    if tonumber(newest) > tonumber(epoch) then
        epoch = newest
    end

    epoch = new_epoch(now, epoch)

    -- a stream without entries that begins where the job does, so that nobody
    -- takes the end of the last one for the end of this one

    call('DEL', events, output)
    call('XGROUP', 'CREATE', events, 'rtbus', '$', 'MKSTREAM')
    call('XGROUP', 'DESTROY', events, 'rtbus')
    call('XSETID', events, epoch .. '-0')

    call('HDEL', state, 'usage', 'error', 'completedAt', 'failedAt', 'end',
         'endedAt', 'capture:type', 'capture:format', 'capture:key', 'result',
         'progress', 'outputLength', 'outputLost', 'stateLost')
    call('HSET', state, 'status', 'running', 'userId', user, 'startedAt', now,
         'updatedAt', now, 'epoch', epoch, 'seq', '0', 'events', '0',
         'owner', owner, 'lease', format('%.0f', now + LEASE),
         'capture:keep', keep, 'capture:epoch', epoch)

    if key ~= '' then
        call('HSET', state, 'capture:key', key)
    end

    if not call('HGET', state, 'createdAt') then
        call('HSET', state, 'createdAt', now)
    end

    call('PEXPIRE', events, 1000 * TTL)
    call('PEXPIRE', state, 1000 * TTL)

    remember(names, epoch)

    return judged({ 'claimed', epoch, running and old or '' }, more, lost)
end


-- One event of a call of the owner, from args[i] on, as <epoch>-*: its id, or
-- nil.

local function append_event(verb, channel, events, next_id, now, args, i)
    local event, data = args[i], args[i + 1]
    local quoted, name = args[i + 2], args[i + 3]
    local head = heads[event] or event_head(event)

    if not head then
        return nil
    end

    local id, message

    if name == '' and quoted == '' then
        id = try('XADD', events, 'NOMKSTREAM', next_id, 'event', event,
                 'data', data, 'timestamp', now)

        if type(id) ~= 'string' then
            return nil
        end

        -- one text, since each is copied into memory of its own

        message = head .. data .. ',"id":"' .. id .. '","timestamp":' .. now
                  .. '}'

    else
        local more = {}

        if name ~= '' then
            more[1], more[2] = 'name', name
        end

        id = try('XADD', events, 'NOMKSTREAM', next_id, 'event', event,
                 quoted ~= '' and 'text' or 'data', data, 'timestamp', now,
                 unpack(more))

        if type(id) ~= 'string' then
            return nil
        end

        message = head .. (quoted ~= '' and quoted or data) .. ',"id":"' .. id
                  .. '","timestamp":' .. now
                  .. (quoted ~= '' and ',"text":1' or '')
                  .. (name ~= '' and ',"name":' .. cjson.encode(name) or '')
                  .. '}'
    end

    if is_error(try(verb, channel, message)) then
        return nil
    end

    return id
end


-- What the owner has to say.  A call that is made again, because its answer was
-- lost, is known by the number of events that were there before it.
--
-- Whether the user may do all this is asked with the first events, and with each
-- renewal of the keys' life, not for each token.  If the permissions are taken
-- away in between, the job is lost to its owner: a call that is refused in its
-- middle must not be made again.

local function job_append(keys, args)
    local names, s, now = open_job(keys, args, 10, 'epoch', 'status', 'owner',
                                   'events')

    if not names then
        return s
    end

    local epoch, before, owner, ttl, kind, form, text, status, usage, failure
          = unpack(args, 1, 10)
    local state, events = names.state, names.events
    local count = (#args - 10) / 4

    if count ~= floor(count) then
        return refuse('an event has four parts')
    end

    local total = format('%d', before + count)

    if s[1] ~= epoch then
        return { 'over', 'replaced' }
    end

    -- calls are sent one behind the other: if their answers were lost, all of
    -- them come again, from the first one on

    local again = (tonumber(s[4]) or 0) >= before + count

    if s[2] ~= 'running' or s[3] ~= owner then

        if status == '' and s[2] == 'completed' and again then
            return { 'ok', total }
        end

        if status ~= '' and s[2] == status and s[4] == total then
            return { 'ok', total }
        end

        return { 'over', s[2] or '' }
    end

    local fault = ttl ~= '0' and may_write(names)

    if fault then
        return fault
    end

    if s[4] ~= before then

        if not again then
            return { 'over', 'lost' }
        end

        count, text = 0, ''
    end

    local verb = cluster and 'SPUBLISH' or 'PUBLISH'
    local channel = cluster and names.shard or names.plain
    local next_id = epoch .. '-*'
    local id

    for i = 11, 10 + 4 * count, 4 do
        id = append_event(verb, channel, events, next_id, now, args, i)

        if not id then
            return { 'over', 'lost' }
        end
    end

    -- all that has changed goes into the state with one HSET

    local set = { 'lease', format('%.0f', now + LEASE) }
    local n = 2

    if id then
        set[3], set[4], set[5] = 'events', total, 'seq'
        set[6], set[7], set[8] = match(id, '%d+$'), 'updatedAt', now
        n = 8
    end

    if text ~= '' then
        local length = try('APPEND', names.output, text)

        if is_error(length) then
            return { 'over', 'lost' }
        end

        if length == #text then
            begin_output(state)
        end

        set[n + 1], set[n + 2] = 'outputLength', length
        n = n + 2
    end

    if kind ~= '' then
        set[n + 1], set[n + 2] = 'capture:type', kind
        n = n + 2
    end

    if form ~= '' then
        set[n + 1], set[n + 2] = 'capture:format', form
        n = n + 2
    end

    if usage ~= '' then
        set[n + 1], set[n + 2] = 'usage', usage
    end

    if is_error(try('HSET', state, unpack(set))) then
        return { 'over', 'lost' }
    end

    if ttl ~= '0' then
        call('PEXPIRE', events, 1000 * TTL)
        call('PEXPIRE', state, 1000 * TTL)
        call('PEXPIRE', names.output, 1000 * TTL)

        names.expires, names.left = nil, nil
    end

    if status ~= '' then
        finish(names, now, status, failure)
    end

    return { 'ok', total }
end


-- What is known of a job, for those who replay it; "judging" is "1" of those who
-- may say that its owner is gone.

local function job_check(keys, args)
    if not call then
        prepare()
    end

    local names, s, now = open_job(keys, args, 1, unpack(CHECKED))

    if not names then
        return s
    end

    local lost = false

    if args[1] == '1' then
        s[2], lost = judge(names, now, s[2], s[3])

        if lost then
            s = call('HMGET', names.state, unpack(CHECKED))
        end
    end

    local info, err = stream_info(names.events)

    if err then
        return err
    end

    local last = info and info['last-generated-id'] or '0-0'
    local epoch = match(last, '^%d+')
    local ended, since = s[6] or '', ''

    if match(ended, '^%d+') == epoch then
        since = format('%.0f', max(0, tonumber(now) - (tonumber(s[7]) or 0)))
    else
        ended = ''
    end

    return judged({ s[1] or '', s[2] or '', last, s[4] or '', ended, since,
                    s[8] or '', s[9] == epoch and 'capture' or '',
                    s[5] or '' }, args[2], lost)
end


-- Ends a job that runs; whoever owns it is told apart from this.

local function job_stop(keys, args)
    local names, s, now = open_job(keys, args, 1, 'status', 'epoch', 'owner')

    if not names then
        return s
    end

    if s[1] ~= 'running' or s[2] ~= args[1] or not s[3] then
        return { '', '' }
    end

    local fault = parted(names.events, names.state, names.output)
                  or may_write(names)

    if fault then
        return fault
    end

    finish(names, now, 'cancelled', '')

    return { s[3], s[2] }
end


-- The key for a dedupe id, in the slot of the stream; nil if the name has
-- braces that no tag can be put around.

local function dedupe_key(stream, id)
    if not find(stream, '^[^{]*{[^}]+}') then
        if find(stream, '}', 1, true) then
            return nil
        end

        stream = '{' .. stream .. '}'
    end

    return stream .. ':dedupe:' .. id
end


-- Numbers of up to 20 digits, as texts.

local function is_less(a, b)
    return #a < #b or #a == #b and a < b
end


local function is_before(a, b)
    local a_ms, a_seq = match(a, '^(%d+)-(%d+)$')
    local b_ms, b_seq = match(b, '^(%d+)-(%d+)$')

    return is_less(a_ms, b_ms) or a_ms == b_ms and is_less(a_seq, b_seq)
end


-- The first id that a group of the stream still needs.

local function needed(stream, group)
    local t = {}

    for i = 1, #group, 2 do
        t[group[i]] = group[i + 1]
    end

    if t.pending > 0 then
        return call('XPENDING', stream, t.name)[2]
    end

    local id = t['last-delivered-id']
    local ms, seq = match(id, '^(%d+)-(%d+)$')

    -- above it numbers are not exact; then one more is kept

    return #seq < 16 and format('%s-%.0f', ms, seq + 1) or id
end


-- Makes room for one more.  True, or nil if the stream has a group and is full;
-- and whether it has one.  Who may not look cuts, as a stream without a group
-- does.

local function make_room(stream, maxlen)
    local length = try('XLEN', stream)

    if is_error(length) or not allowed('XINFO', 'GROUPS', stream)
        or not allowed('XPENDING', stream, 'g')
        or not allowed('XTRIM', stream, 'MINID', '0')
    then
        return true, false
    end

    if length < maxlen then
        return true, true
    end

    local groups = try('XINFO', 'GROUPS', stream)

    if is_error(groups) or #groups == 0 then
        return true, false
    end

    local first

    for i = 1, #groups do
        local id = needed(stream, groups[i])

        if not first or is_before(id, first) then
            first = id
        end
    end

    -- a part at a time, if that will do

    call('XTRIM', stream, 'MINID', '~', first, 'LIMIT', COMMANDS_TRIM)

    if call('XLEN', stream) >= maxlen then
        call('XTRIM', stream, 'MINID', first)
    end

    return call('XLEN', stream) < maxlen, true
end


local function command(keys, args)
    if not call then
        prepare()
    end

    local stream, count = keys[1], #args
    local maxlen, fields = COMMANDS_MAXLEN, 2

    if #keys ~= 1 then
        return refuse('one key is expected, the stream')
    end

    if stream == '' then
        return refuse('bad stream')
    end

    if count == 0 then
        return refuse('a dedupe id and fields are expected')
    end

    if #args[1] > DEDUPE_MAX then
        return refuse('dedupe id is too long')
    end

    if args[2] == 'MAXLEN' then
        if not args[3] or not is_number(args[3], MAXLEN_MAX) then
            return refuse('MAXLEN is not a number from 1 to ' .. MAXLEN_MAX)
        end

        maxlen, fields = tonumber(args[3]), 4
    end

    if count < fields then
        return refuse('no fields')
    end

    if count % 2 == 0 then
        return refuse('a field has no value')
    end

    if count > 2 * FIELDS_MAX + fields - 1 then
        return refuse('too many fields')
    end

    local key

    if args[1] ~= '' then
        key = dedupe_key(stream, args[1])

        if not key then
            return refuse('bad stream')
        end

        local first = parted(stream, key) or try('GET', key)

        if is_error(first) then
            return first
        end

        if first then
            return { first, 0 }
        end

        if not allowed('SET', key, '') then
            return no_permission('SET')
        end
    end

    local room, kept = make_room(stream, maxlen)

    if not room then
        return { '', -1 }
    end

    local id

    if kept then
        id = try('XADD', stream, '*', unpack(args, fields))

    else
        id = try('XADD', stream, 'MAXLEN', maxlen < COMMANDS_TRIM and '=' or '~',
                 maxlen, '*', unpack(args, fields))
    end

    if is_error(id) then
        return id
    end

    if key then
        call('SET', key, id, 'PX', DEDUPE_TTL)
    end

    return { id, 1 }
end


local function version()
    return VERSION
end


redis.register_function('rtbus_publish', publish)
redis.register_function('rtbus_command', command)
redis.register_function('rtbus_claim', claim)
redis.register_function('rtbus_job_claim', job_claim)
redis.register_function('rtbus_job_append', job_append)
redis.register_function('rtbus_job_check', job_check)
redis.register_function('rtbus_job_stop', job_stop)

redis.register_function{
    function_name = 'rtbus_snapshot',
    callback = snapshot,
    flags = { 'no-writes' },
}

redis.register_function{
    function_name = 'rtbus_position',
    callback = position,
    flags = { 'no-writes' },
}

redis.register_function{
    function_name = 'rtbus_version',
    callback = version,
    flags = { 'no-writes' },
}
