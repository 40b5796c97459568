
/*
 * A client's stream of WebSocket frames: wherever it is cut into reads, the
 * same frames, payloads and error come out; what the parser lets through keeps
 * the rules of RFC 6455; unmasking twice gives the wire bytes again.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_utf8.h"
#include "rtbus_ws.h"


#define FUZZ_CUTS  160


/* all that was understood, folded into a number */

typedef struct {
    uint64_t           sum;
    uint64_t           frames;
    size_t             consumed;
    const char        *reason;
    int                rc;
    int                open;      /* inside of a frame's payload */
    int                message;   /* our own idea of "fragmented" */
    rtbus_ws_parser_t  ws;
} run_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
must(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
fold(run_t *run, uint64_t value)
{
    run->sum = (run->sum ^ value) * 0x9e3779b97f4a7c15ULL;
    run->sum ^= run->sum >> 29;
}


static void
check_frame(run_t *run)
{
    rtbus_ws_parser_t  *ws;

    ws = &run->ws;

    must(ws->rest >> 63 == 0);
    must(ws->mask_pos == 0);

    switch (ws->opcode) {

    case RTBUS_WS_CONTINUATION:
        must(run->message);
        run->message = !ws->fin;
        break;

    case RTBUS_WS_TEXT:
    case RTBUS_WS_BINARY:
        must(!run->message);
        run->message = !ws->fin;
        break;

    case RTBUS_WS_CLOSE:
    case RTBUS_WS_PING:
    case RTBUS_WS_PONG:
        must(ws->fin && ws->rest <= RTBUS_WS_MAX_CONTROL);
        break;

    default:
        must(0);
    }

    must(ws->fragmented == (unsigned) run->message);

    run->frames++;
    fold(run, ws->opcode);
    fold(run, ws->fin);
    fold(run, ws->rest);
}


static void
take_payload(run_t *run, const uint8_t *p, size_t n)
{
    size_t              i;
    uint8_t            *plain, *back, pos;
    rtbus_ws_parser_t  *ws;

    ws = &run->ws;
    pos = ws->mask_pos;

    /* one byte more, for n of 0 */

    plain = malloc(n + 1);
    back = malloc(n + 1);
    must(plain != NULL && back != NULL);

    rtbus_ws_unmask(ws, plain, p, n);
    must(ws->mask_pos == (pos + n) % 4);

    for (i = 0; i < n; i++) {
        must(plain[i] == (p[i] ^ ws->mask[(pos + i) % 4]));
        fold(run, plain[i]);
    }

    memcpy(back, plain, n);
    ws->mask_pos = pos;
    rtbus_ws_unmask(ws, back, back, n);
    must(memcmp(back, p, n) == 0);

    ws->rest -= n;

    free(plain);
    free(back);
}


static void
feed(run_t *run, const uint8_t *data, size_t size)
{
    size_t          n;
    uint8_t        *block;
    const uint8_t  *p, *last;

    if (run->rc == RTBUS_ERROR || size == 0) {
        return;
    }

    /* a block of its own, so that ASan sees a look past the read's end */

    block = malloc(size);
    must(block != NULL);
    memcpy(block, data, size);

    p = block;
    last = block + size;

    while (p < last) {

        if (!run->open) {
            run->rc = rtbus_ws_parse_header(&run->ws, &p, last);

            if (run->rc == RTBUS_ERROR) {
                run->reason = run->ws.reason;
                must(run->reason != NULL);
                break;
            }

            if (run->rc == RTBUS_AGAIN) {
                must(p == last);
                break;
            }

            must(run->rc == RTBUS_OK);
            check_frame(run);
            run->open = 1;
        }

        n = (size_t) (last - p);

        if (n > run->ws.rest) {
            n = (size_t) run->ws.rest;
        }

        take_payload(run, p, n);
        p += n;

        if (run->ws.rest == 0) {
            run->open = 0;
        }
    }

    run->consumed += (size_t) (p - block);

    free(block);
}


static void
same(const run_t *a, const run_t *b)
{
    must(a->sum == b->sum);
    must(a->frames == b->frames);
    must(a->consumed == b->consumed);
    must(a->reason == b->reason);
    must(a->rc == b->rc);
    must(a->open == b->open);
    must(a->ws.rest == b->ws.rest);
}


static void
check_close(const uint8_t *data, size_t size)
{
    int          rc;
    unsigned     code;
    const char  *reason;

    reason = NULL;
    rc = rtbus_ws_parse_close(data, size, &code, &reason);

    must((rc == RTBUS_OK) == (reason == NULL));

    if (size < 2) {
        must(code == RTBUS_WS_NO_STATUS);
        must(rc == (size ? RTBUS_WS_PROTOCOL_ERROR : RTBUS_OK));
        return;
    }

    must(code == (unsigned) (data[0] * 256 + data[1]));

    if (rc == RTBUS_WS_PROTOCOL_ERROR) {
        must(code < 3000 || code > 4999);
        return;
    }

    must(code >= 1000 && code <= 4999 && code != RTBUS_WS_NO_STATUS);
    must(rc == (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, data + 2, size - 2)
                == RTBUS_UTF8_ACCEPT
                ? RTBUS_OK : RTBUS_WS_INVALID_PAYLOAD));
}


