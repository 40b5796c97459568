#!lua name=rtbus
--
-- rtbus: durable job events in Redis.  A function library for Redis 7 and later:
--
--     redis-cli -x FUNCTION LOAD REPLACE < rtbus.lua
--
--
-- CHANNEL
--
-- All functions but rtbus_command take one key, a channel C or <prefix>{C}:
-- C is 1-200 bytes of A-Z a-z 0-9 _ . : - and the prefix is free of braces.
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
--     [MAXLEN <n>] [ARGS <array>] [ATTACHMENTS <array>]
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
--     event        1-128 bytes of UTF-8 without control characters
--     data         any JSON (RFC 8259), UTF-8, nested 63 deep at most (the
--                  message around it makes 64); kept byte for byte
--     APPEND       UTF-8 text that the output grows by
--     TTL          seconds that the keys live after the last event, up to
--                  315360000; default 86400.  A key that has less than 1 %
--                  and less than 1 s of it behind it is not touched
--     MAXLEN       entries that the stream keeps (~: some more), up to
--                  1000000000; default 10000
--     ARGS         JSON array, several arguments in place of data, which has
--                  to be "" then; message and entry have "args", no "data"
--     ATTACHMENTS  JSON array of strings (base64); message and entry have
--                  "attachments"
--     SET          fields of the hash, up to 1000 of them, names and values
--                  as they come.  It is the last option: all that follows is
--                  fields.  "epoch" and "seq" are set by the function alone
--
-- Options may be in lower case, and each may be given once.
--
-- The entry has the fields event, data (or args), attachments (if any) and
-- timestamp.  The hash gets what SET says, and epoch, seq and updatedAt (ms);
-- createdAt (ms) when it has none.
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
-- there: [ [], "", "0-0" ].  Writes nothing; a replica answers it as well.
--
--
-- FCALL rtbus_command 1 <stream> <dedupe-id> <field> <value> ...
--
--     -> [ stream id, 1 ], or [ stream id of the first one, 0 ]
--
-- Adds an entry to a stream of commands, which keeps the last 100000 (~).  A
-- dedupe id, if not "", is remembered for 600 s: the same one again adds
-- nothing.  Up to 200 bytes; up to 1000 fields.  The key to remember it by is
-- {<stream>}:dedupe:<id>, or <stream>:dedupe:<id> if the stream's name has a
-- hash tag, so that the two share a slot.
--
--
-- FCALL_RO rtbus_version 0
--
--     -> 1: a number that grows with each change of this file
--
--
-- ERRORS
--
-- "ERR rtbus: <reason>" says what is wrong with the arguments.  Redis' own
-- errors (WRONGTYPE, OOM, NOPERM ...) come as they are.  Either way nothing has
-- been written.  What ensures this, as Redis rolls nothing back: arguments are
-- checked first; the hash is read before anything is written; the first write
-- is the one that may be refused for what the keys hold, and any write when
-- memory is short (later ones never are); permissions for what comes after it
-- are asked for beforehand.
--
-- A user needs, besides FCALL, the commands used below for the three keys and
-- PUBLISH for the channel; in a cluster SPUBLISH and CLUSTER INFO, too.
--

local VERSION = 1

local TTL = 86400
local TTL_MAX = 315360000
local MAXLEN = '10000'
local MAXLEN_MAX = 1000000000

local CHANNEL_MAX = 200
local EVENT_MAX = 128
local FIELDS_MAX = 1000
local DEPTH_MAX = 63

local COMMANDS_MAXLEN = '100000'
local DEDUPE_MAX = 200
local DEDUPE_TTL = '600000'

-- Names are kept with what was made of them, up to so many.

local CACHE_MAX = 1000

-- Above it numbers are not exact; no clock of ours gets there.

local EPOCH_MAX = 9e15


-- Redis gives a library these when it is called, not when it is loaded.

local call, try, allowed, decode, guard
local byte, find, floor, format, gsub, match, upper
local select, tonumber, type, unpack

local cluster
local last_epoch = 0

local channels, channels_count = {}, 0
local heads, heads_count = {}, 0


local function prepare()
    local json = cjson.new()

    json.decode_invalid_numbers(false)
    json.decode_max_depth(DEPTH_MAX)

    decode = json.decode

    byte, find, format = string.byte, string.find, string.format
    gsub, match, upper = string.gsub, string.match, string.upper
    floor, guard, select = math.floor, _G.pcall, _G.select
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


-- A reply of redis.pcall; those asked for here are never tables otherwise.

local function is_error(reply)
    return type(reply) == 'table' and reply.err
end


