
/*
 * rtbus_cursor: channel names, positions in their one spelling, cursors
 * malformed in each way.
 */


#include <stdlib.h>

#include "unit.h"
#include "rtbus_cursor.h"


#define T(s)  s, sizeof(s) - 1

#define MAX  UINT64_MAX


static const struct {
    const char   *text;
    size_t        len;
    int           rc;
    rtbus_pos_t   pos;
} positions[] = {

    { T("0-0"), RTBUS_OK, { 0, 0 } },
    { T("0-1"), RTBUS_OK, { 0, 1 } },
    { T("1-0"), RTBUS_OK, { 1, 0 } },
    { T("1732300000000-7"), RTBUS_OK, { 1732300000000ULL, 7 } },
    { T("10-100"), RTBUS_OK, { 10, 100 } },
    { T("18446744073709551615-18446744073709551615"), RTBUS_OK,
      { MAX, MAX } },

    { T("18446744073709551616-1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-18446744073709551616"), RTBUS_ERROR, { 0, 0 } },
    { T("18446744073709551620-1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-99999999999999999999"), RTBUS_ERROR, { 0, 0 } },
    { T("1-100000000000000000000"), RTBUS_ERROR, { 0, 0 } },
    { T("36893488147419103233-1"), RTBUS_ERROR, { 0, 0 } },

    /* one spelling for each position */

    { T("01-1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-01"), RTBUS_ERROR, { 0, 0 } },
    { T("00-0"), RTBUS_ERROR, { 0, 0 } },
    { T("0-00"), RTBUS_ERROR, { 0, 0 } },
    { T("+1-1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-+1"), RTBUS_ERROR, { 0, 0 } },

    { T(""), RTBUS_ERROR, { 0, 0 } },
    { T("-"), RTBUS_ERROR, { 0, 0 } },
    { T("1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-"), RTBUS_ERROR, { 0, 0 } },
    { T("-1"), RTBUS_ERROR, { 0, 0 } },
    { T("--1"), RTBUS_ERROR, { 0, 0 } },
    { T("1--1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-1-"), RTBUS_ERROR, { 0, 0 } },
    { T("1-1-1"), RTBUS_ERROR, { 0, 0 } },
    { T(" 1-1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-1 "), RTBUS_ERROR, { 0, 0 } },
    { T("1 -1"), RTBUS_ERROR, { 0, 0 } },
    { T("1- 1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-1\0"), RTBUS_ERROR, { 0, 0 } },
    { T("1-1\n"), RTBUS_ERROR, { 0, 0 } },
    { T("1-1,"), RTBUS_ERROR, { 0, 0 } },
    { T("1-a"), RTBUS_ERROR, { 0, 0 } },
    { T("a-1"), RTBUS_ERROR, { 0, 0 } },
    { T("0x1-1"), RTBUS_ERROR, { 0, 0 } },
    { T("1-1e1"), RTBUS_ERROR, { 0, 0 } },
    { T("1.0-1"), RTBUS_ERROR, { 0, 0 } },
    { T("1_1"), RTBUS_ERROR, { 0, 0 } },
    { T("*"), RTBUS_ERROR, { 0, 0 } },
    { T("$"), RTBUS_ERROR, { 0, 0 } },
};


static const struct {
    rtbus_pos_t   a;
    rtbus_pos_t   b;
    int           cmp;
    int           next;
} pairs[] = {
    { { 0, 0 }, { 0, 0 }, 0, 0 },
    { { 0, 0 }, { 0, 1 }, -1, 1 },
    { { 0, 0 }, { 5, 1 }, -1, 1 },
    { { 0, 0 }, { 5, 2 }, -1, 0 },
    { { 0, 0 }, { 5, 0 }, -1, 0 },
    { { 5, 1 }, { 5, 2 }, -1, 1 },
    { { 5, 1 }, { 5, 1 }, 0, 0 },
    { { 5, 1 }, { 5, 3 }, -1, 0 },
    { { 5, 2 }, { 5, 1 }, 1, 0 },
    { { 5, 0 }, { 5, 1 }, -1, 1 },
    { { 5, 1 }, { 6, 2 }, -1, 0 },
    { { 5, 7 }, { 6, 1 }, -1, 0 },
    { { 6, 1 }, { 5, 7 }, 1, 0 },
    { { 6, 1 }, { 5, 2 }, 1, 0 },
    { { 5, 1 }, { 0, 0 }, 1, 0 },
    { { 5, 9 }, { 5, 10 }, -1, 1 },
    { { 5, MAX }, { 5, 0 }, 1, 0 },
    { { 5, MAX }, { 6, 0 }, -1, 1 },
    { { 5, MAX }, { 6, 1 }, -1, 0 },
    { { 5, MAX }, { 7, 0 }, -1, 0 },
    { { MAX, MAX }, { 0, 0 }, 1, 0 },
    { { 5, MAX - 1 }, { 5, MAX }, -1, 1 },
    { { MAX, 1 }, { 0, 2 }, 1, 0 },
    { { 1, 0x100000000ULL }, { 1, 1 }, 1, 0 },
    { { 0x100000001ULL, 1 }, { 1, 2 }, 1, 0 },
};


