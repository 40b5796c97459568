
/*
 * rtbus_ws: streams of a client's frames are read whole, byte by byte and at
 * read sizes 1..31; what was understood is written down as a line of text per
 * frame, and the text must be the same each time.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_ws.h"
#include "unit.h"


#define FIN      0x80
#define MASKED   0x80
#define MASK     "\x37\xfa\x21\x3d"
#define MASK0    "\0\0\0\0"

#define bytes(literal)  literal, sizeof(literal) - 1


typedef struct {
    size_t  len;
    char    text[8192];
} notes_t;


typedef struct {
    uint8_t  *data;
    size_t    len;
} stream_t;


static void __attribute__((format(printf, 2, 3)))
note(notes_t *notes, const char *fmt, ...)
{
    int      n;
    size_t   room;
    va_list  args;

    room = sizeof(notes->text) - notes->len;

    va_start(args, fmt);
    n = vsnprintf(notes->text + notes->len, room, fmt, args);
    va_end(args);

    if (n < 0 || (size_t) n >= room) {
        abort();
    }

    notes->len += (size_t) n;
}


/*
 * Reads the stream in pieces of the given size.  Each piece is a block of its
 * own, so that ASan sees a look past its end.  A long payload is noted as its
 * sum.
 */

static void
read_stream(notes_t *notes, const uint8_t *data, size_t len, size_t size)
{
    int                 rc, open;
    char                payload[256];
    size_t              n, i, got;
    uint8_t            *block;
    uint64_t            sum;
    const uint8_t      *p, *last;
    rtbus_ws_parser_t   ws;

    notes->len = 0;
    notes->text[0] = '\0';

    rtbus_ws_parser_init(&ws);

    rc = RTBUS_AGAIN;
    open = 0;
    got = 0;
    sum = 0;

    for ( /* void */ ; len; data += n, len -= n) {
        n = len < size ? len : size;

        block = malloc(n);
        if (block == NULL) {
            abort();
        }

        memcpy(block, data, n);

        p = block;
        last = block + n;

        while (p < last) {

            if (!open) {
                rc = rtbus_ws_parse_header(&ws, &p, last);

                if (rc == RTBUS_ERROR) {
                    note(notes, "error: %s\n", ws.reason);
                    free(block);
                    return;
                }

                if (rc == RTBUS_AGAIN) {

                    if (p != last) {
                        note(notes, "bytes left behind\n");
                    }

                    break;
                }

                note(notes, "%x%s%s %llu", ws.opcode, ws.fin ? " fin" : "",
                     ws.fragmented ? " fragmented" : "",
                     (unsigned long long) ws.rest);

                open = 1;
                got = 0;
                sum = 0;
            }

            i = (size_t) (last - p);

            if (i > ws.rest) {
                i = (size_t) ws.rest;
            }

            rtbus_ws_unmask(&ws, (uint8_t *) p, p, i);
            ws.rest -= i;

            for ( /* void */ ; i; i--, p++) {
                sum = sum * 31 + *p;

                if (got < sizeof(payload)) {
                    payload[got] = (char) *p;
                }

                got++;
            }

            if (ws.rest == 0) {

                if (got <= 125) {
                    note(notes, " \"%.*s\"\n", (int) got, payload);

                } else {
                    note(notes, " sum %016llx\n", (unsigned long long) sum);
                }

                open = 0;
            }
        }

        free(block);
    }

    if (open) {
        note(notes, " ...%llu to come\n", (unsigned long long) ws.rest);

    } else if (rc == RTBUS_AGAIN) {
        note(notes, "again\n");
    }
}


static void
is_stream(const uint8_t *data, size_t len, const char *expected,
    const char *name)
{
    size_t          size;
    static notes_t  notes;

    for (size = 0; size <= 31; size++) {
        read_stream(&notes, data, len, size ? size : len);

        if (strcmp(notes.text, expected) != 0) {
            ok(0, "%s, reads of %zu", name, size ? size : len);
            unit_dump("       got", notes.text, notes.len);
            unit_dump("  expected", expected, strlen(expected));
            return;
        }
    }

    ok(1, "%s", name);
}


