
/*
 * rtbus_number against the C library: numbers around each power of two and of
 * ten; what is none; digits in front of something else.
 */


#include <inttypes.h>
#include <stdlib.h>

#include "unit.h"
#include "rtbus_number.h"


#define VALUES  (64 * 3 + 20 * 3)


static size_t
values(uint64_t *value)
{
    size_t    i, n;
    uint64_t  ten;

    n = 0;
    ten = 1;

    for (i = 0; i < 64; i++) {
        value[n++] = ((uint64_t) 1 << i) - 1;
        value[n++] = (uint64_t) 1 << i;
        value[n++] = UINT64_MAX - ((uint64_t) 1 << i);
    }

    for (i = 0; i < 20; i++) {
        value[n++] = ten - 1;
        value[n++] = ten;
        value[n++] = ten * 9 / 8;
        ten *= 10;
    }

    return n;
}


static void
test_round_trip(void)
{
    char            text[32];
    size_t          i, n, len, bad;
    uint8_t        *p, buf[RTBUS_NUMBER_MAX + 1];
    uint64_t        back, value[VALUES];
    const uint8_t  *end;

    n = values(value);
    bad = 0;

    for (i = 0; i < n; i++) {
        len = (size_t) snprintf(text, sizeof(text), "%" PRIu64, value[i]);

        memset(buf, '#', sizeof(buf));

        if (rtbus_number_write(buf, value[i]) != len
            || rtbus_number_write(NULL, value[i]) != len
            || memcmp(buf, text, len) != 0 || buf[len] != '#')
        {
            bad++;
        }

        p = malloc(len);
        if (p == NULL) {
            exit(2);
        }

        memcpy(p, text, len);
        back = ~value[i];

        end = rtbus_number_parse(&back, p, p + len);

        if (end != p + len || back != value[i]) {
            bad++;
        }

        free(p);
    }

    is_int(bad, 0, "%zu numbers, written and parsed", n);
}


static void
test_parse(void)
{
    size_t          i;
    uint64_t        n;
    const uint8_t  *p, *end;

    static const struct {
        const char  *text;
        int          used;        /* -1: it is none */
        uint64_t     n;
    } cases[] = {
        { "", -1, 0 },
        { "x", -1, 0 },
        { "-1", -1, 0 },
        { "+1", -1, 0 },
        { " 1", -1, 0 },
        { "/", -1, 0 },
        { ":", -1, 0 },
        { "00", -1, 0 },
        { "01", -1, 0 },
        { "0", 1, 0 },
        { "0-7", 1, 0 },
        { "7-", 1, 7 },
        { "12.5", 2, 12 },
        { "99/", 2, 99 },
        { "99:", 2, 99 },
        { "1732300000123-4", 13, 1732300000123ULL },
        { "9999999999999999999", 19, 9999999999999999999ULL },
        { "9999999999999999999x", 19, 9999999999999999999ULL },
        { "18446744073709551615", 20, UINT64_MAX },
        { "18446744073709551615,1", 20, UINT64_MAX },
        { "18446744073709551616", -1, 0 },
        { "18446744073709551620", -1, 0 },
        { "20000000000000000000", -1, 0 },
        { "99999999999999999999", -1, 0 },
        { "100000000000000000000", -1, 0 },
        { "184467440737095516150", -1, 0 },
        { "00000000000000000000001", -1, 0 },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        p = (const uint8_t *) cases[i].text;
        n = 0;

        end = rtbus_number_parse(&n, p, p + strlen(cases[i].text));

        ok((cases[i].used == -1 ? end == NULL : end == p + cases[i].used)
           && n == cases[i].n, "\"%s\"", cases[i].text);
    }
}


int
main(void)
{
    test_round_trip();
    test_parse();

    return done_testing();
}