static const struct {
    const char  *text;
    size_t       len;
} malformed[] = {
    { T(",") },
    { T("@") },
    { T("a") },
    { T("a@") },
    { T("@1-1") },
    { T("a@1") },
    { T("a@1-") },
    { T("a@-1") },
    { T("a@1-01") },
    { T("a@1-18446744073709551616") },
    { T("a@1-1,") },
    { T("a@1-1,,") },
    { T(",a@1-1") },
    { T("a@1-1,,b@1-1") },
    { T("a@1-1,b") },
    { T("a@1-1,b@") },
    { T("a@1-1,@1-1") },
    { T("a@1-1,b@1-1,") },
    { T("a@@1-1") },
    { T("a@1-1@1-1") },
    { T("a@b@1-1") },
    { T("a@1-1;b@1-1") },
    { T(" a@1-1") },
    { T("a @1-1") },
    { T("a@ 1-1") },
    { T("a@1-1 ") },
    { T("a@1-1, b@1-1") },
    { T("a@1-1\n") },
    { T("a\0@1-1") },
    { T("a@1-1\0") },
    { T("a*@1-1") },
    { T("a/b@1-1") },
    { T("{a}@1-1") },
    { T("\xc3\xa9@1-1") },
    { T("a%4@1-1") },
    { T("a%@1-1") },
    { T("a%4g@1-1") },
    { T("a%7c@1-1") },
    { T("a%%7C@1-1") },
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
test_channel(void)
{
    int       i, good, bad;
    uint8_t   c, buf[RTBUS_CHANNEL_MAX + 1];

    static const char  charset[] = "abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_.:-";

    good = 0;
    bad = 0;

    for (i = 0; i < 256; i++) {
        c = i;

        if (rtbus_channel_check(&c, 1) == RTBUS_OK) {
            good++;
        }

        if ((rtbus_channel_check(&c, 1) == RTBUS_OK)
            != (c != '\0' && strchr(charset, c) != NULL))
        {
            bad++;
        }

        memcpy(buf, "aaa", 3);

        buf[i % 3] = c;

        if (rtbus_channel_check(buf, 3) != rtbus_channel_check(&c, 1)) {
            bad++;
        }
    }

    is_int(good, 66, "bytes that a channel may hold");
    is_int(bad, 0, "each byte, alone and among others");

    memset(buf, 'a', sizeof(buf));

    is_int(rtbus_channel_check(buf, 0), RTBUS_ERROR, "an empty channel");
    is_int(rtbus_channel_check(NULL, 0), RTBUS_ERROR, "no channel");
    is_int(rtbus_channel_check(buf, 1), RTBUS_OK, "1 byte");
    is_int(rtbus_channel_check(buf, 200), RTBUS_OK, "200 bytes");
    is_int(rtbus_channel_check(buf, 201), RTBUS_ERROR, "201 bytes");

    buf[199] = '@';

    is_int(rtbus_channel_check(buf, 199), RTBUS_OK, "up to the bad byte");
    is_int(rtbus_channel_check(buf, 200), RTBUS_ERROR, "the last byte is bad");
}


static void
test_encode(void)
{
    size_t          i, n;
    uint8_t         out[64];
    const uint8_t  *p;

    static const struct {
        const char  *text;
        size_t       len;
        const char  *channel;
    } encoded[] = {
        { T(""), "" },
        { T("ann:1_2.3-4"), "ann:1_2.3-4" },
        { T("auth0|x"), "auth0%7Cx" },
        { T("%7C"), "%257C" },
        { T("a b\0\n"), "a%20b%00%0A" },
        { T("\xc3\xa9\xff"), "%C3%A9%FF" },
        { T("~@/*,{}"), "%7E%40%2F%2A%2C%7B%7D" },
    };

    for (i = 0; i < sizeof(encoded) / sizeof(encoded[0]); i++) {
        p = (const uint8_t *) encoded[i].text;
        n = encoded[i].len;

        is_int(rtbus_channel_encode(NULL, p, n), strlen(encoded[i].channel),
               "encoded %zu, length", i);

        n = rtbus_channel_encode(out, p, n);

        ok(n == strlen(encoded[i].channel)
           && memcmp(out, encoded[i].channel, n) == 0, "encoded %zu", i);
        is_int(rtbus_channel_check(out, n), n ? RTBUS_OK : RTBUS_ERROR,
               "encoded %zu is a channel", i);
    }
}


static void
test_position(void)
{
    int           rc;
    size_t        i, n;
    uint8_t      *p, buf[RTBUS_POSITION_MAX + 1];
    rtbus_pos_t   pos;

    for (i = 0; i < sizeof(positions) / sizeof(positions[0]); i++) {
        pos.epoch = 77;
        pos.seq = 88;

        p = copy(positions[i].text, positions[i].len);
        rc = rtbus_pos_parse(&pos, p, positions[i].len);
        free(p);

        if (positions[i].rc != RTBUS_OK) {
            ok(rc == RTBUS_ERROR && pos.epoch == 77 && pos.seq == 88,
               "position %zu: malformed", i);
            continue;
        }

        ok(rc == RTBUS_OK && rtbus_pos_cmp(pos, positions[i].pos) == 0,
           "position %zu: %s", i, positions[i].text);

        memset(buf, '#', sizeof(buf));
        n = rtbus_pos_write(buf, pos);

        ok(n == positions[i].len && n <= RTBUS_POSITION_MAX
           && memcmp(buf, positions[i].text, n) == 0 && buf[n] == '#',
           "position %zu: written", i);
    }

    is_int(rtbus_pos_parse(&pos, NULL, 0), RTBUS_ERROR, "nothing");
}


/* the numbers around each power of two and of ten */

static void
test_round_trip(void)
{
    size_t        i, n, count, bad;
    uint8_t       buf[RTBUS_POSITION_MAX];
    uint64_t      ten, values[64 * 3 + 20 * 3];
    rtbus_pos_t   pos, back;

    count = 0;

    for (i = 0; i < 64; i++) {
        values[count++] = ((uint64_t) 1 << i) - 1;
        values[count++] = (uint64_t) 1 << i;
        values[count++] = ((uint64_t) 1 << i) + 1;
    }

    ten = 1;

    for (i = 0; i < 20; i++) {
        values[count++] = ten - 1;
        values[count++] = ten;
        values[count++] = 0 - ten;
        ten *= 10;
    }

    bad = 0;

    for (i = 0; i < count; i++) {
        pos.epoch = values[i];
        pos.seq = values[(i * 7 + 3) % count];

        n = rtbus_pos_write(buf, pos);

        if (n > sizeof(buf)
            || rtbus_pos_parse(&back, buf, n) != RTBUS_OK
            || rtbus_pos_cmp(pos, back) != 0)
        {
            bad++;
        }
    }

    is_int(bad, 0, "%zu positions written and parsed", count);
}


static void
test_order(void)
{
    int     cmp, back;
    size_t  i;

    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        cmp = rtbus_pos_cmp(pairs[i].a, pairs[i].b);
        back = rtbus_pos_cmp(pairs[i].b, pairs[i].a);

        is_int((cmp > 0) - (cmp < 0), pairs[i].cmp, "order %zu", i);
        is_int((back > 0) - (back < 0), -pairs[i].cmp, "order %zu, back", i);

        is_int(!!rtbus_pos_next(pairs[i].a, pairs[i].b), pairs[i].next,
               "next %zu", i);
    }
}


