
/*
 * Any bytes as a packet: one that is taken is within the limits, and what is
 * written of it is parsed to the same again.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_sio.h"


int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);


static void
assert_true(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
check_again(const rtbus_sio_packet_t *packet, size_t len)
{
    size_t               n, size;
    uint8_t             *buf;
    const char          *reason;
    rtbus_sio_packet_t   back;

    n = rtbus_sio_write_header(NULL, packet);

    /* it can be longer than it was by a comma only */

    assert_true(n <= RTBUS_SIO_MAX_HEADER);
    assert_true(n + packet->json.len <= len + 1);

    size = n + packet->json.len;

    buf = malloc(size);
    if (buf == NULL) {
        abort();
    }

    assert_true(rtbus_sio_write_header(buf, packet) == n);

    if (packet->json.len) {
        memcpy(buf + n, packet->json.data, packet->json.len);
    }

    assert_true(rtbus_sio_parse(&back, buf, size, &reason) == RTBUS_OK);

    assert_true(back.type == packet->type);
    assert_true(back.attachments == packet->attachments);
    assert_true(back.nsp.len == packet->nsp.len);
    assert_true(memcmp(back.nsp.data, packet->nsp.data, back.nsp.len) == 0);
    assert_true(back.has_ack == packet->has_ack && back.ack == packet->ack);
    assert_true(back.json.data == buf + n);
    assert_true(back.json.len == packet->json.len);

    free(buf);
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int                   binary;
    const char           *reason;
    rtbus_sio_packet_t    packet;

    reason = NULL;

    if (rtbus_sio_parse(&packet, p, len, &reason) != RTBUS_OK) {
        assert_true(reason != NULL);
        return 0;
    }

    binary = (packet.type == RTBUS_SIO_BINARY_EVENT
              || packet.type == RTBUS_SIO_BINARY_ACK);

    assert_true(packet.type == (rtbus_sio_type_e) (p[0] - '0'));
    assert_true((packet.attachments != 0) == binary);
    assert_true(packet.attachments <= RTBUS_SIO_MAX_ATTACHMENTS);
    assert_true(packet.nsp.len >= 1 && packet.nsp.len <= RTBUS_SIO_MAX_NSP);
    assert_true(packet.nsp.data[0] == '/');
    assert_true(packet.ack <= RTBUS_SIO_MAX_ACK);
    assert_true(packet.has_ack || packet.ack == 0);
    assert_true(packet.json.data + packet.json.len == p + len);

    check_again(&packet, len);

    return 0;
}
