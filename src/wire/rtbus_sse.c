
/*
 * text/event-stream: one event.
 */


#include <string.h>

#include "rtbus_sse.h"


/*
 * A reader drops one space after the colon, if there is one: it is always
 * written, so that a value may begin with a space of its own.
 */

#define RTBUS_SSE_EVENT  "event: "
#define RTBUS_SSE_DATA   "data: "
#define RTBUS_SSE_ID     "id: "

#define rtbus_sse_put(dst, n, field, value, len)                              \
    rtbus_sse_line((dst) ? (dst) + (n) : NULL, field, sizeof(field) - 1,      \
                   value, len)


static size_t rtbus_sse_line(uint8_t *dst, const char *field, size_t field_len,
    const uint8_t *value, size_t len);
static const uint8_t *rtbus_sse_find(const uint8_t *p, const uint8_t *last,
    int c);


size_t
rtbus_sse_write(uint8_t *dst, const rtbus_str_t *name,
    const rtbus_str_t *data, const rtbus_str_t *id, size_t *id_end)
{
    size_t          n;
    const uint8_t  *p, *cr, *lf, *end, *last;

    n = 0;

    if (name->len) {
        n += rtbus_sse_put(dst, n, RTBUS_SSE_EVENT, name->data, name->len);
    }

    *id_end = 0;

    /* some clients give an id to the data that follows it, not to the event */

    if (id->len) {
        n += rtbus_sse_put(dst, n, RTBUS_SSE_ID, id->data, id->len);
        *id_end = n - 1;
    }

    /* an event without a data line is not dispatched: empty data has one too */

    if (data->len == 0) {
        n += rtbus_sse_put(dst, n, RTBUS_SSE_DATA, NULL, 0);

    } else {
        p = data->data;
        last = p + data->len;
        cr = rtbus_sse_find(p, last, '\r');
        lf = rtbus_sse_find(p, last, '\n');

        for ( ;; ) {
            end = (cr < lf) ? cr : lf;

            n += rtbus_sse_put(dst, n, RTBUS_SSE_DATA, p, (size_t) (end - p));

            if (end == last) {
                break;
            }

            /* a break at the very end leaves an empty line after it */

            p = (end == cr && lf == cr + 1 && lf < last) ? end + 2 : end + 1;

            if (cr < p) {
                cr = rtbus_sse_find(p, last, '\r');
            }

            if (lf < p) {
                lf = rtbus_sse_find(p, last, '\n');
            }
        }
    }

    if (dst) {
        dst[n] = '\n';
    }

    return n + 1;
}


static size_t
rtbus_sse_line(uint8_t *dst, const char *field, size_t field_len,
    const uint8_t *value, size_t len)
{
    if (dst) {
        memcpy(dst, field, field_len);
        dst += field_len;

        if (len) {
            memcpy(dst, value, len);
            dst += len;
        }

        *dst = '\n';
    }

    return field_len + len + 1;
}


static const uint8_t *
rtbus_sse_find(const uint8_t *p, const uint8_t *last, int c)
{
    const uint8_t  *found;

    found = memchr(p, c, (size_t) (last - p));

    return found ? found : last;
}