static void
test_cursor(void)
{
    int                     rc;
    size_t                  i, len, bad;
    uint8_t                *p;
    const uint8_t          *pos, *last;
    rtbus_cursor_entry_t    entry;

    static const char  text[] = "job:42@1732300000000-7,user:9@0-0,"
                                "a_B.c-d@18446744073709551615-1";

    len = sizeof(text) - 1;
    p = copy(text, len);
    pos = p;
    last = p + len;

    is_int(rtbus_cursor_next(&entry, &pos, last), RTBUS_OK, "first entry");
    is_mem(entry.channel.data, entry.channel.len, "job:42", "channel");
    ok(entry.pos.epoch == 1732300000000ULL && entry.pos.seq == 7, "position");
    ok(entry.channel.data == p, "the channel is a slice of the cursor");
    is_int(pos - p, 23, "behind its comma");

    is_int(rtbus_cursor_next(&entry, &pos, last), RTBUS_OK, "second entry");
    is_mem(entry.channel.data, entry.channel.len, "user:9", "channel");
    ok(entry.pos.epoch == 0 && entry.pos.seq == 0, "nothing yet");

    is_int(rtbus_cursor_next(&entry, &pos, last), RTBUS_OK, "last entry");
    is_mem(entry.channel.data, entry.channel.len, "a_B.c-d", "channel");
    ok(entry.pos.epoch == MAX && entry.pos.seq == 1, "position");
    ok(pos == last, "at the end");

    is_int(rtbus_cursor_next(&entry, &pos, last), RTBUS_AGAIN, "the end");
    is_int(rtbus_cursor_next(&entry, &pos, last), RTBUS_AGAIN, "still");

    /* cut off at any byte: whole only right before a comma */

    bad = 0;

    for (i = 1; i < len; i++) {
        pos = p;

        do {
            rc = rtbus_cursor_next(&entry, &pos, p + i);
        } while (rc == RTBUS_OK);

        if (rc != (text[i] == ',' ? RTBUS_AGAIN : RTBUS_ERROR)) {
            bad++;
        }
    }

    is_int(bad, 0, "cut off at each byte");

    free(p);

    pos = (const uint8_t *) text;
    is_int(rtbus_cursor_next(&entry, &pos, pos), RTBUS_AGAIN,
           "an empty cursor");
}


