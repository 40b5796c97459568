
/*
 * The same bytes of a client for our frames and for wslay, another
 * implementation of RFC 6455: both have to understand the same messages, and to
 * give up at the same one.
 */


#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "rtbus_utf8.h"
#include "rtbus_ws.h"


/* bytes of the longest message; wslay takes the memory before it comes */
#define FUZZ_MESSAGE  100000


/* what was understood: opcode, length and bytes of each message */

typedef struct {
    uint8_t          *log;
    size_t            len;
    size_t            size;
    int               closing;    /* a close frame came, but not all of it */
    int               closed;     /* ... all of it */
    int               apart;      /* they are known to differ here */
    int               failed;
    const uint8_t    *p;          /* input of wslay */
    const uint8_t    *last;
} side_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
must(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
put(side_t *side, const void *p, size_t len)
{
    while (side->len + len > side->size) {
        side->size = side->size ? side->size * 2 : 256;
        side->log = realloc(side->log, side->size);
        must(side->log != NULL);
    }

    if (len) {
        memcpy(side->log + side->len, p, len);
        side->len += len;
    }
}


static void
message(side_t *side, uint8_t opcode, const uint8_t *p, size_t len)
{
    put(side, &opcode, 1);
    put(side, &len, sizeof(len));
    put(side, p, len);
}


/* ours: frames put together as the server does it */

static void
ours(side_t *side, const uint8_t *data, size_t size)
{
    int                rc;
    size_t             n, len, start;
    uint8_t           *buf, opcode;
    unsigned           code;
    uint32_t           utf8;
    const char        *reason;
    const uint8_t     *p, *last;
    rtbus_ws_parser_t  ws;

    memset(&ws, 0, sizeof(ws));

    buf = malloc(size + 1);
    must(buf != NULL);

    p = data;
    last = data + size;

    opcode = 0;
    len = 0;                /* of the data message so far, at buf */
    utf8 = RTBUS_UTF8_ACCEPT;

    while (p < last && !side->closed) {

        rc = rtbus_ws_parse_header(&ws, &p, last);

        if (rc == RTBUS_ERROR) {
            side->failed = 1;
            break;
        }

        if (rc == RTBUS_AGAIN) {
            break;
        }

        if (ws.opcode == RTBUS_WS_TEXT || ws.opcode == RTBUS_WS_BINARY) {
            opcode = ws.opcode;
            len = 0;
            utf8 = RTBUS_UTF8_ACCEPT;
        }

        if (ws.opcode < RTBUS_WS_CLOSE && ws.rest + len > FUZZ_MESSAGE) {
            side->failed = 1;
            break;
        }

        /* a control frame comes behind what there is of the message */

        start = len;

        n = (size_t) (last - p);

        if (n > ws.rest) {
            n = (size_t) ws.rest;
        }

        rtbus_ws_unmask(&ws, buf + start, p, n);
        ws.rest -= n;
        p += n;

        if (ws.opcode < RTBUS_WS_CLOSE && opcode == RTBUS_WS_TEXT) {
            utf8 = rtbus_utf8_check(utf8, buf + start, n);

            if (utf8 == RTBUS_UTF8_REJECT
                || (ws.fin && ws.rest == 0 && utf8 != RTBUS_UTF8_ACCEPT))
            {
                side->failed = 1;
                break;
            }
        }

        if (ws.rest) {
            side->closing = (ws.opcode == RTBUS_WS_CLOSE);
            break;
        }

        switch (ws.opcode) {

        case RTBUS_WS_CLOSE:

            if (rtbus_ws_parse_close(buf + start, n, &code, &reason)
                != RTBUS_OK)
            {
                side->failed = 1;

            } else {
                message(side, ws.opcode, buf + start, n);
            }

            /*
             * Here the two are not of one mind: wslay lets half a code pass,
             * which section 5.5.1 does not, and knows no code after 1011.
             */

            side->apart = (n == 1 || (code >= 1012 && code <= 1014));

            side->closed = 1;
            break;

        case RTBUS_WS_PING:
        case RTBUS_WS_PONG:
            message(side, ws.opcode, buf + start, n);
            break;

        default:
            len += n;

            if (ws.fin) {
                message(side, opcode, buf, len);
                len = 0;
            }
        }
    }

    free(buf);
}


static ssize_t
wslay_read(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags,
    void *data)
{
    side_t  *side = data;

    if (side->p == side->last) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }

    if (len > (size_t) (side->last - side->p)) {
        len = (size_t) (side->last - side->p);
    }

    memcpy(buf, side->p, len);
    side->p += len;

    return (ssize_t) len;
}


static void
wslay_message(wslay_event_context_ptr ctx,
    const struct wslay_event_on_msg_recv_arg *arg, void *data)
{
    side_t  *side = data;

    message(side, arg->opcode, arg->msg, arg->msg_length);

    if (arg->opcode == WSLAY_CONNECTION_CLOSE) {
        side->closed = 1;
    }
}


static void
theirs(side_t *side, const uint8_t *data, size_t size)
{
    wslay_event_context_ptr        ctx;
    struct wslay_event_callbacks   callbacks;

    memset(&callbacks, 0, sizeof(callbacks));

    callbacks.recv_callback = wslay_read;
    callbacks.on_msg_recv_callback = wslay_message;

    must(wslay_event_context_server_init(&ctx, &callbacks, side) == 0);

    wslay_event_config_set_max_recv_msg_length(ctx, FUZZ_MESSAGE);

    side->p = data;
    side->last = data + size;

    if (wslay_event_recv(ctx) != 0) {
        side->failed = 1;
    }

    /* an error is told to the client by a close frame */

    if (!side->closed && wslay_event_get_close_sent(ctx) == 0
        && wslay_event_get_queued_msg_count(ctx)
        && !wslay_event_get_read_enabled(ctx))
    {
        side->failed = 1;
    }

    wslay_event_context_free(ctx);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    side_t    a, b;
    uint8_t  *late, header[16];

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));

    ours(&a, data, size);
    theirs(&b, data, size);

    if (a.apart) {
        free(a.log);
        free(b.log);
        return 0;
    }

    /* wslay judges a close frame before it has all of it */

    must(a.len == b.len || a.closing);
    must(a.len <= b.len);
    must(a.len == 0 || memcmp(a.log, b.log, a.len) == 0);
    must(a.failed || !b.failed || a.closing);

    if (a.failed && !b.failed) {

        /* wslay looks at a header when it has all of it */

        late = calloc(1, size + sizeof(header));
        must(late != NULL);
        memcpy(late, data, size);

        free(b.log);
        memset(&b, 0, sizeof(b));

        theirs(&b, late, size + sizeof(header));
        must(b.failed && b.len == a.len);

        free(late);
    }

    free(a.log);
    free(b.log);

    return 0;
}