-- PUBLISH, or SPUBLISH in a cluster; a user who may not ask leaves it open.

local function publish_command()
    if cluster == nil and allowed('CLUSTER', 'INFO') then
        cluster = not is_error(try('CLUSTER', 'INFO'))
    end

    return cluster and 'SPUBLISH' or 'PUBLISH'
end


local function channel_names(key)
    local prefix, name = match(key, '^([^{}]*){([A-Za-z0-9_.:%-]+)}$')

    if not prefix then
        prefix, name = '', match(key, '^[A-Za-z0-9_.:%-]+$')
    end

    if not name or #name > CHANNEL_MAX then
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


local function is_utf8(s)
    local i = find(s, '[\128-\255]')

    while i do
        local a, b, c, d = byte(s, i, i + 3)

        b, c, d = b or 0, c or 0, d or 0

        if a < 0x80 then
            i = find(s, '[\128-\255]', i)

        elseif b < 0x80 or b > 0xbf or a < 0xc2 or a > 0xf4 then
            return false

        elseif a < 0xe0 then
            i = i + 2

        elseif c < 0x80 or c > 0xbf or a == 0xe0 and b < 0xa0
            or a == 0xed and b > 0x9f
        then
            return false

        elseif a < 0xf0 then
            i = i + 3

        elseif d < 0x80 or d > 0xbf or a == 0xf0 and b < 0x90
            or a == 0xf4 and b > 0x8f
        then
            return false

        else
            i = i + 4
        end

        if i and i > #s then
            break
        end
    end

    return true
end


-- The part of the grammar that the decoder is lax about: a dot has digits on
-- both sides, and control characters are blanks between the tokens.

local function is_strict(s)
    local rest = gsub(gsub(s, '\\.', ''), '"[^"%z\1-\31]*"', '')

    return not (find(rest, '["%z\1-\8\11\12\14-\31]') or find(rest, '%.%D')
                or find(rest, '%.$') or find(rest, '%-%.'))
end


-- The value is returned as well; nil with a reason.

local function json_value(s, what)
    local ok, value = guard(decode, s)

    if not ok then

        -- half of a surrogate pair is good grammar, and what you get when
        -- text is cut in two by those who count in UTF-16

        local bare, halves = gsub(gsub(s, '\\\\', ''),
                                  '\\u[dD][89a-fA-F]%x%x', '')

        ok = halves > 0

        if ok then
            ok, value = guard(decode, bare)
        end

        if not ok then
            return nil, what .. ' is not JSON'
        end
    end

    if not find(s, '^[ -~]*$') then
        if not is_utf8(s) then
            return nil, what .. ' is not UTF-8'
        end

        if find(s, '[%z\1-\31]') and not is_strict(s) then
            return nil, what .. ' is not JSON'
        end
    end

    if find(s, '.', 1, true)
        and (find(s, '%d%.%D') or find(s, '%d%.$') or find(s, '%-%.'))
        and not is_strict(s)
    then
        return nil, what .. ' is not JSON'
    end

    return value
end


local function json_array(s, what)
    local value, reason = json_value(s, what)

    if reason then
        return nil, reason
    end

    if not find(s, '^%s*%[') then
        return nil, what .. ' is not an array'
    end

    return value
end


