
/*
 * WebSocket frames, server side (RFC 6455 section 5).
 */


#include <string.h>

#include "rtbus_utf8.h"
#include "rtbus_ws.h"


#define RTBUS_WS_FIN       0x80
#define RTBUS_WS_RSV       0x70
#define RTBUS_WS_OPCODE    0x0f
#define RTBUS_WS_CONTROL   0x08    /* this bit of the opcode */

#define RTBUS_WS_MASKED    0x80
#define RTBUS_WS_LENGTH    0x7f
#define RTBUS_WS_LENGTH16  126     /* the length is in the next 2 bytes */
#define RTBUS_WS_LENGTH64  127     /* in the next 8 */


static const char *rtbus_ws_check_first(rtbus_ws_parser_t *ws, uint8_t c);
static const char *rtbus_ws_check_second(rtbus_ws_parser_t *ws, uint8_t c);
static int rtbus_ws_valid_code(unsigned code);


void
rtbus_ws_parser_init(rtbus_ws_parser_t *ws)
{
    memset(ws, 0, sizeof(rtbus_ws_parser_t));
}


int
rtbus_ws_parse_header(rtbus_ws_parser_t *ws, const uint8_t **pos,
    const uint8_t *last)
{
    uint8_t         c;
    const char     *reason;
    const uint8_t  *p;
    enum {
        sw_first = 0,
        sw_second,
        sw_length16,
        sw_length64,
        sw_mask
    } state;

    state = ws->state;
    reason = NULL;

    for (p = *pos; p < last; /* void */) {
        c = *p++;

        switch (state) {

        case sw_first:
            reason = rtbus_ws_check_first(ws, c);
            if (reason) {
                goto failed;
            }

            ws->opcode = c & RTBUS_WS_OPCODE;
            ws->fin = (c & RTBUS_WS_FIN) != 0;

            if (!(ws->opcode & RTBUS_WS_CONTROL)) {
                ws->fragmented = !ws->fin;
            }

            state = sw_second;
            break;

        case sw_second:
            reason = rtbus_ws_check_second(ws, c);
            if (reason) {
                goto failed;
            }

            switch (c & RTBUS_WS_LENGTH) {

            case RTBUS_WS_LENGTH16:
                ws->rest = 0;
                ws->need = 2;
                state = sw_length16;
                break;

            case RTBUS_WS_LENGTH64:
                ws->rest = 0;
                ws->need = 8;
                state = sw_length64;
                break;

            default:
                ws->rest = c & RTBUS_WS_LENGTH;
                ws->need = 4;
                state = sw_mask;
            }

            break;

        case sw_length16:
        case sw_length64:
            ws->rest = ws->rest << 8 | c;

            if (--ws->need) {
                break;
            }

            if (ws->rest < (state == sw_length16 ? 126 : 65536)) {
                reason = "length not in its shortest form";
                goto failed;
            }

            if (ws->rest >> 63) {
                reason = "length with the top bit set";
                goto failed;
            }

            ws->need = 4;
            state = sw_mask;
            break;

        case sw_mask:
            ws->mask[4 - ws->need] = c;

            if (--ws->need) {
                break;
            }

            ws->mask_pos = 0;
            ws->state = sw_first;
            *pos = p;

            return RTBUS_OK;
        }
    }

    ws->state = state;
    *pos = p;

    return RTBUS_AGAIN;

failed:

    ws->reason = reason;
    *pos = p;

    return RTBUS_ERROR;
}


static const char *
rtbus_ws_check_first(rtbus_ws_parser_t *ws, uint8_t c)
{
    /* no extension is ever negotiated (section 5.2) */

    if (c & RTBUS_WS_RSV) {
        return "frame with reserved bits set";
    }

    switch (c & RTBUS_WS_OPCODE) {

    case RTBUS_WS_CONTINUATION:
        if (!ws->fragmented) {
            return "continuation frame outside of a message";
        }

        return NULL;

    case RTBUS_WS_TEXT:
    case RTBUS_WS_BINARY:
        /* messages must not be interleaved (section 5.4) */

        if (ws->fragmented) {
            return "new message inside of a fragmented one";
        }

        return NULL;

    case RTBUS_WS_CLOSE:
    case RTBUS_WS_PING:
    case RTBUS_WS_PONG:
        if (!(c & RTBUS_WS_FIN)) {
            return "fragmented control frame";
        }

        return NULL;

    default:
        return "frame with unknown opcode";
    }
}


