
/*
 * A stream in pieces is the same as the stream as a whole, and no event is longer
 * than it may be.  The first byte says how it is cut.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_stream.h"


#define MAX  512


int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);


typedef struct {
    size_t    len;
    int       rc;
    uint64_t  hash;
} result_t;


static void
add(result_t *r, const rtbus_str_t *s)
{
    size_t  i;

    for (i = 0; i < s->len; i++) {
        r->hash = (r->hash ^ s->data[i]) * 1099511628211ULL;
    }

    r->hash = (r->hash ^ 0x100) * 1099511628211ULL;
    r->len++;
}


static void
event(result_t *r, const rtbus_stream_t *stream)
{
    if (stream->name.len + stream->data.len > MAX) {
        abort();
    }

    add(r, &stream->name);
    add(r, &stream->data);
}


static result_t
run(const uint8_t *p, size_t len, size_t size, unsigned lines)
{
    size_t           n;
    uint8_t         *piece;
    result_t         r;
    const uint8_t   *pos;
    rtbus_stream_t   stream;

    memset(&stream, 0, sizeof(stream));
    memset(&r, 0, sizeof(r));

    rtbus_stream_init(&stream, lines, MAX);

    r.rc = RTBUS_AGAIN;

    while (len && r.rc == RTBUS_AGAIN) {
        n = (size < len) ? size : len;

        piece = malloc(n);
        if (piece == NULL) {
            abort();
        }

        memcpy(piece, p, n);
        pos = piece;

        while ((r.rc = rtbus_stream_parse(&stream, &pos, piece + n))
               == RTBUS_OK)
        {
            event(&r, &stream);
        }

        (void) rtbus_stream_between(&stream);

        free(piece);

        p += n;
        len -= n;
    }

    if (r.rc == RTBUS_AGAIN && rtbus_stream_end(&stream) == RTBUS_OK) {
        event(&r, &stream);
    }

    rtbus_stream_free(&stream);

    return r;
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    unsigned  lines;
    result_t  whole, pieces;

    if (len < 1) {
        return 0;
    }

    lines = p[0] >> 7;

    whole = run(p + 1, len - 1, len, lines);
    pieces = run(p + 1, len - 1, (size_t) (p[0] & 0x7f) + 1, lines);

    if (whole.rc != pieces.rc) {
        abort();
    }

    if (whole.rc == RTBUS_AGAIN
        && (whole.len != pieces.len || whole.hash != pieces.hash))
    {
        abort();
    }

    return 0;
}
