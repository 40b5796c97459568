
/*
 * Any bytes as a channel, a position and a cursor.  A position that is taken
 * is written with the same bytes; a cursor that is taken is its entries
 * joined.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_cursor.h"


int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);


static void
assert_true(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
check_order(rtbus_pos_t a, rtbus_pos_t b)
{
    int  cmp;

    cmp = rtbus_pos_cmp(a, b);

    assert_true(rtbus_pos_cmp(a, a) == 0);
    assert_true((cmp < 0) == (rtbus_pos_cmp(b, a) > 0));
    assert_true((cmp == 0) == (rtbus_pos_cmp(b, a) == 0));

    if (rtbus_pos_next(a, b)) {
        assert_true(cmp < 0);
        assert_true(!rtbus_pos_next(b, a));
    }
}


static void
check_cursor(const uint8_t *p, size_t len)
{
    int                     rc;
    size_t                  n;
    uint8_t                 buf[RTBUS_POSITION_MAX];
    rtbus_pos_t             before;
    const uint8_t          *pos, *last, *start;
    rtbus_cursor_entry_t    entry;

    pos = p;
    last = p + len;
    before.epoch = 0;
    before.seq = 0;

    for ( ;; ) {
        start = pos;
        rc = rtbus_cursor_next(&entry, &pos, last);

        if (rc != RTBUS_OK) {
            break;
        }

        assert_true(rtbus_channel_check(entry.channel.data, entry.channel.len)
                    == RTBUS_OK);
        assert_true(entry.channel.data == start);

        n = rtbus_pos_write(buf, entry.pos);
        start += entry.channel.len;

        assert_true(*start == '@');
        assert_true((size_t) (last - start) >= n + 1);
        assert_true(memcmp(start + 1, buf, n) == 0);

        start += n + 1;

        assert_true(pos == last ? start == last
                                : *start == ',' && start + 1 == pos);

        check_order(before, entry.pos);
        before = entry.pos;
    }

    assert_true(pos == start);

    if (rc == RTBUS_AGAIN) {
        assert_true(pos == last);

    } else {
        assert_true(rc == RTBUS_ERROR && pos < last);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    uint8_t      buf[RTBUS_POSITION_MAX];
    uint64_t     n[2];
    rtbus_pos_t  pos, back;

    (void) rtbus_channel_check(p, len);

    if (rtbus_pos_parse(&pos, p, len) == RTBUS_OK) {
        assert_true(rtbus_pos_write(buf, pos) == len);
        assert_true(memcmp(buf, p, len) == 0);
    }

    if (len >= sizeof(n)) {
        memcpy(n, p, sizeof(n));
        pos.epoch = n[0];
        pos.seq = n[1];

        assert_true(rtbus_pos_parse(&back, buf, rtbus_pos_write(buf, pos))
                    == RTBUS_OK);
        assert_true(rtbus_pos_cmp(pos, back) == 0);

        check_order(pos, back);
    }

    if (len) {
        check_cursor(p, len);
    }

    return 0;
}