static const char *
rtbus_ws_check_second(rtbus_ws_parser_t *ws, uint8_t c)
{
    /* a server must not take an unmasked frame (section 5.1) */

    if (!(c & RTBUS_WS_MASKED)) {
        return "frame without mask";
    }

    if ((ws->opcode & RTBUS_WS_CONTROL)
        && (c & RTBUS_WS_LENGTH) > RTBUS_WS_MAX_CONTROL)
    {
        return "control frame longer than 125 bytes";
    }

    return NULL;
}


void
rtbus_ws_unmask(rtbus_ws_parser_t *ws, uint8_t *dst, const uint8_t *src,
    size_t n)
{
    size_t    i;
    uint8_t   mask[8];
    uint64_t  mask64, word;

    /* the mask as the first byte of this piece sees it, twice */

    for (i = 0; i < 8; i++) {
        mask[i] = ws->mask[(ws->mask_pos + i) & 3];
    }

    memcpy(&mask64, mask, 8);

    for (i = 0; n - i >= 8; i += 8) {
        memcpy(&word, src + i, 8);
        word ^= mask64;
        memcpy(dst + i, &word, 8);
    }

    for ( /* void */ ; i < n; i++) {
        dst[i] = src[i] ^ mask[i & 7];
    }

    ws->mask_pos = (ws->mask_pos + n) & 3;
}


int
rtbus_ws_parse_close(const uint8_t *p, size_t len, unsigned *code,
    const char **reason)
{
    *code = RTBUS_WS_NO_STATUS;

    if (len == 0) {
        return RTBUS_OK;
    }

    if (len == 1) {
        *reason = "close frame with half a code";
        return RTBUS_WS_PROTOCOL_ERROR;
    }

    *code = (unsigned) p[0] << 8 | p[1];

    if (!rtbus_ws_valid_code(*code)) {
        *reason = "close frame with a code that must not be sent";
        return RTBUS_WS_PROTOCOL_ERROR;
    }

    if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, p + 2, len - 2)
        != RTBUS_UTF8_ACCEPT)
    {
        *reason = "close frame with a reason not in UTF-8";
        return RTBUS_WS_INVALID_PAYLOAD;
    }

    return RTBUS_OK;
}


static int
rtbus_ws_valid_code(unsigned code)
{
    /*
     * Section 7.4.2: below 3000 only what the protocol and the registry
     * define, 3000..3999 are for libraries, 4000..4999 for applications.
     * 1004 has no meaning; 1005, 1006 and 1015 exist for the local API only.
     */

    return (code >= 1000 && code <= 1003)
           || (code >= 1007 && code <= 1014)
           || (code >= 3000 && code <= 4999);
}


uint8_t *
rtbus_ws_write_header(uint8_t *dst, unsigned opcode, uint64_t len)
{
    int  shift;

    *dst++ = (uint8_t) (RTBUS_WS_FIN | opcode);

    if (len < 126) {
        *dst++ = (uint8_t) len;
        return dst;
    }

    if (len < 65536) {
        *dst++ = RTBUS_WS_LENGTH16;
        shift = 8;

    } else {
        *dst++ = RTBUS_WS_LENGTH64;
        shift = 56;
    }

    for ( /* void */ ; shift >= 0; shift -= 8) {
        *dst++ = (uint8_t) (len >> shift);
    }

    return dst;
}


size_t
rtbus_ws_read_header(const uint8_t *p, uint64_t *len)
{
    size_t  i, n;

    switch (p[1]) {

    case RTBUS_WS_LENGTH16:
        n = 2;
        break;

    case RTBUS_WS_LENGTH64:
        n = 8;
        break;

    default:
        *len = p[1];
        return 2;
    }

    *len = 0;

    for (i = 0; i < n; i++) {
        *len = *len << 8 | p[2 + i];
    }

    return 2 + n;
}
