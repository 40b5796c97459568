
/*
 * rtbus_sio: the examples of the protocol document, what the reference
 * decoder takes besides, and each reason to refuse a packet.
 */


#include <stdlib.h>

#include "unit.h"
#include "rtbus_sio.h"


#define T(s)  s, sizeof(s) - 1

#define CONNECT        RTBUS_SIO_CONNECT
#define DISCONNECT     RTBUS_SIO_DISCONNECT
#define EVENT          RTBUS_SIO_EVENT
#define ACK            RTBUS_SIO_ACK
#define CONNECT_ERROR  RTBUS_SIO_CONNECT_ERROR
#define BINARY_EVENT   RTBUS_SIO_BINARY_EVENT
#define BINARY_ACK     RTBUS_SIO_BINARY_ACK

#define NONE           -1LL

#define N50  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define N199 N50 N50 N50 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"


/* written back with the same bytes unless "header" tells other ones */

static const struct {
    const char         *text;
    size_t              len;
    rtbus_sio_type_e    type;
    unsigned            attachments;
    const char         *nsp;
    long long           ack;
    const char         *json;
    const char         *header;
} packets[] = {

    /* section "Packet encoding" */

    { T("0"), CONNECT, 0, "/", NONE, "", NULL },
    { T("0{\"sid\":\"wZX3oN0bSVIhsaknAAAI\"}"),
      CONNECT, 0, "/", NONE, "{\"sid\":\"wZX3oN0bSVIhsaknAAAI\"}", NULL },
    { T("0/admin,"), CONNECT, 0, "/admin", NONE, "", NULL },
    { T("0/admin,{\"token\":\"x\"}"),
      CONNECT, 0, "/admin", NONE, "{\"token\":\"x\"}", NULL },
    { T("4{\"message\":\"Not authorized\"}"),
      CONNECT_ERROR, 0, "/", NONE, "{\"message\":\"Not authorized\"}", NULL },
    { T("2[\"foo\"]"), EVENT, 0, "/", NONE, "[\"foo\"]", NULL },
    { T("2/admin,[\"bar\"]"), EVENT, 0, "/admin", NONE, "[\"bar\"]", NULL },
    { T("51-[\"baz\",{\"_placeholder\":true,\"num\":0}]"),
      BINARY_EVENT, 1, "/", NONE,
      "[\"baz\",{\"_placeholder\":true,\"num\":0}]", NULL },
    { T("52-/admin,[\"baz\",{\"_placeholder\":true,\"num\":0},"
        "{\"_placeholder\":true,\"num\":1}]"),
      BINARY_EVENT, 2, "/admin", NONE,
      "[\"baz\",{\"_placeholder\":true,\"num\":0},"
      "{\"_placeholder\":true,\"num\":1}]", NULL },
    { T("212[\"foo\"]"), EVENT, 0, "/", 12, "[\"foo\"]", NULL },
    { T("312[]"), ACK, 0, "/", 12, "[]", NULL },
    { T("2/admin,13[\"foo\"]"), EVENT, 0, "/admin", 13, "[\"foo\"]", NULL },
    { T("3/admin,13[\"bar\"]"), ACK, 0, "/admin", 13, "[\"bar\"]", NULL },
    { T("51-14[\"foo\",{\"_placeholder\":true,\"num\":0}]"),
      BINARY_EVENT, 1, "/", 14,
      "[\"foo\",{\"_placeholder\":true,\"num\":0}]", NULL },
    { T("61-15[\"bar\",{\"_placeholder\":true,\"num\":0}]"),
      BINARY_ACK, 1, "/", 15,
      "[\"bar\",{\"_placeholder\":true,\"num\":0}]", NULL },
    { T("1"), DISCONNECT, 0, "/", NONE, "", NULL },
    { T("1/admin,"), DISCONNECT, 0, "/admin", NONE, "", NULL },

    /* the comma may be missing when nothing follows */

    { T("0/admin"), CONNECT, 0, "/admin", NONE, "", "0/admin," },
    { T("1/admin"), DISCONNECT, 0, "/admin", NONE, "", "1/admin," },
    { T("4/admin"), CONNECT_ERROR, 0, "/admin", NONE, "", "4/admin," },

    /* the root namespace needs no name */

    { T("0/"), CONNECT, 0, "/", NONE, "", "0" },
    { T("0/,"), CONNECT, 0, "/", NONE, "", "0" },
    { T("0/,{}"), CONNECT, 0, "/", NONE, "{}", "0" },
    { T("2/,7[]"), EVENT, 0, "/", 7, "[]", "27" },

    /* namespaces are taken as they are, up to the first comma */

    { T("0/admin?x=1,"), CONNECT, 0, "/admin?x=1", NONE, "", NULL },
    { T("0/admin?x=1&y=%2C,{}"),
      CONNECT, 0, "/admin?x=1&y=%2C", NONE, "{}", NULL },
    { T("0/?x=1,"), CONNECT, 0, "/?x=1", NONE, "", NULL },
    { T("0//,"), CONNECT, 0, "//", NONE, "", NULL },
    { T("0/a/b-c.d 12[{\",{}"),
      CONNECT, 0, "/a/b-c.d 12[{\"", NONE, "{}", NULL },
    { T("2/1,2[3,4]"), EVENT, 0, "/1", 2, "[3,4]", NULL },
    { T("0/\xc3\xa9,"), CONNECT, 0, "/\xc3\xa9", NONE, "", NULL },
    { T("0/" N199 ","), CONNECT, 0, "/" N199, NONE, "", NULL },
    { T("0/" N199), CONNECT, 0, "/" N199, NONE, "", "0/" N199 "," },

    /* numbers */

    { T("20[]"), EVENT, 0, "/", 0, "[]", NULL },
    { T("29007199254740991[]"),
      EVENT, 0, "/", 9007199254740991LL, "[]", NULL },
    { T("2007[]"), EVENT, 0, "/", 7, "[]", "27" },
    { T("200000000000000000000000000000007[]"),
      EVENT, 0, "/", 7, "[]", "27" },
    { T("3/ns,1[]"), ACK, 0, "/ns", 1, "[]", NULL },
    { T("564-[]"), BINARY_EVENT, 64, "/", NONE, "[]", NULL },
    { T("5064-[]"), BINARY_EVENT, 64, "/", NONE, "[]", "564-" },
    { T("52-/ns,13[1]"), BINARY_EVENT, 2, "/ns", 13, "[1]", NULL },
    { T("664-/" N199 ",9007199254740991[]"),
      BINARY_ACK, 64, "/" N199, 9007199254740991LL, "[]", NULL },

    /* only the first byte of the JSON is looked at */

    { T("0{"), CONNECT, 0, "/", NONE, "{", NULL },
    { T("2["), EVENT, 0, "/", NONE, "[", NULL },
    { T("2[\0"), EVENT, 0, "/", NONE, "[", NULL },
    { T("4"), CONNECT_ERROR, 0, "/", NONE, "", NULL },
    { T("4\"no\""), CONNECT_ERROR, 0, "/", NONE, "\"no\"", NULL },
};


