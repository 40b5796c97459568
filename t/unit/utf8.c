
/*
 * rtbus_utf8 against the plain decoder: every sequence of one to three bytes,
 * every pair of first bytes of four, every code point; then the same text at
 * all read sizes, because the state is what survives between two reads.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_utf8.h"
#include "unit.h"
#include "utf8_plain.h"


#define ACCEPT  RTBUS_UTF8_ACCEPT
#define REJECT  RTBUS_UTF8_REJECT


static plain_e
verdict(uint32_t state)
{
    return state == ACCEPT ? PLAIN_WHOLE
                           : state == REJECT ? PLAIN_BAD : PLAIN_PART;
}


/* a wrong verdict, too, if the first character is not the plain one */

static plain_e
check(const void *p, size_t len)
{
    size_t          n, used;
    const uint8_t  *t = p;

    if (len) {
        n = (plain_char(t, len, &used) == PLAIN_WHOLE) ? used : 0;

        if (rtbus_utf8_character(t, t + len) != n) {
            return (plain_check(t, len) == PLAIN_BAD) ? PLAIN_WHOLE
                                                      : PLAIN_BAD;
        }
    }

    return verdict(rtbus_utf8_check(ACCEPT, p, len));
}


static uint32_t
by_reads(const uint8_t *p, size_t len, size_t size)
{
    size_t    n;
    uint32_t  state;

    for (state = ACCEPT; len; len -= n, p += n) {
        n = len < size ? len : size;
        state = rtbus_utf8_check(state, p, n);
    }

    return state;
}


static size_t
encode(uint8_t *p, uint32_t cp)
{
    if (cp < 0x80) {
        p[0] = (uint8_t) cp;
        return 1;
    }

    if (cp < 0x800) {
        p[0] = (uint8_t) (0xc0 | cp >> 6);
        p[1] = (uint8_t) (0x80 | (cp & 0x3f));
        return 2;
    }

    if (cp < 0x10000) {
        p[0] = (uint8_t) (0xe0 | cp >> 12);
        p[1] = (uint8_t) (0x80 | (cp >> 6 & 0x3f));
        p[2] = (uint8_t) (0x80 | (cp & 0x3f));
        return 3;
    }

    p[0] = (uint8_t) (0xf0 | cp >> 18);
    p[1] = (uint8_t) (0x80 | (cp >> 12 & 0x3f));
    p[2] = (uint8_t) (0x80 | (cp >> 6 & 0x3f));
    p[3] = (uint8_t) (0x80 | (cp & 0x3f));

    return 4;
}


static void
test_contract(void)
{
    uint32_t  state;

    is_int(rtbus_utf8_check(ACCEPT, NULL, 0), ACCEPT, "no text");
    is_int(rtbus_utf8_check(REJECT, NULL, 0), REJECT, "no text, rejected");
    is_int(rtbus_utf8_check(REJECT, (const uint8_t *) "abc", 3), REJECT,
           "rejected stays rejected");

    state = rtbus_utf8_check(ACCEPT, (const uint8_t *) "\xe2\x82", 2);

    ok(state != ACCEPT && state != REJECT, "middle of a character");
    is_int(rtbus_utf8_check(state, NULL, 0), state, "empty read keeps state");
    is_int(rtbus_utf8_check(state, (const uint8_t *) "\xac", 1), ACCEPT,
           "character goes on in the next read");
    is_int(rtbus_utf8_check(state, (const uint8_t *) "a", 1), REJECT,
           "character broken by the next read");
}


