
/*
 * rtbus_stream: each stream is parsed whole, byte by byte and at some sizes
 * between, and has to give the same events, written here as
 *
 *     name|data;name|data;
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_stream.h"
#include "unit.h"


#define OUT_MAX  65536


typedef struct {
    const char  *name;
    unsigned     lines;
    const char  *in;
    size_t       len;
    const char  *out;
} case_t;


#define sse(name, in, out)    { name, 0, in, sizeof(in) - 1, out }
#define lines(name, in, out)  { name, 1, in, sizeof(in) - 1, out }


static const case_t  cases[] = {
    sse("one event", "data: a\n\n", "|a;"),
    sse("named", "event: e\ndata: a\n\n", "e|a;"),
    sse("name behind data", "data: a\nevent: e\n\n", "e|a;"),
    sse("last name counts", "event: e\nevent: f\ndata: a\n\n", "f|a;"),
    sse("empty name", "event: e\nevent:\ndata: a\n\n", "|a;"),
    sse("one blank is dropped", "data:  a\ndata:b\n\n", "| a\nb;"),
    sse("CR LF", "event: e\r\ndata: a\r\n\r\ndata: b\r\n\r\n", "e|a;|b;"),
    sse("CR", "event: e\rdata: a\r\rdata: b\r\r", "e|a;|b;"),
    sse("mixed", "data: a\r\n\ndata: b\n\r\ndata: c\r\r\n", "|a;|b;|c;"),
    sse("CR LF is one end", "data: a\r\ndata: b\r\n\r\n", "|a\nb;"),
    sse("comments", ": x\n:\ndata: a\n:y\n\n: z\n\n", "|a;"),
    sse("other fields", "id: 1\nretry: 5\nx\ndata: a\nid\n\n", "|a;"),
    sse("no data", "event: e\n\ndata: a\n\n", "|a;"),
    sse("empty data", "data\n\ndata:\n\ndata: \n\n", "|;|;|;"),
    sse("empty lines of data", "data:\ndata:\n\n", "|\n;"),
    sse("byte order mark", "\xef\xbb\xbf" "data: a\n\n", "|a;"),
    sse("mark and comment", "\xef\xbb\xbf: c\ndata: a\n\n", "|a;"),
    sse("mark later", "data: a\n\n\xef\xbb\xbf" "data: b\n\n", "|a;"),
    sse("no end", "data: a\n\ndata: b\n", "|a;"),
    sse("no end of line", "data: a\n\ndata: b", "|a;"),
    sse("case counts", "Data: a\ndata: b\n\n", "|b;"),
    sse("blank before the colon", "data : a\ndata: b\n\n", "|b;"),
    sse("bytes", "data: \0\xff\n\n", "|\0\xff;"),
    sse("nothing", "", ""),
    sse("empty lines", "\n\r\n\r\r\n", ""),
    lines("lines", "{\"a\":1}\n{\"b\":2}\n", "|{\"a\":1};|{\"b\":2};"),
    lines("CR LF lines", "{}\r\n\r\n[]\r\n", "|{};|[];"),
    lines("blank lines", "\n  \n\t\n{}\n", "|{};"),
    lines("last line", "{}\n[]", "|{};|[];"),
    lines("mark", "\xef\xbb\xbf{}\n", "|{};"),
};


static size_t
put(char *out, size_t n, const rtbus_stream_t *stream)
{
    if (n + stream->name.len + stream->data.len + 2 > OUT_MAX) {
        abort();
    }

    if (stream->name.len) {
        memcpy(out + n, stream->name.data, stream->name.len);
        n += stream->name.len;
    }

    out[n++] = '|';

    if (stream->data.len) {
        memcpy(out + n, stream->data.data, stream->data.len);
        n += stream->data.len;
    }

    out[n++] = ';';

    return n;
}


static size_t
parse(const case_t *c, size_t size, char *out)
{
    int             rc;
    size_t          n, at, len;
    uint8_t        *piece;
    const uint8_t  *p;
    rtbus_stream_t  stream;

    memset(&stream, 0, sizeof(stream));
    rtbus_stream_init(&stream, c->lines, 4096);

    n = 0;

    for (at = 0; at < c->len; at += len) {
        len = (size < c->len - at) ? size : c->len - at;

        /* of its own, so that a byte beyond it is found */

        piece = malloc(len);
        if (piece == NULL) {
            abort();
        }

        memcpy(piece, c->in + at, len);
        p = piece;

        while ((rc = rtbus_stream_parse(&stream, &p, piece + len)) == RTBUS_OK)
        {
            n = put(out, n, &stream);
        }

        free(piece);

        if (rc != RTBUS_AGAIN) {
            break;
        }
    }

    if (rtbus_stream_end(&stream) == RTBUS_OK) {
        n = put(out, n, &stream);
    }

    rtbus_stream_free(&stream);

    return n;
}