static const struct {
    const char  *text;
    size_t       len;
    const char  *reason;
} malformed[] = {

    { T(""), "empty packet" },

    { T("7"), "packet of unknown type" },
    { T("9[]"), "packet of unknown type" },
    { T("/"), "packet of unknown type" },
    { T(":"), "packet of unknown type" },
    { T("a"), "packet of unknown type" },
    { T("abc"), "packet of unknown type" },
    { T(" 0"), "packet of unknown type" },
    { T("\0"), "packet of unknown type" },
    { T("\xb0"), "packet of unknown type" },

    { T("5"), "binary packet without number of attachments" },
    { T("6"), "binary packet without number of attachments" },
    { T("5-"), "binary packet without number of attachments" },
    { T("5-[]"), "binary packet without number of attachments" },
    { T("5[]"), "binary packet without number of attachments" },
    { T("51"), "binary packet without number of attachments" },
    { T("51[]"), "binary packet without number of attachments" },
    { T("5/ns,[]"), "binary packet without number of attachments" },
    { T("50-[]"), "binary packet without number of attachments" },
    { T("500-[]"), "binary packet without number of attachments" },
    { T("60-1[]"), "binary packet without number of attachments" },
    { T("5 1-[]"), "binary packet without number of attachments" },
    { T("51 -[]"), "binary packet without number of attachments" },
    { T("5+1-[]"), "binary packet without number of attachments" },
    { T("5--1-[]"), "binary packet without number of attachments" },
    { T("51.0-[]"), "binary packet without number of attachments" },
    { T("51e0-[]"), "binary packet without number of attachments" },
    { T("50x1-[]"), "binary packet without number of attachments" },
    { T("565-[]"), "packet with too many attachments" },
    { T("5640-[]"), "packet with too many attachments" },
    { T("599999999999999999999-[]"), "packet with too many attachments" },
    { T("518446744073709551617-[]"), "packet with too many attachments" },
    { T("54294967297-[]"), "packet with too many attachments" },

    { T("0/n" N199), "packet with too long a namespace" },
    { T("0/n" N199 ","), "packet with too long a namespace" },
    { T("0/\n"), "packet with control characters in namespace" },
    { T("0/a\0,"), "packet with control characters in namespace" },
    { T("0/\x1f" "a,"), "packet with control characters in namespace" },
    { T("0/a\x7f,"), "packet with control characters in namespace" },

    { T("29007199254740992[]"), "packet with too large an ack id" },
    { T("29007199254740999[]"), "packet with too large an ack id" },
    { T("290071992547409910[]"), "packet with too large an ack id" },
    { T("218446744073709551617[]"), "packet with too large an ack id" },
    { T("2/ns,99999999999999999999999[]"), "packet with too large an ack id" },

    { T("3[]"), "ack without an id" },
    { T("3/ns,[]"), "ack without an id" },
    { T("61-[]"), "ack without an id" },
    { T("61-/ns,[]"), "ack without an id" },
    { T("01"), "packet with an ack id it may not have" },
    { T("00{}"), "packet with an ack id it may not have" },
    { T("0/ns,1"), "packet with an ack id it may not have" },
    { T("11"), "packet with an ack id it may not have" },
    { T("1/ns,1"), "packet with an ack id it may not have" },
    { T("41"), "packet with an ack id it may not have" },
    { T("41{}"), "packet with an ack id it may not have" },

    { T("0[]"), "connect with a payload that is not an object" },
    { T("0\"a\""), "connect with a payload that is not an object" },
    { T("0null"), "connect with a payload that is not an object" },
    { T("0,"), "connect with a payload that is not an object" },
    { T("0 {}"), "connect with a payload that is not an object" },
    { T("0/ns, {}"), "connect with a payload that is not an object" },
    { T("0/ns,,{}"), "connect with a payload that is not an object" },
    { T("0admin,"), "connect with a payload that is not an object" },
    { T("0\0"), "connect with a payload that is not an object" },
    { T("1{}"), "disconnect with a payload" },
    { T("1[]"), "disconnect with a payload" },
    { T("1/ns,\"bye\""), "disconnect with a payload" },
    { T("1 "), "disconnect with a payload" },
    { T("4[]"), "connect error with a payload that is not an object" },
    { T("4null"), "connect error with a payload that is not an object" },
    { T("2"), "packet with a payload that is not an array" },
    { T("212"), "packet with a payload that is not an array" },
    { T("2/ns"), "packet with a payload that is not an array" },
    { T("2/ns,"), "packet with a payload that is not an array" },
    { T("2/ns[\"a\"]"), "packet with a payload that is not an array" },
    { T("2{}"), "packet with a payload that is not an array" },
    { T("2\"a\""), "packet with a payload that is not an array" },
    { T("2 [\"a\"]"), "packet with a payload that is not an array" },
    { T("212 [\"a\"]"), "packet with a payload that is not an array" },
    { T("2-1[\"a\"]"), "packet with a payload that is not an array" },
    { T("21.5[\"a\"]"), "packet with a payload that is not an array" },
    { T("21-[\"a\"]"), "packet with a payload that is not an array" },
    { T("2,[\"a\"]"), "packet with a payload that is not an array" },
    { T("31"), "packet with a payload that is not an array" },
    { T("31{}"), "packet with a payload that is not an array" },
    { T("51-"), "packet with a payload that is not an array" },
    { T("51-{}"), "packet with a payload that is not an array" },
    { T("51-2-[]"), "packet with a payload that is not an array" },
    { T("51--[]"), "packet with a payload that is not an array" },
    { T("51-/ns"), "packet with a payload that is not an array" },
    { T("61-1"), "packet with a payload that is not an array" },
    { T("61-1\"a\""), "packet with a payload that is not an array" },
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


static int
same(const void *p, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(p, text, len) == 0;
}


static void
test_packets(void)
{
    int                   rc;
    size_t                i, n, len, json;
    uint8_t              *p, buf[RTBUS_SIO_MAX_HEADER + 1];
    const char           *reason;
    rtbus_sio_packet_t    packet;

    for (i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        len = packets[i].len;
        p = copy(packets[i].text, len);

        memset(&packet, 0xff, sizeof(packet));
        reason = "none";

        rc = rtbus_sio_parse(&packet, p, len, &reason);

        if (!ok(rc == RTBUS_OK, "packet %zu: %s", i, packets[i].text)) {
            free(p);
            continue;
        }

        /* one of the cases has a zero byte in its JSON */

        json = strlen(packets[i].json) + len - strlen(packets[i].text);

        ok(packet.type == packets[i].type
           && packet.attachments == packets[i].attachments,
           "packet %zu: type and attachments", i);
        ok(same(packet.nsp.data, packet.nsp.len, packets[i].nsp),
           "packet %zu: namespace", i);
        ok(packet.has_ack == (packets[i].ack != NONE)
           && packet.ack == (packet.has_ack ? (uint64_t) packets[i].ack : 0),
           "packet %zu: ack id", i);
        ok(packet.json.len == json
           && memcmp(packet.json.data, packets[i].json, json) == 0
           && packet.json.data + json == p + len,
           "packet %zu: JSON, a slice up to the end", i);

        memset(buf, '#', sizeof(buf));
        n = rtbus_sio_write_header(buf, &packet);

        if (packets[i].header) {
            ok(same(buf, n, packets[i].header), "packet %zu: written", i);

        } else {
            ok(n == len - json && memcmp(buf, p, n) == 0,
               "packet %zu: written", i);
        }

        ok(n < sizeof(buf) && buf[n] == '#'
           && rtbus_sio_write_header(NULL, &packet) == n,
           "packet %zu: its length", i);

        free(p);
    }
}


static void
test_malformed(void)
{
    int                   rc;
    size_t                i;
    uint8_t              *p;
    const char           *reason;
    rtbus_sio_packet_t    packet, before;

    for (i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        p = copy(malformed[i].text, malformed[i].len);

        memset(&packet, 0x55, sizeof(packet));
        before = packet;
        reason = "none";

        rc = rtbus_sio_parse(&packet, p, malformed[i].len, &reason);

        ok(rc == RTBUS_ERROR && reason != NULL
           && strcmp(reason, malformed[i].reason) == 0,
           "malformed %zu: %s", i, malformed[i].reason);
        ok(packet.type == before.type && packet.json.len == before.json.len
           && packet.nsp.data == before.nsp.data && packet.ack == before.ack,
           "malformed %zu: the packet is as it was", i);

        free(p);
    }

    is_int(rtbus_sio_parse(&packet, NULL, 0, &reason), RTBUS_ERROR,
           "nothing");
}


/* each byte as a type, in a namespace and as the first one of the JSON */

static void
test_bytes(void)
{
    int                   i, type, good, bad;
    uint8_t              *p;
    const char           *reason;
    rtbus_sio_packet_t    packet;

    static const char *const  first[] = { "{", "", "[", "", "{\"", "", "" };

    good = 0;

    for (i = 0; i < 256; i++) {
        p = copy("?", 1);
        p[0] = i;
        good += (rtbus_sio_parse(&packet, p, 1, &reason) == RTBUS_OK);
        free(p);
    }

    is_int(good, 3, "types that stand alone");

    bad = 0;

    for (i = 0; i < 256; i++) {
        p = copy("0/a?b,", 6);
        p[3] = i;

        if (rtbus_sio_parse(&packet, p, 6, &reason)
            != (i < 0x20 || i == 0x7f || i == ',' ? RTBUS_ERROR : RTBUS_OK))
        {
            bad++;
        }

        free(p);
    }

    is_int(bad, 0, "bytes of a namespace");

    bad = 0;

    for (type = 0; type < 7; type++) {
        for (i = 0; i < 256; i++) {
            p = copy("?/,?", 4);
            p[0] = '0' + type;
            p[3] = i;

            if ((rtbus_sio_parse(&packet, p, 4, &reason) == RTBUS_OK)
                != (i != '\0' && strchr(first[type], i) != NULL))
            {
                bad++;
            }

            free(p);
        }
    }

    is_int(bad, 0, "first bytes of the JSON");
}


/* every number of attachments; ack ids around the powers of two and of ten */

static void
test_numbers(void)
{
    int                   rc;
    char                  text[64];
    size_t                i, n, count, bad;
    uint64_t              ten, values[54 * 3 + 16 * 3];
    const char           *reason;
    rtbus_sio_packet_t    packet, back;

    bad = 0;

    for (i = 0; i < 1000; i++) {
        n = sprintf(text, "5%zu-[]", i);
        rc = rtbus_sio_parse(&packet, (uint8_t *) text, n, &reason);

        if (i == 0 || i > RTBUS_SIO_MAX_ATTACHMENTS) {
            bad += (rc != RTBUS_ERROR);

        } else {
            bad += (rc != RTBUS_OK || packet.attachments != i);
        }
    }

    is_int(bad, 0, "numbers of attachments");

    count = 0;

    for (i = 0; i < 54; i++) {
        values[count++] = ((uint64_t) 1 << i) - 1;
        values[count++] = (uint64_t) 1 << i;
        values[count++] = ((uint64_t) 1 << i) + 1;
    }

    ten = 1;

    for (i = 0; i < 16; i++) {
        values[count++] = ten - 1;
        values[count++] = ten;
        values[count++] = ten + 1;
        ten *= 10;
    }

    bad = 0;

    memset(&packet, 0, sizeof(packet));
    packet.type = ACK;
    packet.has_ack = 1;

    for (i = 0; i < count; i++) {
        packet.ack = values[i];

        n = rtbus_sio_write_header((uint8_t *) text, &packet);
        memcpy(text + n, "[]", 2);

        rc = rtbus_sio_parse(&back, (uint8_t *) text, n + 2, &reason);

        if (values[i] > RTBUS_SIO_MAX_ACK) {
            bad += (rc != RTBUS_ERROR);

        } else {
            bad += (rc != RTBUS_OK || !back.has_ack || back.ack != values[i]
                    || back.json.len != 2);
        }
    }

    is_int(bad, 0, "%zu ack ids written and parsed", count);
}


static void
test_write(void)
{
    size_t                n;
    uint8_t               buf[64];
    rtbus_sio_packet_t    packet;

    memset(&packet, 0, sizeof(packet));

    n = rtbus_sio_write_header(buf, &packet);
    is_mem(buf, n, "0", "no namespace is the root");

    packet.type = EVENT;
    packet.attachments = 3;
    packet.ack = 5;
    packet.nsp.data = (uint8_t *) "/ns";
    packet.nsp.len = 3;

    n = rtbus_sio_write_header(buf, &packet);
    is_mem(buf, n, "2/ns,", "attachments and ack id that do not apply");

    packet.has_ack = 1;
    packet.ack = UINT64_MAX;

    n = rtbus_sio_write_header(buf, &packet);
    is_mem(buf, n, "2/ns,18446744073709551615", "the largest number");

    packet.type = BINARY_ACK;
    packet.ack = 0;

    n = rtbus_sio_write_header(buf, &packet);
    is_mem(buf, n, "63-/ns,0", "all of it");
    is_int(rtbus_sio_write_header(NULL, &packet), 8, "its length");
}


int
main(void)
{
    test_packets();
    test_malformed();
    test_bytes();
    test_numbers();
    test_write();

    return done_testing();
}