static void
stream_add(stream_t *s, const void *p, size_t len)
{
    if (len == 0) {
        return;
    }

    s->data = realloc(s->data, s->len + len);
    if (s->data == NULL) {
        abort();
    }

    memcpy(s->data + s->len, p, len);
    s->len += len;
}


/* a client's frame; form is the number of bytes of extended length */

static void
stream_frame(stream_t *s, unsigned first, size_t form, uint64_t len,
    const char *mask, const void *payload)
{
    size_t          i, n;
    uint8_t         head[14], c;
    const uint8_t  *p;

    head[0] = (uint8_t) first;
    head[1] = (uint8_t) (MASKED | (form == 0 ? len : form == 2 ? 126 : 127));
    n = 2;

    for (i = form; i; i--) {
        head[n++] = (uint8_t) (len >> (i - 1) * 8);
    }

    memcpy(head + n, mask, 4);
    stream_add(s, head, n + 4);

    if (payload == NULL) {
        return;
    }

    for (i = 0, p = payload; i < len; i++) {
        c = (uint8_t) (p[i] ^ (uint8_t) mask[i % 4]);
        stream_add(s, &c, 1);
    }
}


static void
stream_free(stream_t *s)
{
    free(s->data);
    s->data = NULL;
    s->len = 0;
}


static void
test_valid(void)
{
    size_t  i;

    static const struct {
        const char  *name;
        const char  *data;
        size_t       len;
        const char  *expected;
    } cases[] = {

        /* the second one of section 5.7 */

        { "masked Hello of the RFC",
          bytes("\x81\x85" MASK "\x7f\x9f\x4d\x51\x58"),
          "1 fin 5 \"Hello\"\n" },

        { "empty text", bytes("\x81\x80" MASK), "1 fin 0 \"\"\n" },
        { "empty binary", bytes("\x82\x80" MASK), "2 fin 0 \"\"\n" },
        { "empty ping", bytes("\x89\x80" MASK), "9 fin 0 \"\"\n" },
        { "empty pong", bytes("\x8a\x80" MASK), "a fin 0 \"\"\n" },
        { "empty close", bytes("\x88\x80" MASK), "8 fin 0 \"\"\n" },

        { "two messages",
          bytes("\x81\x81" MASK0 "a\x82\x82" MASK0 "bc"),
          "1 fin 1 \"a\"\n2 fin 2 \"bc\"\n" },

        { "the second mask is not the first one",
          bytes("\x81\x83" MASK "\x56\x98\x42\x81\x83\x01\x02\x03\x04"
                "\x65\x67\x65"),
          "1 fin 3 \"abc\"\n1 fin 3 \"def\"\n" },

        { "two fragments",
          bytes("\x01\x81" MASK0 "a\x80\x81" MASK0 "b"),
          "1 fragmented 1 \"a\"\n0 fin 1 \"b\"\n" },

        { "three binary fragments, then a text",
          bytes("\x02\x81" MASK0 "a\x00\x81" MASK0 "b\x80\x81" MASK0 "c"
                "\x81\x81" MASK0 "d"),
          "2 fragmented 1 \"a\"\n0 fragmented 1 \"b\"\n0 fin 1 \"c\"\n"
          "1 fin 1 \"d\"\n" },

        { "empty fragments",
          bytes("\x01\x80" MASK "\x00\x80" MASK "\x80\x80" MASK),
          "1 fragmented 0 \"\"\n0 fragmented 0 \"\"\n0 fin 0 \"\"\n" },

        { "control frames between fragments",
          bytes("\x01\x81" MASK0 "a\x89\x81" MASK0 "p\x8a\x80" MASK0
                "\x00\x81" MASK0 "b\x89\x80" MASK0 "\x80\x81" MASK0 "c"),
          "1 fragmented 1 \"a\"\n9 fin fragmented 1 \"p\"\n"
          "a fin fragmented 0 \"\"\n0 fragmented 1 \"b\"\n"
          "9 fin fragmented 0 \"\"\n0 fin 1 \"c\"\n" },

        { "close between fragments",
          bytes("\x01\x81" MASK0 "a\x88\x82" MASK0 "xy"),
          "1 fragmented 1 \"a\"\n8 fin fragmented 2 \"xy\"\n" },

        { "cut after the first byte", bytes("\x81"), "again\n" },
        { "cut in the length", bytes("\x81\xfe\x01"), "again\n" },
        { "cut in the mask", bytes("\x81\x85" "\x37\xfa"), "again\n" },
        { "cut in the payload", bytes("\x81\x85" MASK0 "He"),
          "1 fin 5 ...3 to come\n" },

        { "largest length",
          bytes("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" MASK0 "ab"),
          "2 fin 9223372036854775807 ...9223372036854775805 to come\n" },

        { "length above 32 bits",
          bytes("\x82\xff\x00\x00\x00\x01\x02\x03\x04\x05" MASK0),
          "2 fin 4328719365 ...4328719365 to come\n" },

        { "shortest of 64 bits",
          bytes("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00" MASK0),
          "2 fin 65536 ...65536 to come\n" },

        { "longest of 16 bits",
          bytes("\x82\xfe\xff\xff" MASK0),
          "2 fin 65535 ...65535 to come\n" },

        { "shortest of 16 bits",
          bytes("\x82\xfe\x00\x7e" MASK0),
          "2 fin 126 ...126 to come\n" },

        { "longest of 7 bits",
          bytes("\x82\xfd" MASK0),
          "2 fin 125 ...125 to come\n" },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_stream((const uint8_t *) cases[i].data, cases[i].len,
                  cases[i].expected, cases[i].name);
    }
}