static int
limit(const char *in, size_t size, size_t max, unsigned is_lines)
{
    int             rc;
    size_t          at, n, len;
    const uint8_t  *p;
    rtbus_stream_t  stream;

    memset(&stream, 0, sizeof(stream));
    rtbus_stream_init(&stream, is_lines, max);

    len = strlen(in);
    rc = RTBUS_AGAIN;

    for (at = 0; at < len && rc == RTBUS_AGAIN; at += n) {
        n = (size < len - at) ? size : len - at;
        p = (const uint8_t *) in + at;

        rc = rtbus_stream_parse(&stream, &p, p + n);
    }

    rtbus_stream_free(&stream);

    return rc;
}


static void
between(void)
{
    size_t          i;
    const uint8_t  *p, *last;
    rtbus_stream_t  stream;

    static const char  in[] = "data: a\n\n: c\nid: 1\n\r\ndata: b\r\n\r\n";

    memset(&stream, 0, sizeof(stream));
    rtbus_stream_init(&stream, 0, 100);

    ok(rtbus_stream_between(&stream), "between, at first");

    for (i = 0; i < sizeof(in) - 1; i++) {
        p = (const uint8_t *) in + i;
        last = p + 1;

        while (rtbus_stream_parse(&stream, &p, last) == RTBUS_OK) {
            /* void */
        }

        if (i == 8 || i == sizeof(in) - 2) {
            ok(rtbus_stream_between(&stream), "between, behind byte %d",
               (int) i);
        }

        if (i == 3 || i == 7 || i == 10 || i == 15) {
            ok(!rtbus_stream_between(&stream), "not between, behind byte %d",
               (int) i);
        }
    }

    rtbus_stream_free(&stream);
}


int
main(void)
{
    size_t         i, len, n, size;
    const char    *expected;
    static char    out[OUT_MAX];

    static const size_t  sizes[] = { 4096, 1, 2, 3, 7 };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        expected = cases[i].out;

        len = (strcmp(cases[i].name, "bytes") == 0) ? 4 : strlen(expected);

        for (n = 0; n < sizeof(sizes) / sizeof(sizes[0]); n++) {
            size = parse(&cases[i], sizes[n], out);

            ok(size == len && memcmp(out, expected, len) == 0,
               "%s, in pieces of %d", cases[i].name, (int) sizes[n]);
        }
    }

    for (n = 1; n <= 40; n += 13) {
        is_int(limit("data: 12345678\n\n", n, 16, 0), RTBUS_OK,
               "fits, in pieces of %d", (int) n);
        is_int(limit("data: 1234567890\ndata: 4567890\n\n", n, 16, 0),
               RTBUS_ERROR, "too long, in pieces of %d", (int) n);
        is_int(limit(": 1234567890123456789012345678901234567890\n", n, 16, 0),
               RTBUS_AGAIN, "a comment of any length, in pieces of %d",
               (int) n);
        is_int(limit("{\"1234567890\":1234567890}\n", n, 16, 1), RTBUS_ERROR,
               "line too long, in pieces of %d", (int) n);
    }

    between();

    return done_testing();
}
