
/*
 * What a client has to know of its protocol.
 */


#define _GNU_SOURCE

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "proto.h"


static const char *json_skip(const char *p, const char *end);


int
number(str_t s, uint64_t *n, int end, str_t *rest)
{
    size_t  i;

    *n = 0;

    for (i = 0; i < s.len && isdigit((unsigned char) s.data[i]); i++) {
        *n = *n * 10 + (s.data[i] - '0');
    }

    if (i == 0) {
        return 0;
    }

    if (end == 0) {
        return i == s.len;
    }

    if (i == s.len || s.data[i] != end) {
        return 0;
    }

    rest->data = s.data + i + 1;
    rest->len = s.len - i - 1;

    return 1;
}


int
json(str_t s, const char *const *names, str_t *values, int n)
{
    int          i;
    str_t        name;
    const char  *p, *end, *value;

    for (i = 0; i < n; i++) {
        values[i].data = NULL;
        values[i].len = 0;
    }

    p = s.data;
    end = p + s.len;

    if (s.len < 2 || *p != '{' || end[-1] != '}') {
        return 0;
    }

    p++;
    end--;

    while (p < end) {

        if (*p++ != '"') {
            return 0;
        }

        name.data = p;
        p = memchr(p, '"', end - p);

        if (p == NULL || end - p < 3 || p[1] != ':') {
            return 0;
        }

        name.len = p - name.data;

        value = p + 2;
        p = json_skip(value, end);

        if (p == NULL) {
            return 0;
        }

        for (i = 0; i < n; i++) {
            if (same(name, names[i])) {
                values[i].data = value;
                values[i].len = p - value;

                if (*value == '"') {
                    values[i].data++;
                    values[i].len -= 2;
                }
            }
        }

        if (p < end && *p++ != ',') {
            return 0;
        }
    }

    return 1;
}


int
json_array(str_t s, str_t *values, int n)
{
    int          i;
    const char  *p, *end, *value;

    p = s.data;
    end = p + s.len;

    if (s.len < 2 || *p != '[' || end[-1] != ']') {
        return -1;
    }

    end--;

    for (i = 0, p++; p < end && i < n; p++) {
        value = p;
        p = json_skip(value, end);

        if (p == NULL) {
            return -1;
        }

        values[i].data = value;
        values[i].len = p - value;

        if (*value == '"') {
            values[i].data++;
            values[i].len -= 2;
        }

        i++;
    }

    return i;
}


static const char *
json_skip(const char *p, const char *end)
{
    int  depth;

    depth = 0;

    while (p < end) {

        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++) {
                if (*p == '\\') {
                    p++;
                }
            }

            if (p >= end) {
                return NULL;
            }

        } else if (*p == '{' || *p == '[') {
            depth++;

        } else if (*p == '}' || *p == ']') {

            if (depth == 0) {
                return p;
            }

            depth--;

        } else if (*p == ',' && depth == 0) {
            return p;
        }

        p++;
    }

    return depth ? NULL : p;
}


void
request_put(buf_t *b, proto_e proto, int minor, const char *uri, size_t len)
{
    putf(b, "GET %.*s HTTP/1.%d\r\nHost: bench\r\n", (int) len, uri, minor);

    if (proto == SSE) {
        put(b, lit("Accept: text/event-stream\r\n"));
        return;
    }

    put(b, lit("Upgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"));
}


int
head_read(str_t s, head_t *head)
{
    char  *end, *p;

    end = memmem(s.data, s.len, lit("\r\n\r\n"));

    if (end == NULL) {
        return 0;
    }

    head->len = end + 4 - s.data;
    head->status = (s.len > 12) ? atoi(s.data + 9) : 0;
    head->chunked = (memmem(s.data, head->len, lit("chunked")) != NULL);
    head->close = (memmem(s.data, head->len, lit("\r\nConnection: close\r\n"))
                   != NULL);

    p = memmem(s.data, head->len, lit("\r\nContent-Length: "));

    head->sized = (p != NULL);
    head->size = p ? strtoul(p + 18, NULL, 10) : 0;

    return 1;
}