static void
test_malformed(void)
{
    int                     rc;
    size_t                  i;
    uint8_t                *p, buf[RTBUS_CHANNEL_MAX + 8];
    const uint8_t          *pos, *before;
    rtbus_cursor_entry_t    entry;

    for (i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        p = copy(malformed[i].text, malformed[i].len);
        pos = p;

        do {
            before = pos;
            rc = rtbus_cursor_next(&entry, &pos, p + malformed[i].len);
        } while (rc == RTBUS_OK);

        ok(rc == RTBUS_ERROR && pos == before, "malformed %zu", i);

        free(p);
    }

    memset(buf, 'a', sizeof(buf));
    memcpy(buf + RTBUS_CHANNEL_MAX, "@1-1", 4);
    pos = buf;

    is_int(rtbus_cursor_next(&entry, &pos, buf + RTBUS_CHANNEL_MAX + 4),
           RTBUS_OK, "the longest channel");

    memcpy(buf + RTBUS_CHANNEL_MAX, "a@1-1", 5);
    pos = buf;

    is_int(rtbus_cursor_next(&entry, &pos, buf + RTBUS_CHANNEL_MAX + 5),
           RTBUS_ERROR, "a channel too long");
}


static void
test_write(void)
{
    size_t                 n;
    uint8_t                buf[RTBUS_CURSOR_ENTRY_MAX + 1];
    rtbus_pos_t            pos = { MAX, MAX };
    const uint8_t         *p, *last;
    rtbus_cursor_entry_t   entry;
    uint8_t                name[RTBUS_CHANNEL_MAX];

    memset(name, 'n', sizeof(name));
    memset(buf, '#', sizeof(buf));

    n = rtbus_cursor_write(buf, name, sizeof(name), pos);

    ok(n == RTBUS_CURSOR_ENTRY_MAX && buf[n] == '#', "longest entry: written");

    p = buf;
    last = buf + n;

    ok(rtbus_cursor_next(&entry, &p, last) == RTBUS_OK
       && entry.channel.len == sizeof(name)
       && memcmp(entry.channel.data, name, sizeof(name)) == 0
       && rtbus_pos_cmp(entry.pos, pos) == 0 && p == last,
       "longest entry: read again");

    pos.epoch = 1;
    pos.seq = 7;

    n = rtbus_cursor_write(buf, (const uint8_t *) "job:1", 5, pos);

    ok(n == 9 && memcmp(buf, "job:1@1-7", 9) == 0, "entry: written");
}


int
main(void)
{
    test_channel();
    test_encode();
    test_position();
    test_write();
    test_round_trip();
    test_order();
    test_cursor();
    test_malformed();

    return done_testing();
}