-- What the message begins with: {"event":"<name>","

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

    if heads_count == CACHE_MAX then
        heads, heads_count = {}, 0
    end

    local head = '{"event":"' .. gsub(event, '["\\]', '\\%0') .. '","'

    heads[event] = head
    heads_count = heads_count + 1

    return head
end


local function whole_number(s, max)
    if not find(s, '^[1-9]%d*$') or #s > 10 or tonumber(s) > max then
        return nil
    end

    return tonumber(s)
end


-- The options from args[3] on, as a table, or nil and a reason.

local function read_options(args, count)
    local options, i = {}, 3

    while i <= count do
        local name, value = upper(args[i]), args[i + 1]

        if options[name] then
            return nil, name .. ' is given twice'
        end

        if name == 'SET' then
            local fields = count - i

            if fields == 0 or fields % 2 == 1 then
                return nil, 'SET needs pairs of field and value'
            end

            if fields > 2 * FIELDS_MAX then
                return nil, 'SET has too many fields'
            end

            for k = i + 1, count, 2 do
                if args[k] == 'epoch' or args[k] == 'seq' then
                    return nil, 'SET may not set ' .. args[k]
                end
            end

            options.SET = i + 1
            return options
        end

        if name ~= 'APPEND' and name ~= 'TTL' and name ~= 'MAXLEN'
            and name ~= 'ARGS' and name ~= 'ATTACHMENTS'
        then
            return nil, 'unknown option'
        end

        if not value then
            return nil, name .. ' has no value'
        end

        if name == 'APPEND' then
            if not is_utf8(value) then
                return nil, 'APPEND is not UTF-8'
            end

        elseif name == 'TTL' then
            if not whole_number(value, TTL_MAX) then
                return nil, 'TTL is not a number from 1 to ' .. TTL_MAX
            end

        elseif name == 'MAXLEN' then
            if not whole_number(value, MAXLEN_MAX) then
                return nil, 'MAXLEN is not a number from 1 to ' .. MAXLEN_MAX
            end

        else
            local list, reason = json_array(value, name)

            if reason then
                return nil, reason
            end

            if name == 'ATTACHMENTS' then
                for k = 1, #list do
                    if type(list[k]) ~= 'string' then
                        return nil, 'ATTACHMENTS is not an array of strings'
                    end
                end
            end
        end

        options[name] = value
        i = i + 2
    end

    return options
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


local function new_epoch(now, ...)
    local epoch = now > last_epoch and now or last_epoch + 1

    for i = 1, select('#', ...) do
        local past = (select(i, ...))

        if past and find(past, '^%d+$') then
            past = tonumber(past)

            if past >= epoch and past < EPOCH_MAX then
                epoch = past + 1
            end
        end
    end

    last_epoch = epoch

    return format('%.0f', epoch)
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

    call('XSETID', events, last, 'ENTRIESADDED', info['entries-added'] - 1,
         'MAXDELETEDID', deleted)

    return true
end


local function add(events, create, maxlen, id, now, event, kind, body, binary)
    if create then
        if binary then
            return try('XADD', events, 'MAXLEN', '~', maxlen, id,
                       'event', event, kind, body, 'attachments', binary,
                       'timestamp', now)
        end

        return try('XADD', events, 'MAXLEN', '~', maxlen, id,
                   'event', event, kind, body, 'timestamp', now)
    end

    if binary then
        return try('XADD', events, 'NOMKSTREAM', 'MAXLEN', '~', maxlen, id,
                   'event', event, kind, body, 'attachments', binary,
                   'timestamp', now)
    end

    return try('XADD', events, 'NOMKSTREAM', 'MAXLEN', '~', maxlen, id,
               'event', event, kind, body, 'timestamp', now)
end


-- Adds where the stream's own last id says, or makes the channel anew.  "id" is
-- what add() has made of the epoch in the hash, if it was asked.

local function add_slowly(names, epoch, id, maxlen, now, ...)
    local events, info, err, restored = names.events

    if type(id) == 'string' then
        restored, err = take_back(events, id)

        if err then
            return err
        end
    end

    info, err = stream_info(events)

    if err then
        return err
    end

    local last = info and info['last-generated-id']
    local stream_epoch = last and match(last, '^%d+')

    if last and last ~= '0-0' and restored ~= false then
        return add(events, false, maxlen, stream_epoch .. '-*', now, ...)
    end

    epoch = new_epoch(tonumber(now), epoch, stream_epoch)

    return add(events, true, maxlen, epoch .. '-1', now, ...)
end


-- Takes an APPEND back.

local function shorten(output, length)
    if length == 0 then
        call('DEL', output)
        return
    end

    call('SET', output, call('GETRANGE', output, 0, length - 1), 'KEEPTTL')
end


local function publish(keys, args)
    if not call then
        prepare()
    end

    -- the arguments

    local key, count = keys[1], #args

    if #keys ~= 1 then
        return refuse('one key is expected, the channel')
    end

    local names = channels[key] or channel_names(key)

    if not names then
        return refuse('bad channel')
    end

    if count < 2 then
        return refuse('an event name and data are expected')
    end

    local event, data, reason = args[1], args[2]
    local head = heads[event]

    if not head then
        head, reason = event_head(event)

        if reason then
            return refuse(reason)
        end
    end

    local ttl, maxlen, kind = TTL * 1000, MAXLEN, 'data'
    local text, binary, fields

    if count > 2 then
        local options

        options, reason = read_options(args, count)

        if reason then
            return refuse(reason)
        end

        text, binary, fields = options.APPEND, options.ATTACHMENTS, options.SET
        maxlen = options.MAXLEN or maxlen

        if options.TTL then
            ttl = tonumber(options.TTL) * 1000
        end

        if options.ARGS then
            if data ~= '' then
                return refuse('with ARGS the data has to be ""')
            end

            data, kind = options.ARGS, 'args'
        end

        if text == '' then
            text = nil
        end
    end

    if kind == 'data' then
        local _

        _, reason = json_value(data, 'data')

        if reason then
            return refuse(reason)
        end
    end

    -- what there is, and what may be done

    local events, state, output = names.events, names.state, names.output
    local epoch = try('HGET', state, 'epoch')

    if type(epoch) == 'table' then
        return epoch
    end

    local known = epoch and #epoch <= 15

    if not known then
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

    local left = call('PTTL', events)
    local renew = left > ttl or left < ttl - 1000 or left < ttl * 0.99

    local command = publish_command()
    local channel = cluster and names.shard or names.plain

    local denied = not allowed(command, channel, '') and command
                   or not allowed('HSET', state, '', '') and 'HSET'
                   or renew and not allowed('PEXPIRE', state, '1')
                       and 'PEXPIRE'
                   or text and not allowed('XADD', events, '*', '', '')
                       and 'XADD'

    if denied then
        return no_permission(denied)
    end

    local time = call('TIME')
    local now = format('%s%03d', time[1], floor(time[2] / 1000))

    -- the first write is the text, if there is any, else the entry

    local length

    if text then
        length = try('APPEND', output, text)

        if is_error(length) then
            return length
        end
    end

    local id, id_epoch, seq

    if known then
        id = add(events, false, maxlen, epoch .. '-*', now, event, kind, data,
                 binary)

        if type(id) == 'string' then
            id_epoch, seq = match(id, '^(%d+)-(%d+)$')
        end
    end

    if not seq or seq == '0' then
        id = add_slowly(names, epoch, id, maxlen, now, event, kind, data,
                        binary)

        if is_error(id) then
            if text then
                shorten(output, length - #text)
            end

            return id
        end

        id_epoch, seq = match(id, '^(%d+)-(%d+)$')
    end

    -- nothing is refused from here on

    if fields then
        call('HSET', state, 'seq', seq, 'updatedAt', now,
             unpack(args, fields, count))
    else
        call('HSET', state, 'seq', seq, 'updatedAt', now)
    end

    if id_epoch ~= epoch then
        call('HSET', state, 'epoch', id_epoch)

        if not call('HGET', state, 'createdAt') then
            call('HSET', state, 'createdAt', now)
        end

        renew = true
    end

    if renew then
        call('PEXPIRE', events, ttl)
        call('PEXPIRE', state, ttl)
        call('PEXPIRE', output, ttl)

    elseif text and length == #text then
        call('PEXPIRE', output, ttl)
    end

    call(command, channel, head .. kind .. '":' .. data
         .. (binary and ',"attachments":' .. binary or '')
         .. ',"id":"' .. id .. '","timestamp":' .. now .. '}')

    return id
end


-- last-generated-id, whatever has become of the entries

local function snapshot(keys, args)
    if not call then
        prepare()
    end

    if #keys ~= 1 then
        return refuse('one key is expected, the channel')
    end

    if #args > 0 then
        return refuse('no arguments are expected')
    end

    local names = channels[keys[1]] or channel_names(keys[1])

    if not names then
        return refuse('bad channel')
    end

    local state = try('HGETALL', names.state)

    if state.err then
        return state
    end

    local output = try('GET', names.output)

    if is_error(output) then
        return output
    end

    local info, err = stream_info(names.events)

    if err then
        return err
    end

    return { state, output or '', info and info['last-generated-id'] or '0-0' }
end


-- The key that keeps a dedupe id in the slot of the stream; nil if the name has
-- braces that no tag can be made around.

local function dedupe_key(stream, id)
    if not find(stream, '^[^{]*{[^}]+}') then
        if find(stream, '}', 1, true) then
            return nil
        end

        stream = '{' .. stream .. '}'
    end

    return stream .. ':dedupe:' .. id
end


local function command(keys, args)
    if not call then
        prepare()
    end

    local stream, count = keys[1], #args

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

    if count == 1 then
        return refuse('no fields')
    end

    if count % 2 == 0 then
        return refuse('a field has no value')
    end

    if count > 2 * FIELDS_MAX + 1 then
        return refuse('too many fields')
    end

    local key

    if args[1] ~= '' then
        key = dedupe_key(stream, args[1])

        if not key then
            return refuse('bad stream')
        end

        local first = try('GET', key)

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

    local id = try('XADD', stream, 'MAXLEN', '~', COMMANDS_MAXLEN, '*',
                   unpack(args, 2))

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

redis.register_function{
    function_name = 'rtbus_snapshot',
    callback = snapshot,
    flags = { 'no-writes' },
}

redis.register_function{
    function_name = 'rtbus_version',
    callback = version,
    flags = { 'no-writes' },
}