#define E_RSV       "error: frame with reserved bits set\n"
#define E_OPCODE    "error: frame with unknown opcode\n"
#define E_CONT      "error: continuation frame outside of a message\n"
#define E_NEW       "error: new message inside of a fragmented one\n"
#define E_CONTROL   "error: fragmented control frame\n"
#define E_MASK      "error: frame without mask\n"
#define E_LONG      "error: control frame longer than 125 bytes\n"
#define E_SHORTEST  "error: length not in its shortest form\n"
#define E_TOP       "error: length with the top bit set\n"


static void
test_violations(void)
{
    size_t  i;

    /* most of them are told by the last byte that is there, not later */

    static const struct {
        const char  *name;
        const char  *data;
        size_t       len;
        const char  *expected;
    } cases[] = {
        { "RSV1", bytes("\xc1"), E_RSV },
        { "RSV2", bytes("\xa1"), E_RSV },
        { "RSV3", bytes("\x91"), E_RSV },
        { "RSV on a control frame", bytes("\xc9"), E_RSV },
        { "RSV on a continuation",
          bytes("\x01\x80" MASK "\xc0"), "1 fragmented 0 \"\"\n" E_RSV },

        { "continuation first", bytes("\x80"), E_CONT },
        { "continuation first, not final", bytes("\x00"), E_CONT },
        { "continuation after a whole message",
          bytes("\x81\x81" MASK0 "a\x80"), "1 fin 1 \"a\"\n" E_CONT },
        { "continuation after the last one",
          bytes("\x01\x80" MASK "\x80\x80" MASK "\x80"),
          "1 fragmented 0 \"\"\n0 fin 0 \"\"\n" E_CONT },
        { "continuation after a control frame",
          bytes("\x89\x80" MASK "\x80"), "9 fin 0 \"\"\n" E_CONT },

        { "text inside of a message",
          bytes("\x01\x80" MASK "\x81"), "1 fragmented 0 \"\"\n" E_NEW },
        { "binary inside of a message",
          bytes("\x01\x80" MASK "\x02"), "1 fragmented 0 \"\"\n" E_NEW },
        { "text after a ping inside of a message",
          bytes("\x02\x80" MASK "\x89\x80" MASK "\x81"),
          "2 fragmented 0 \"\"\n9 fin fragmented 0 \"\"\n" E_NEW },

        { "fragmented close", bytes("\x08"), E_CONTROL },
        { "fragmented ping", bytes("\x09"), E_CONTROL },
        { "fragmented pong", bytes("\x0a"), E_CONTROL },

        { "no mask", bytes("\x81\x05"), E_MASK },
        { "no mask, empty", bytes("\x81\x00"), E_MASK },
        { "no mask, 16 bits", bytes("\x81\x7e"), E_MASK },
        { "no mask, 64 bits", bytes("\x81\x7f"), E_MASK },
        { "no mask on a control frame", bytes("\x89\x00"), E_MASK },
        { "no mask on a long control frame", bytes("\x89\x7e"), E_MASK },

        { "long close, 16 bits", bytes("\x88\xfe"), E_LONG },
        { "long ping, 16 bits", bytes("\x89\xfe"), E_LONG },
        { "long pong, 64 bits", bytes("\x8a\xff"), E_LONG },

        { "0 in 16 bits", bytes("\x81\xfe\x00\x00"), E_SHORTEST },
        { "125 in 16 bits", bytes("\x81\xfe\x00\x7d"), E_SHORTEST },
        { "0 in 64 bits",
          bytes("\x81\xff\0\0\0\0\0\0\0\0"), E_SHORTEST },
        { "125 in 64 bits",
          bytes("\x81\xff\0\0\0\0\0\0\0\x7d"), E_SHORTEST },
        { "126 in 64 bits",
          bytes("\x81\xff\0\0\0\0\0\0\0\x7e"), E_SHORTEST },
        { "65535 in 64 bits",
          bytes("\x81\xff\0\0\0\0\0\0\xff\xff"), E_SHORTEST },

        { "top bit alone",
          bytes("\x81\xff\x80\0\0\0\0\0\0\0"), E_TOP },
        { "top bit with others",
          bytes("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"), E_TOP },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_stream((const uint8_t *) cases[i].data, cases[i].len,
                  cases[i].expected, cases[i].name);
    }
}