/* a header that is let through is the one that we would write, and masked */

static void
check_first(const uint8_t *data, size_t size)
{
    uint8_t             t[RTBUS_WS_MAX_HEADER], *end;
    const uint8_t      *p;
    rtbus_ws_parser_t   ws;

    rtbus_ws_parser_init(&ws);

    p = data;

    if (rtbus_ws_parse_header(&ws, &p, data + size) != RTBUS_OK) {
        return;
    }

    end = rtbus_ws_write_header(t, ws.opcode, ws.rest);

    must(p - data == end - t + 4);
    must(data[0] == (ws.fin ? t[0] : (t[0] & 0x7f)));
    must(data[1] == (t[1] | 0x80));
    must(memcmp(data + 2, t + 2, (size_t) (end - t - 2)) == 0);
    must(memcmp(p - 4, ws.mask, 4) == 0);
}


/* a server's header of the length that the input's first bytes spell */

static void
check_write(const uint8_t *data, size_t size)
{
    uint8_t             t[RTBUS_WS_MAX_HEADER + 4], *end;
    uint64_t            len;
    const uint8_t      *p;
    rtbus_ws_parser_t   ws;

    len = 0;
    memcpy(&len, data, size < 8 ? size : 8);
    len >>= 1;

    end = rtbus_ws_write_header(t, RTBUS_WS_TEXT, len);
    must(end - t == rtbus_ws_header_len(len));

    t[1] |= 0x80;
    memset(end, 0, 4);

    rtbus_ws_parser_init(&ws);

    p = t;
    must(rtbus_ws_parse_header(&ws, &p, end + 4) == RTBUS_OK);
    must(p == end + 4 && ws.rest == len && ws.fin);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t  i, n, step;
    run_t   whole, run;

    if (size == 0) {
        return 0;
    }

    memset(&whole, 0, sizeof(run_t));
    feed(&whole, data, size);

    for (i = 0; i <= size && i <= FUZZ_CUTS; i++) {
        memset(&run, 0, sizeof(run_t));
        feed(&run, data, i);
        feed(&run, data + i, size - i);
        same(&whole, &run);
    }

    for (step = 1; step <= 31; step += 3) {
        memset(&run, 0, sizeof(run_t));

        for (i = 0; i < size; i += n) {
            n = size - i < step ? size - i : step;
            feed(&run, data + i, n);
        }

        same(&whole, &run);
    }

    check_first(data, size);
    check_close(data, size);
    check_write(data, size);

    return 0;
}