size_t
frame_read(const char *p, size_t len, frame_t *frame)
{
    size_t          head, i;
    uint64_t        size;
    const uint8_t  *u;

    if (len < 2) {
        return 0;
    }

    u = (const uint8_t *) p;
    size = u[1] & 0x7f;
    head = size < 126 ? 2 : size == 126 ? 4 : 10;

    if (len < head) {
        return 0;
    }

    if (head > 2) {
        for (size = 0, i = 2; i < head; i++) {
            size = size << 8 | u[i];
        }
    }

    if (len - head < size) {
        return 0;
    }

    frame->first = u[0];
    frame->payload.data = p + head;
    frame->payload.len = size;

    return head + size;
}


void
frame_put(buf_t *b, int opcode, const char *p, size_t len)
{
    size_t   n;
    uint8_t  head[4];

    head[0] = 0x80 | opcode;
    n = 2;

    if (len < 126) {
        head[1] = 0x80 | len;

    } else {
        head[1] = 0x80 | 126;
        head[2] = len >> 8;
        head[3] = len;
        n = 4;
    }

    put(b, (char *) head, n);
    put(b, "\0\0\0\0", 4);
    put(b, p, len);
}


size_t
chunks_read(chunks_t *chunks, char *p, size_t len)
{
    char    *dst, *start, *end;
    size_t   n;
    enum {
        sw_size = 0,
        sw_size_end,
        sw_data,
        sw_data_end,
        sw_last
    } state;

    state = chunks->state;
    start = p;
    dst = p;

    for (end = p + len; p < end && !chunks->ended; /* void */ ) {

        switch (state) {

        case sw_size:

            if (isxdigit((unsigned char) *p)) {
                n = isdigit((unsigned char) *p) ? *p - '0'
                                                : (*p | 0x20) - 'a' + 10;
                chunks->rest = chunks->rest << 4 | n;
                p++;
                break;
            }

            state = sw_size_end;

            /* fall through */

        case sw_size_end:

            if (*p++ == '\n') {
                state = chunks->rest ? sw_data : sw_last;
            }

            break;

        case sw_data:

            n = end - p;

            if (n > chunks->rest) {
                n = chunks->rest;
            }

            memmove(dst, p, n);
            dst += n;
            p += n;
            chunks->rest -= n;

            if (chunks->rest == 0) {
                state = sw_data_end;
            }

            break;

        case sw_data_end:

            if (*p++ == '\n') {
                state = sw_size;
            }

            break;

        case sw_last:

            /* the module has no trailers */

            chunks->ended = (*p++ == '\n');

            break;
        }
    }

    chunks->state = state;

    return dst - start;
}


size_t
event_read(const char *p, size_t len, event_t *event)
{
    str_t        line;
    const char  *start, *end, *lf;

    memset(event, 0, sizeof(event_t));

    start = p;

    for (end = p + len; p < end; p = lf + 1) {

        lf = memchr(p, '\n', end - p);

        if (lf == NULL) {
            return 0;
        }

        line.data = p;
        line.len = lf - p;

        if (line.len == 0) {
            return lf + 1 - start;
        }

        if (line.len > 7 && memcmp(p, "event: ", 7) == 0) {
            event->name.data = p + 7;
            event->name.len = line.len - 7;

        } else if (line.len > 6 && memcmp(p, "data: ", 6) == 0
                   && event->data.data == NULL)
        {
            event->data.data = p + 6;
            event->data.len = line.len - 6;

        } else if (line.len >= 4 && memcmp(p, "id: ", 4) == 0) {
            event->id.data = p + 4;
            event->id.len = line.len - 4;

        } else if (*p != ':') {
            event->bad = line;
        }
    }

    return 0;
}


int
packet_read(str_t *payload, str_t *packet)
{
    const char  *end;

    if (payload->len == 0) {
        return 0;
    }

    end = memchr(payload->data, '\x1e', payload->len);

    packet->data = payload->data;
    packet->len = end ? (size_t) (end - payload->data) : payload->len;

    payload->data += packet->len + (end != NULL);
    payload->len -= packet->len + (end != NULL);

    return 1;
}