/* all values of the first two bytes, outside of a message and inside of one */

static void
test_first_bytes(void)
{
    int                 rc, valid, inside;
    long                bad;
    uint8_t             t[14];
    unsigned            a, b, opcode, len;
    const uint8_t      *p;
    rtbus_ws_parser_t   ws;

    bad = 0;

    for (inside = 0; inside <= 1; inside++) {
        for (a = 0; a < 256; a++) {
            for (b = 0; b < 256; b++) {
                opcode = a & 0x0f;
                len = b & 0x7f;

                valid = (a & 0x70) == 0 && b >= 0x80;

                if (opcode == 0) {
                    valid = valid && inside;

                } else if (opcode <= 2) {
                    valid = valid && !inside;

                } else if (opcode >= 8 && opcode <= 10) {
                    valid = valid && a >= 0x80 && len <= 125;

                } else {
                    valid = 0;
                }

                memset(t, 0, sizeof(t));
                t[0] = (uint8_t) a;
                t[1] = (uint8_t) b;

                /* make 16 bits say 256, 64 bits 2^56 */
                t[2] = 1;

                rtbus_ws_parser_init(&ws);

                if (inside) {
                    p = (const uint8_t *) "\x01\x80\0\0\0\0";
                    rc = rtbus_ws_parse_header(&ws, &p, p + 6);
                    bad += rc != RTBUS_OK;
                }

                p = t;
                rc = rtbus_ws_parse_header(&ws, &p, t + sizeof(t));

                bad += (rc == RTBUS_OK) != valid;
                bad += (rc == RTBUS_ERROR) == valid;

                if (rc == RTBUS_ERROR) {
                    bad += ws.reason == NULL;
                    continue;
                }

                bad += ws.opcode != opcode;
                bad += ws.fin != a >> 7;
                bad += p - t != (len < 126 ? 6 : len == 126 ? 8 : 14);
                bad += ws.rest != (len < 126 ? len
                                             : len == 126 ? 256 : 1ULL << 56);
            }
        }
    }

    is_int(bad, 0, "all values of the first two bytes");
}