static void
test_named(void)
{
    size_t  i;

    static const struct {
        const char  *name;
        const char  *text;
        plain_e      expected;
    } cases[] = {
        { "ASCII",               "Hello, world",         PLAIN_WHOLE },
        { "two bytes",           "\xc2\x80\xdf\xbf",     PLAIN_WHOLE },
        { "three bytes",         "\xe0\xa0\x80\xef\xbf\xbf", PLAIN_WHOLE },
        { "four bytes",          "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
                                                         PLAIN_WHOLE },
        { "around surrogates",   "\xed\x9f\xbf\xee\x80\x80", PLAIN_WHOLE },
        { "tail first",          "\x80",                 PLAIN_BAD },
        { "overlong slash, 2",   "\xc0\xaf",             PLAIN_BAD },
        { "overlong slash, 3",   "\xe0\x80\xaf",         PLAIN_BAD },
        { "overlong slash, 4",   "\xf0\x80\x80\xaf",     PLAIN_BAD },
        { "overlong lead c1",    "\xc1",                 PLAIN_BAD },
        { "overlong seen early", "\xe0\x9f",             PLAIN_BAD },
        { "high surrogate",      "\xed\xa0",             PLAIN_BAD },
        { "low surrogate",       "\xed\xbf\xbf",         PLAIN_BAD },
        { "U+110000",            "\xf4\x90",             PLAIN_BAD },
        { "lead f5",             "\xf5",                 PLAIN_BAD },
        { "byte ff",             "a\xff",                PLAIN_BAD },
        { "cut after lead",      "a\xc3",                PLAIN_PART },
        { "cut after two",       "a\xf0\x9f",            PLAIN_PART },
        { "cut after three",     "a\xf0\x9f\x98",        PLAIN_PART },
        { "lead after lead",     "\xc3\xc3",             PLAIN_BAD },
        { "ASCII after lead",    "\xe2\x82" "a",         PLAIN_BAD },
        { "one tail too many",   "\xc3\xa9\xa9",         PLAIN_BAD },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(check(cases[i].text, strlen(cases[i].text)), cases[i].expected,
               "%s", cases[i].name);

        is_int(verdict(by_reads((const uint8_t *) cases[i].text,
                                strlen(cases[i].text), 1)),
               cases[i].expected, "%s, byte by byte", cases[i].name);
    }
}


static void
test_short(void)
{
    long      bad1, bad2, bad3;
    uint8_t   t[3];
    plain_e   plain;
    uint32_t  a, b, c, s1, s2, s3;

    bad1 = 0;
    bad2 = 0;
    bad3 = 0;

    for (a = 0; a < 256; a++) {
        t[0] = (uint8_t) a;
        s1 = rtbus_utf8_check(ACCEPT, t, 1);

        bad1 += verdict(s1) != plain_check(t, 1);

        for (b = 0; b < 256; b++) {
            t[1] = (uint8_t) b;
            s2 = rtbus_utf8_check(s1, t + 1, 1);
            plain = plain_check(t, 2);

            bad2 += verdict(s2) != plain || check(t, 2) != plain;

            for (c = 0; c < 256; c++) {
                t[2] = (uint8_t) c;
                s3 = rtbus_utf8_check(s2, t + 2, 1);
                plain = plain_check(t, 3);

                bad3 += verdict(s3) != plain || check(t, 3) != plain;
            }
        }
    }

    is_int(bad1, 0, "all 256 sequences of one byte");
    is_int(bad2, 0, "all 65536 sequences of two bytes");
    is_int(bad3, 0, "all 16777216 sequences of three bytes");
}


static void
test_four(void)
{
    long      bad;
    size_t    c, d;
    uint8_t   t[4];
    plain_e   plain;
    uint32_t  a, b;

    static const uint8_t  edge[] = {
        0x00, 0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xbe, 0xbf,
        0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xf4, 0xff
    };

    bad = 0;

    for (a = 0; a < 256; a++) {
        t[0] = (uint8_t) a;

        for (b = 0; b < 256; b++) {
            t[1] = (uint8_t) b;

            for (c = 0; c < sizeof(edge); c++) {
                t[2] = edge[c];

                for (d = 0; d < sizeof(edge); d++) {
                    t[3] = edge[d];
                    plain = plain_check(t, 4);

                    bad += check(t, 4) != plain
                           || verdict(by_reads(t, 4, 1)) != plain
                           || verdict(by_reads(t, 4, 3)) != plain;
                }
            }
        }
    }

    is_int(bad, 0, "all first two bytes of four, the others at the edges");
}


