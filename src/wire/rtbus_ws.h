
/*
 * WebSocket frames, server side (RFC 6455 section 5).
 *
 * Reading: rtbus_ws_parse_header() takes the frame header byte by byte and
 * enforces what the RFC demands of a client's frame and of the sequence of
 * frames: mask bit set, no reserved bits, known opcode, shortest length form,
 * control frames whole and of at most 125 bytes, continuation only inside a
 * message and nothing else inside one.  The payload is the caller's: it passes
 * each piece to rtbus_ws_unmask(), in order, and takes parser->rest down.
 *
 * Writing: a server's frames carry no mask.
 */


#ifndef _RTBUS_WS_H_INCLUDED_
#define _RTBUS_WS_H_INCLUDED_


#include "rtbus_wire.h"


/* opcodes, RFC 6455 section 5.2 */

#define RTBUS_WS_CONTINUATION  0x0
#define RTBUS_WS_TEXT          0x1
#define RTBUS_WS_BINARY        0x2
#define RTBUS_WS_CLOSE         0x8
#define RTBUS_WS_PING          0x9
#define RTBUS_WS_PONG          0xa

/* close codes, RFC 6455 section 7.4.1 and the IANA registry */

#define RTBUS_WS_NORMAL            1000
#define RTBUS_WS_GOING_AWAY        1001
#define RTBUS_WS_PROTOCOL_ERROR    1002
#define RTBUS_WS_UNSUPPORTED       1003
#define RTBUS_WS_NO_STATUS         1005    /* never on the wire */
#define RTBUS_WS_INVALID_PAYLOAD   1007
#define RTBUS_WS_POLICY            1008
#define RTBUS_WS_TOO_BIG           1009
#define RTBUS_WS_INTERNAL          1011
#define RTBUS_WS_RESTART           1012
#define RTBUS_WS_TRY_LATER         1013

#define RTBUS_WS_MAX_HEADER        10      /* a server's frame header, bytes */
#define RTBUS_WS_MAX_CONTROL       125     /* payload of a control frame */

/* bytes of the header of a server's frame with a payload of len bytes */

#define rtbus_ws_header_len(len)                                              \
    ((len) < 126 ? 2 : (len) < 65536 ? 4 : 10)


typedef struct {
    uint64_t     rest;        /* payload bytes of this frame still to come */
    const char  *reason;      /* static text, after RTBUS_ERROR */
    uint8_t      mask[4];
    uint8_t      opcode;
    uint8_t      mask_pos;
    uint8_t      state;
    uint8_t      need;        /* bytes of length or mask still to come */
    unsigned     fin:1;
    unsigned     fragmented:1;  /* inside a fragmented data message */
} rtbus_ws_parser_t;


/* zeroed memory is a fresh parser; this makes one out of a used one */

void rtbus_ws_parser_init(rtbus_ws_parser_t *ws);

/*
 * Consumes header bytes from *pos up to last.
 *
 * RTBUS_OK:     the header is whole: opcode, fin and rest (the payload's
 *               length) are set, *pos is at the first payload byte.  When rest
 *               has been taken down to 0 the next call reads the next header.
 * RTBUS_AGAIN:  all bytes are consumed, the header goes on
 * RTBUS_ERROR:  protocol error, close code 1002, reason is set; the parser
 *               must not be used any more
 */

int rtbus_ws_parse_header(rtbus_ws_parser_t *ws, const uint8_t **pos,
    const uint8_t *last);

/* unmasks n bytes of payload, n <= rest, from src to dst (may be the same) */

void rtbus_ws_unmask(rtbus_ws_parser_t *ws, uint8_t *dst, const uint8_t *src,
    size_t n);

/*
 * Checks the payload of a close frame (section 5.5.1: nothing, or a code that
 * may be sent and a reason in UTF-8).  Sets *code, RTBUS_WS_NO_STATUS for an
 * empty payload.  Answers RTBUS_OK, or the close code of the refusal: 1002 or
 * 1007, *reason is set.
 */

int rtbus_ws_parse_close(const uint8_t *p, size_t len, unsigned *code,
    const char **reason);

/* writes a final frame's header, rtbus_ws_header_len(len) bytes; its end */

uint8_t *rtbus_ws_write_header(uint8_t *dst, unsigned opcode, uint64_t len);

/* what the above has written is read back: the header's length, *len is set */

size_t rtbus_ws_read_header(const uint8_t *p, uint64_t *len);

/*
 * Sec-WebSocket-Accept for a Sec-WebSocket-Key (section 4.2.2) needs SHA-1 and
 * is done by the layer that has it; here is only what it appends to the key.
 */

#define RTBUS_WS_GUID  "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


#endif /* _RTBUS_WS_H_INCLUDED_ */