static void
test_lengths(void)
{
    char      name[64], expected[256];
    size_t    i, k, form;
    uint8_t  *payload;
    uint64_t  sum;
    stream_t  s;

    static const size_t  lengths[] = {
        0, 1, 7, 8, 9, 124, 125, 126, 127, 128, 255, 256, 1000, 65534, 65535,
        65536, 65537
    };

    s.data = NULL;
    s.len = 0;

    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        payload = malloc(lengths[i] + 1);
        if (payload == NULL) {
            abort();
        }

        sum = 0;

        for (k = 0; k < lengths[i]; k++) {
            payload[k] = (uint8_t) ('a' + (k * 7 + k / 26) % 26);
            sum = sum * 31 + payload[k];
        }

        form = lengths[i] < 126 ? 0 : lengths[i] < 65536 ? 2 : 8;

        stream_frame(&s, FIN | RTBUS_WS_TEXT, form, lengths[i], MASK, payload);
        stream_frame(&s, FIN | RTBUS_WS_PING, 0, 2, "\1\2\3\4", "hi");

        snprintf(name, sizeof(name), "payload of %zu", lengths[i]);

        if (lengths[i] <= 125) {
            snprintf(expected, sizeof(expected),
                     "1 fin %zu \"%.*s\"\n9 fin 2 \"hi\"\n", lengths[i],
                     (int) lengths[i], (char *) payload);

        } else {
            snprintf(expected, sizeof(expected),
                     "1 fin %zu sum %016llx\n9 fin 2 \"hi\"\n", lengths[i],
                     (unsigned long long) sum);
        }

        is_stream(s.data, s.len, expected, name);

        stream_free(&s);
        free(payload);
    }
}


/* what each call says, and where it leaves the position */

static void
test_contract(void)
{
    const uint8_t      *t, *p;
    rtbus_ws_parser_t   ws, zero;

    memset(&zero, 0, sizeof(zero));
    memset(&ws, 0xff, sizeof(ws));
    rtbus_ws_parser_init(&ws);

    ok(memcmp(&ws, &zero, sizeof(ws)) == 0, "fresh parser is zeroed memory");

    t = (const uint8_t *) "\x81\x82\x01\x02\x03\x04" "ab\x81";

    p = t;
    is_int(rtbus_ws_parse_header(&ws, &p, t), RTBUS_AGAIN, "no bytes");
    ok(p == t, "no bytes consumed");

    is_int(rtbus_ws_parse_header(&ws, &p, t + 4), RTBUS_AGAIN, "half");
    ok(p == t + 4, "half is consumed");

    is_int(rtbus_ws_parse_header(&ws, &p, t + 4), RTBUS_AGAIN,
           "no more bytes in the middle");
    ok(p == t + 4, "nothing is consumed");

    is_int(rtbus_ws_parse_header(&ws, &p, t + 9), RTBUS_OK, "whole header");
    ok(p == t + 6, "payload is not touched");
    is_int(ws.opcode, RTBUS_WS_TEXT, "opcode");
    is_int(ws.fin, 1, "fin");
    is_int(ws.fragmented, 0, "not fragmented");
    is_int(ws.rest, 2, "rest");
    is_mem(ws.mask, 4, "\x01\x02\x03\x04", "mask");
    is_int(ws.mask_pos, 0, "mask starts at its first byte");

    ws.rest = 0;
    p += 2;
    is_int(rtbus_ws_parse_header(&ws, &p, t + 9), RTBUS_AGAIN, "next header");
    ok(p == t + 9, "all consumed");

    p = (const uint8_t *) "\x05";
    is_int(rtbus_ws_parse_header(&ws, &p, p + 1), RTBUS_ERROR,
           "error in the second byte");
    ok(ws.reason && strcmp(ws.reason, "frame without mask") == 0, "reason");

    rtbus_ws_parser_init(&ws);
    ok(memcmp(&ws, &zero, sizeof(ws)) == 0, "a used parser is made fresh");

    p = NULL;
    is_int(rtbus_ws_parse_header(&ws, &p, NULL), RTBUS_AGAIN, "no buffer");
    rtbus_ws_unmask(&ws, NULL, NULL, 0);
    is_int(ws.mask_pos, 0, "unmasking nothing moves nothing");
}


/*
 * Every combination of source and target alignment, phase and length, against
 * the formula of section 5.3; in place as well.
 */