static void
test_code_points(void)
{
    long      bad;
    size_t    len, cut;
    uint8_t   t[4];
    plain_e   expected;
    uint32_t  cp, state;

    bad = 0;

    for (cp = 0; cp < 0x200000; cp++) {
        len = encode(t, cp);
        expected = (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
                   ? PLAIN_BAD : PLAIN_WHOLE;

        bad += check(t, len) != expected;

        for (cut = 1; cut < len; cut++) {
            state = rtbus_utf8_check(ACCEPT, t, cut);

            if (expected == PLAIN_WHOLE) {
                bad += verdict(state) != PLAIN_PART;
            }

            bad += verdict(rtbus_utf8_check(state, t + cut, len - cut))
                   != expected;
        }
    }

    is_int(bad, 0, "all code points up to U+1FFFFF, at each cut");
}


/*
 * The fast path: one foreign byte or character inside a run of ASCII, at every
 * distance from both ends and at every alignment, in memory that ends there.
 */

static void
test_runs(void)
{
    long      bad;
    size_t    i, k, len, at, shift, ulen;
    uint8_t  *block, *t;

    static const char  *inserts[] = {
        "\x80", "\xc3\xa9", "\xc3", "\xe2\x82\xac", "\xe2\x82",
        "\xf0\x9f\x98\x80", "\xf0\x9f", "\xff", "\xc0\x80", "\x7f"
    };

    bad = 0;

    for (k = 0; k < sizeof(inserts) / sizeof(inserts[0]); k++) {
        ulen = strlen(inserts[k]);

        for (shift = 0; shift < 8; shift++) {
            for (len = ulen; len < 36; len++) {
                for (at = 0; at + ulen <= len; at++) {
                    block = malloc(shift + len);
                    if (block == NULL) {
                        abort();
                    }

                    t = block + shift;
                    memset(t, 'a', len);
                    memcpy(t + at, inserts[k], ulen);

                    bad += check(t, len) != plain_check(t, len);

                    for (i = 1; i <= 9; i++) {
                        bad += verdict(by_reads(t, len, i))
                               != plain_check(t, len);
                    }

                    free(block);
                }
            }
        }
    }

    is_int(bad, 0, "runs of ASCII broken at every place and alignment");
}


static void
test_reads(void)
{
    long      bad;
    size_t    len, size, cut;
    uint8_t   text[4096];
    uint32_t  cp, state;

    /* all lengths of characters, in changing neighbourhoods */

    cp = 1;

    for (len = 0; len + 4 <= sizeof(text); /* void */) {
        cp = cp * 1103515245u + 12345u;

        switch (cp >> 28 & 7) {

        case 0:
            len += encode(text + len, 0x80 + (cp >> 8 & 0x3ff));
            break;

        case 1:
            len += encode(text + len, 0x800 + (cp >> 8 & 0x7fff));
            break;

        case 2:
            len += encode(text + len, 0x10000 + (cp >> 8 & 0xfffff));
            break;

        default:
            text[len++] = (uint8_t) (0x20 + (cp >> 8) % 0x5f);
        }
    }

    is_int(plain_check(text, len), PLAIN_WHOLE, "mixed text is a fair one");
    is_int(rtbus_utf8_check(ACCEPT, text, len), ACCEPT, "mixed text, whole");

    for (size = 1; size <= 31; size++) {
        is_int(by_reads(text, len, size), ACCEPT, "mixed text, reads of %zu",
               size);
    }

    bad = 0;

    for (cut = 0; cut <= len; cut++) {
        state = rtbus_utf8_check(ACCEPT, text, cut);

        bad += verdict(state) != plain_check(text, cut);
        bad += rtbus_utf8_check(state, text + cut, len - cut) != ACCEPT;
    }

    is_int(bad, 0, "mixed text, cut everywhere");

    text[len - 1] = 0xff;

    is_int(rtbus_utf8_check(ACCEPT, text, len), REJECT,
           "mixed text, bad last byte, whole");

    for (size = 1; size <= 31; size++) {
        is_int(by_reads(text, len, size), REJECT,
               "mixed text, bad last byte, reads of %zu", size);
    }
}


int
main(void)
{
    test_contract();
    test_named();
    test_short();
    test_four();
    test_code_points();
    test_runs();
    test_reads();

    return done_testing();
}
