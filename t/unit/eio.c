
/*
 * rtbus_eio: every byte as a type, payloads of several packets, each way a
 * payload can be malformed.
 */


#include <stdlib.h>

#include "unit.h"
#include "rtbus_eio.h"


#define T(s)  s, sizeof(s) - 1


static const struct {
    const char   *text;
    size_t        len;
    size_t        packets;    /* that are taken before the end or the error */
    int           rc;
} payloads[] = {

    { T(""), 0, RTBUS_AGAIN },
    { T("4"), 1, RTBUS_AGAIN },
    { T("4a"), 1, RTBUS_AGAIN },
    { T("40\x1e" "42[\"a\"]"), 2, RTBUS_AGAIN },
    { T("2\x1e" "3\x1e" "6"), 3, RTBUS_AGAIN },
    { T("4\x1e" "bAQID\x1e" "4"), 3, RTBUS_AGAIN },
    { T("b"), 1, RTBUS_AGAIN },
    { T("4\0\x1e" "4\xff\n"), 2, RTBUS_AGAIN },

    /* the separator is one byte, never a part of another character */

    { T("4\x1d\x1f\x9e"), 1, RTBUS_AGAIN },

    { T("\x1e"), 0, RTBUS_ERROR },
    { T("\x1e\x1e"), 0, RTBUS_ERROR },
    { T("\x1e" "4"), 0, RTBUS_ERROR },
    { T("4\x1e"), 0, RTBUS_ERROR },
    { T("4\x1e\x1e"), 1, RTBUS_ERROR },
    { T("4\x1e\x1e" "4"), 1, RTBUS_ERROR },
    { T("4a\x1e" "4b\x1e"), 1, RTBUS_ERROR },
    { T("7"), 0, RTBUS_ERROR },
    { T("4a\x1e" "7\x1e" "4"), 1, RTBUS_ERROR },
    { T("4a\x1e" " 4"), 1, RTBUS_ERROR },
    { T("4a\x1e" "B"), 1, RTBUS_ERROR },

    /* version 3: length, colon, packet */

    { T("9:42[\"abcd\"]"), 0, RTBUS_ERROR },
};


/* a block of the exact size: AddressSanitizer sees a read behind the end */

static uint8_t *
copy(const char *text, size_t len)
{
    uint8_t  *p;

    p = malloc(len ? len : 1);
    if (p == NULL) {
        exit(2);
    }

    memcpy(p, text, len);

    return p;
}


static void
test_types(void)
{
    int                   i, rc, good, bad;
    uint8_t              *p;
    rtbus_eio_packet_t    packet;

    static const char  types[] = "0123456b";

    good = 0;
    bad = 0;

    p = copy("?x", 2);

    for (i = 0; i < 256; i++) {
        p[0] = i;

        packet.type = RTBUS_EIO_NOOP;
        packet.data.data = NULL;
        packet.data.len = 77;

        rc = rtbus_eio_parse(&packet, p, 2);

        if (i != '\0' && strchr(types, i) != NULL) {
            good += (rc == RTBUS_OK);
            bad += ((int) packet.type != i || packet.data.data != p + 1
                    || packet.data.len != 1);

        } else {
            bad += (rc != RTBUS_ERROR || packet.type != RTBUS_EIO_NOOP
                    || packet.data.data != NULL || packet.data.len != 77);
        }
    }

    free(p);

    is_int(good, 8, "types there are");
    is_int(bad, 0, "each byte as a type");
}


static void
test_packet(void)
{
    uint8_t              *p;
    rtbus_eio_packet_t    packet;

    is_int(rtbus_eio_parse(&packet, NULL, 0), RTBUS_ERROR, "nothing");

    p = copy("6", 1);

    is_int(rtbus_eio_parse(&packet, p, 0), RTBUS_ERROR, "an empty packet");
    is_int(rtbus_eio_parse(&packet, p, 1), RTBUS_OK, "a type alone");
    is_int(packet.type, RTBUS_EIO_NOOP, "noop");
    ok(packet.data.data == p + 1 && packet.data.len == 0, "without data");

    free(p);

    p = copy("2probe", 6);

    is_int(rtbus_eio_parse(&packet, p, 6), RTBUS_OK, "probe");
    is_int(packet.type, RTBUS_EIO_PING, "ping");
    is_mem(packet.data.data, packet.data.len, "probe", "its data");

    free(p);

    p = copy("4a\x1e" "4b", 5);

    is_int(rtbus_eio_parse(&packet, p, 5), RTBUS_OK,
           "a separator in a WebSocket frame");
    is_mem(packet.data.data, packet.data.len, "a\x1e" "4b", "is data");

    free(p);
}


