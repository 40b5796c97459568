
/*
 * Any bytes as a packet and as a payload: a payload that is taken is its
 * packets joined.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_eio.h"


int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);


static void
assert_true(int cond)
{
    if (!cond) {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int                   rc;
    const uint8_t        *pos, *last, *start;
    rtbus_eio_packet_t    packet;

    if (rtbus_eio_parse(&packet, p, len) == RTBUS_OK) {
        assert_true(packet.type == p[0]);
        assert_true(packet.data.data == p + 1 && packet.data.len == len - 1);
    }

    if (len == 0) {
        return 0;
    }

    pos = p;
    last = p + len;

    for ( ;; ) {
        start = pos;
        rc = rtbus_eio_next(&packet, &pos, last);

        if (rc != RTBUS_OK) {
            break;
        }

        assert_true(packet.type == *start);
        assert_true(packet.data.data == start + 1);
        assert_true(packet.data.len < (size_t) (last - start));

        if (packet.data.len) {
            assert_true(memchr(packet.data.data, RTBUS_EIO_SEPARATOR,
                               packet.data.len) == NULL);
        }

        start += 1 + packet.data.len;

        assert_true(start == last ? pos == last
                                  : *start == RTBUS_EIO_SEPARATOR
                                    && pos == start + 1 && pos != last);
    }

    assert_true(pos == start);
    assert_true(rc == (pos == last ? RTBUS_AGAIN : RTBUS_ERROR));

    return 0;
}