static void
test_unmask(void)
{
    long               bad;
    size_t             i, n, from, to, phase;
    uint8_t            src[64], dst[64], want[64];
    rtbus_ws_parser_t  ws;

    bad = 0;

    rtbus_ws_parser_init(&ws);
    memcpy(ws.mask, "\x9a\x4b\x0f\xe1", 4);

    for (from = 0; from < 8; from++) {
        for (to = 0; to < 8; to++) {
            for (phase = 0; phase < 4; phase++) {
                for (n = 0; n <= 40; n++) {

                    for (i = 0; i < sizeof(src); i++) {
                        src[i] = (uint8_t) (i * 29 + 3);
                        dst[i] = 0x55;
                        want[i] = 0x55;
                    }

                    for (i = 0; i < n; i++) {
                        want[to + i] = (uint8_t) (src[from + i]
                                                  ^ ws.mask[(phase + i) % 4]);
                    }

                    ws.mask_pos = (uint8_t) phase;
                    rtbus_ws_unmask(&ws, dst + to, src + from, n);

                    bad += memcmp(dst, want, sizeof(dst)) != 0;
                    bad += ws.mask_pos != (phase + n) % 4;

                    /* in place, and back again */

                    ws.mask_pos = (uint8_t) phase;
                    rtbus_ws_unmask(&ws, src + from, src + from, n);
                    bad += memcmp(src + from, want + to, n) != 0;

                    ws.mask_pos = (uint8_t) phase;
                    rtbus_ws_unmask(&ws, src + from, src + from, n);

                    for (i = 0; i < sizeof(src); i++) {
                        bad += src[i] != (uint8_t) (i * 29 + 3);
                    }
                }
            }
        }
    }

    is_int(bad, 0, "unmask at all alignments, phases, lengths up to 40");

    bad = 0;

    for (from = 0; from <= 40; from++) {
        for (to = from; to <= 40; to++) {

            for (i = 0; i < 40; i++) {
                src[i] = (uint8_t) (i * 31 + 5);
                want[i] = src[i] ^ ws.mask[i % 4];
            }

            ws.mask_pos = 0;
            rtbus_ws_unmask(&ws, src, src, from);
            rtbus_ws_unmask(&ws, src + from, src + from, to - from);
            rtbus_ws_unmask(&ws, src + to, src + to, 40 - to);

            bad += memcmp(src, want, 40) != 0;
        }
    }

    is_int(bad, 0, "unmask in three pieces, cut everywhere");
}


static void
test_close(void)
{
    int          rc, valid;
    long         bad;
    size_t       len, i;
    uint8_t     *block, t[3];
    unsigned     code, got;
    const char  *reason;

    static const struct {
        const char  *name;
        const char  *data;
        size_t       len;
        int          rc;
        unsigned     code;
    } cases[] = {
        { "nothing", bytes(""), RTBUS_OK, 1005 },
        { "half a code", bytes("\x03"), 1002, 1005 },
        { "normal", bytes("\x03\xe8"), RTBUS_OK, 1000 },
        { "normal with reason", bytes("\x03\xe8" "bye"), RTBUS_OK, 1000 },
        { "euro sign", bytes("\x03\xe9\xe2\x82\xac"), RTBUS_OK, 1001 },
        { "bad UTF-8", bytes("\x03\xe8\xff"), 1007, 1000 },
        { "cut UTF-8", bytes("\x03\xe8" "a\xe2\x82"), 1007, 1000 },
        { "surrogate", bytes("\x0f\xa0\xed\xa0\x80"), 1007, 4000 },
        { "bad code goes before bad UTF-8",
          bytes("\x03\xed\xff"), 1002, 1005 },
        { "1005 on the wire", bytes("\x03\xed"), 1002, 1005 },
        { "code 0", bytes("\0\0"), 1002, 0 },
        { "code 65535", bytes("\xff\xff"), 1002, 65535 },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

        /* an empty payload may have no address */

        len = cases[i].len;
        block = NULL;

        if (len) {
            block = malloc(len);
            if (block == NULL) {
                abort();
            }

            memcpy(block, cases[i].data, len);
        }

        code = 77;
        reason = NULL;
        rc = rtbus_ws_parse_close(block, len, &code, &reason);

        is_int(rc, cases[i].rc, "close: %s", cases[i].name);
        is_int(code, cases[i].code, "close: %s: code", cases[i].name);
        ok((reason != NULL) == (rc != RTBUS_OK), "close: %s: reason",
           cases[i].name);

        free(block);
    }

    bad = 0;

    for (code = 0; code < 65536; code++) {

        switch (code) {

        case 1000: case 1001: case 1002: case 1003:
        case 1007: case 1008: case 1009: case 1010:
        case 1011: case 1012: case 1013: case 1014:
            valid = 1;
            break;

        default:
            valid = code / 1000 == 3 || code / 1000 == 4;
        }

        t[0] = (uint8_t) (code >> 8);
        t[1] = (uint8_t) code;
        t[2] = 'x';

        for (len = 2; len <= 3; len++) {
            reason = NULL;
            rc = rtbus_ws_parse_close(t, len, &got, &reason);

            bad += rc != (valid ? RTBUS_OK : RTBUS_WS_PROTOCOL_ERROR);
            bad += (reason == NULL) != valid;
            bad += got != code;
        }
    }

    is_int(bad, 0, "close: all 65536 codes");
}