static void
test_payload(void)
{
    size_t                len;
    uint8_t              *p;
    const uint8_t        *pos, *last;
    rtbus_eio_packet_t    packet;

    static const char  text[] = "40\x1e" "2\x1e" "bAQIDBA==\x1e" "42[\"a\"]";

    len = sizeof(text) - 1;
    p = copy(text, len);
    pos = p;
    last = p + len;

    is_int(rtbus_eio_next(&packet, &pos, last), RTBUS_OK, "first packet");
    is_int(packet.type, RTBUS_EIO_MESSAGE, "message");
    is_mem(packet.data.data, packet.data.len, "0", "its data");
    ok(packet.data.data == p + 1, "a slice of the payload");
    is_int(pos - p, 3, "behind its separator");

    is_int(rtbus_eio_next(&packet, &pos, last), RTBUS_OK, "second packet");
    is_int(packet.type, RTBUS_EIO_PING, "ping");
    is_int(packet.data.len, 0, "without data");

    is_int(rtbus_eio_next(&packet, &pos, last), RTBUS_OK, "third packet");
    is_int(packet.type, RTBUS_EIO_BINARY, "binary");
    is_mem(packet.data.data, packet.data.len, "AQIDBA==", "its base64");

    is_int(rtbus_eio_next(&packet, &pos, last), RTBUS_OK, "last packet");
    is_int(packet.type, RTBUS_EIO_MESSAGE, "message");
    is_mem(packet.data.data, packet.data.len, "2[\"a\"]", "its data");
    ok(pos == last, "at the end");

    is_int(rtbus_eio_next(&packet, &pos, last), RTBUS_AGAIN, "the end");
    is_int(rtbus_eio_next(&packet, &pos, last), RTBUS_AGAIN, "still");

    free(p);
}


static void
test_payloads(void)
{
    int                   rc;
    size_t                i, n;
    uint8_t              *p;
    const uint8_t        *pos, *before;
    rtbus_eio_packet_t    packet;

    for (i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        p = copy(payloads[i].text, payloads[i].len);
        pos = p;
        n = 0;

        for ( ;; ) {
            before = pos;
            rc = rtbus_eio_next(&packet, &pos, p + payloads[i].len);

            if (rc != RTBUS_OK) {
                break;
            }

            n++;
        }

        is_int(rc, payloads[i].rc, "payload %zu", i);
        is_int(n, payloads[i].packets, "payload %zu: packets", i);
        ok(pos == before, "payload %zu: not beyond its end", i);

        free(p);
    }
}


/* cut off at any byte: malformed right behind a separator, else whole */

static void
test_cut(void)
{
    int                   rc;
    size_t                i, bad;
    uint8_t              *p;
    const uint8_t        *pos;
    rtbus_eio_packet_t    packet;

    static const char  text[] = "42[\"ab\"]\x1e" "3\x1e" "bAA==\x1e" "6";

    bad = 0;

    for (i = 1; i < sizeof(text); i++) {
        p = copy(text, i);
        pos = p;

        do {
            rc = rtbus_eio_next(&packet, &pos, p + i);
        } while (rc == RTBUS_OK);

        if (rc != (text[i - 1] == RTBUS_EIO_SEPARATOR ? RTBUS_ERROR
                                                      : RTBUS_AGAIN))
        {
            bad++;
        }

        free(p);
    }

    is_int(bad, 0, "cut off at each byte");
}


int
main(void)
{
    test_types();
    test_packet();
    test_payload();
    test_payloads();
    test_cut();

    return done_testing();
}
