
/*
 * The parser of streams of events.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_stream.h"


static int rtbus_stream_line(rtbus_stream_t *stream, const uint8_t *p,
    size_t len);
static int rtbus_stream_field(rtbus_stream_t *stream, const uint8_t *p,
    size_t len);
static int rtbus_stream_dispatch(rtbus_stream_t *stream);
static int rtbus_stream_add(rtbus_stream_t *stream, rtbus_str_t *to,
    size_t *size, const uint8_t *p, size_t len);
static const uint8_t *rtbus_stream_break(const uint8_t *p,
    const uint8_t *last);


void
rtbus_stream_init(rtbus_stream_t *stream, unsigned lines, size_t max)
{
    stream->lines = lines;
    stream->max = max;
}


void
rtbus_stream_free(rtbus_stream_t *stream)
{
    free(stream->line.data);
    free(stream->event.data);
    free(stream->body.data);

    memset(stream, 0, sizeof(rtbus_stream_t));
}


int
rtbus_stream_parse(rtbus_stream_t *stream, const uint8_t **pos,
    const uint8_t *last)
{
    int             rc;
    size_t          len;
    const uint8_t  *p, *end;

    if (stream->done) {
        stream->done = 0;
        stream->event.len = 0;
        stream->body.len = 0;
    }

    p = *pos;

    while (p < last) {

        if (stream->cr) {
            stream->cr = 0;

            if (*p == '\n') {
                *pos = ++p;
                continue;
            }
        }

        if (stream->line.len == 0 && *p == ':' && !stream->lines) {
            stream->skip = 1;
            stream->started = 1;
        }

        end = stream->lines ? memchr(p, '\n', (size_t) (last - p))
                            : rtbus_stream_break(p, last);

        if (end == NULL) {
            *pos = last;

            if (stream->skip) {
                return RTBUS_AGAIN;
            }

            rc = rtbus_stream_add(stream, &stream->line, &stream->line_size, p,
                                  (size_t) (last - p));

            return (rc == RTBUS_OK) ? RTBUS_AGAIN : rc;
        }

        len = (size_t) (end - p);

        stream->cr = (*end == '\r');
        *pos = end + 1;

        if (stream->skip) {
            stream->skip = 0;
            p = end + 1;
            continue;
        }

        if (stream->line.len) {
            rc = rtbus_stream_add(stream, &stream->line, &stream->line_size, p,
                                  len);
            if (rc != RTBUS_OK) {
                return rc;
            }

            len = stream->line.len;
            stream->line.len = 0;

            rc = rtbus_stream_line(stream, stream->line.data, len);

        } else if (len + stream->event.len + stream->body.len > stream->max) {
            return RTBUS_ERROR;

        } else {
            rc = rtbus_stream_line(stream, p, len);
        }

        if (rc != RTBUS_AGAIN) {
            return rc;
        }

        p = end + 1;
    }

    return RTBUS_AGAIN;
}


int
rtbus_stream_end(rtbus_stream_t *stream)
{
    size_t  len;

    if (stream->done) {
        stream->done = 0;
        stream->event.len = 0;
        stream->body.len = 0;
    }

    len = stream->line.len;

    if (!stream->lines || len == 0) {
        return RTBUS_AGAIN;
    }

    stream->line.len = 0;

    return rtbus_stream_line(stream, stream->line.data, len);
}


int
rtbus_stream_between(const rtbus_stream_t *stream)
{
    return stream->line.len == 0 && !stream->has_any && !stream->skip
           && !stream->cr;
}


/* RTBUS_OK: an event; RTBUS_AGAIN: none yet */

static int
rtbus_stream_line(rtbus_stream_t *stream, const uint8_t *p, size_t len)
{
    int     rc;
    size_t  i;

    if (!stream->started) {
        stream->started = 1;

        if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
            p += 3;
            len -= 3;
        }
    }

    if (!stream->lines) {
        return len ? rtbus_stream_field(stream, p, len)
                   : rtbus_stream_dispatch(stream);
    }

    if (len && p[len - 1] == '\r') {
        len--;
    }

    for (i = 0; i < len && (p[i] == ' ' || p[i] == '\t'); i++) { /* void */ }

    if (i == len) {
        return RTBUS_AGAIN;
    }

    rc = rtbus_stream_add(stream, &stream->body, &stream->body_size, p, len);
    if (rc != RTBUS_OK) {
        return rc;
    }

    stream->has_data = 1;

    return rtbus_stream_dispatch(stream);
}


static int
rtbus_stream_field(rtbus_stream_t *stream, const uint8_t *p, size_t len)
{
    int             rc;
    size_t          name;
    const uint8_t  *colon;

    if (*p == ':') {
        return RTBUS_AGAIN;
    }

    stream->has_any = 1;

    colon = memchr(p, ':', len);
    name = colon ? (size_t) (colon - p) : len;

    if (name == 4 && memcmp(p, "data", 4) == 0) {

        p += name;
        len -= name;

        if (len) {
            p++;
            len--;
        }

        if (len && *p == ' ') {
            p++;
            len--;
        }

        if (stream->has_data) {
            rc = rtbus_stream_add(stream, &stream->body, &stream->body_size,
                                  (const uint8_t *) "\n", 1);
            if (rc != RTBUS_OK) {
                return rc;
            }
        }

        stream->has_data = 1;

        rc = rtbus_stream_add(stream, &stream->body, &stream->body_size, p,
                              len);

    } else if (name == 5 && memcmp(p, "event", 5) == 0) {

        p += name;
        len -= name;

        if (len) {
            p++;
            len--;
        }

        if (len && *p == ' ') {
            p++;
            len--;
        }

        stream->event.len = 0;

        rc = rtbus_stream_add(stream, &stream->event, &stream->event_size, p,
                              len);

    } else {
        rc = RTBUS_OK;
    }

    return (rc == RTBUS_OK) ? RTBUS_AGAIN : rc;
}


static int
rtbus_stream_dispatch(rtbus_stream_t *stream)
{
    stream->has_any = 0;

    if (!stream->has_data) {
        stream->event.len = 0;
        return RTBUS_AGAIN;
    }

    /* an empty name is as good as none */

    stream->name.len = stream->event.len;
    stream->name.data = stream->event.len ? stream->event.data : NULL;
    stream->data = stream->body;

    stream->has_data = 0;
    stream->done = 1;

    return RTBUS_OK;
}


static int
rtbus_stream_add(rtbus_stream_t *stream, rtbus_str_t *to, size_t *size,
    const uint8_t *p, size_t len)
{
    size_t    n;
    uint8_t  *data;

    /* whether a line comes in one piece or in many makes no difference */

    if (len > stream->max
        || stream->line.len + stream->event.len + stream->body.len
           > stream->max - len)
    {
        return RTBUS_ERROR;
    }

    if (to->len + len > *size || to->data == NULL) {
        n = 2 * (to->len + len) + 256;

        data = realloc(to->data, n);
        if (data == NULL) {
            return RTBUS_NOMEM;
        }

        to->data = data;
        *size = n;
    }

    if (len) {
        memcpy(to->data + to->len, p, len);
        to->len += len;
    }

    return RTBUS_OK;
}


/* the first CR or LF; lines are short, so that one look at each byte will do */

static const uint8_t *
rtbus_stream_break(const uint8_t *p, const uint8_t *last)
{
    const uint8_t  *lf, *cr;

    lf = memchr(p, '\n', (size_t) (last - p));
    cr = memchr(p, '\r', (size_t) ((lf ? lf : last) - p));

    return cr ? cr : lf;
}