#define is_header(opcode, len, literal)                                       \
    do {                                                                      \
        uint8_t   t_[16], *last_;                                             \
                                                                              \
        memset(t_, 0x55, sizeof(t_));                                         \
        last_ = rtbus_ws_write_header(t_ + 2, opcode, len);                   \
        is_mem(t_ + 2, (size_t) (last_ - t_ - 2), literal,                    \
               "header: " #opcode " of " #len);                               \
        ok(t_[1] == 0x55 && *last_ == 0x55, "header: not a byte more");       \
        is_int(rtbus_ws_header_len(len), last_ - t_ - 2,                      \
               "header: announced length");                                   \
    } while (0)


static void
test_write(void)
{
    long                bad;
    size_t              i, n;
    uint8_t             t[RTBUS_WS_MAX_HEADER + 4], *end;
    uint64_t            len, back;
    const uint8_t      *p;
    rtbus_ws_parser_t   ws;

    is_header(RTBUS_WS_TEXT, 0, "\x81\x00");
    is_header(RTBUS_WS_TEXT, 5, "\x81\x05");
    is_header(RTBUS_WS_BINARY, 125, "\x82\x7d");
    is_header(RTBUS_WS_BINARY, 126, "\x82\x7e\x00\x7e");
    is_header(RTBUS_WS_BINARY, 256, "\x82\x7e\x01\x00");
    is_header(RTBUS_WS_BINARY, 65535, "\x82\x7e\xff\xff");
    is_header(RTBUS_WS_BINARY, 65536,
              "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00");
    is_header(RTBUS_WS_TEXT, 0x0102030405060708ULL,
              "\x81\x7f\x01\x02\x03\x04\x05\x06\x07\x08");
    is_header(RTBUS_WS_CLOSE, 2, "\x88\x02");
    is_header(RTBUS_WS_PING, 0, "\x89\x00");
    is_header(RTBUS_WS_PONG, 125, "\x8a\x7d");

    /* with a mask added, the parser reads back what was written */

    bad = 0;

    for (i = 0; i < 63; i++) {
        for (n = 0; n < 3; n++) {
            len = (1ULL << i) - 1 + n;

            end = rtbus_ws_write_header(t, RTBUS_WS_BINARY, len);

            bad += end - t != rtbus_ws_header_len(len);
            bad += (long) rtbus_ws_read_header(t, &back) != end - t;
            bad += back != len;

            t[1] |= MASKED;
            memcpy(end, MASK, 4);

            rtbus_ws_parser_init(&ws);

            p = t;
            bad += rtbus_ws_parse_header(&ws, &p, end + 4) != RTBUS_OK;
            bad += p != end + 4 || ws.rest != len || !ws.fin;
        }
    }

    is_int(bad, 0, "header: read back around all powers of two");
}


int
main(void)
{
    test_contract();
    test_valid();
    test_violations();
    test_first_bytes();
    test_lengths();
    test_unmask();
    test_close();
    test_write();

    return done_testing();
}
