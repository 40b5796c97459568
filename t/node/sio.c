
/*
 * What rtbus_sio and rtbus_json say of packets, for sio.js to compare with what
 * npm's socket.io-parser says.
 *
 * Each packet comes with its length, four bytes, the first is the lowest.  Its
 * answer is a line: "-" and the reason, or
 *
 *   type attachments ack namespace header JSON
 *
 * with "-" for no ack; namespace, the header that is written of it and JSON are
 * in hexadecimal, "-" if empty.
 */


#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "rtbus_json.h"
#include "rtbus_sio.h"


#define MAX_PACKET  (1 << 20)
#define DEPTH       64              /* as in rtbus_event.h */


static void
print_hex(const uint8_t *p, size_t len)
{
    size_t  i;

    putchar(' ');

    if (len == 0) {
        putchar('-');
    }

    for (i = 0; i < len; i++) {
        printf("%02x", p[i]);
    }
}


static void
answer(rtbus_json_t *json, const uint8_t *p, size_t len)
{
    size_t               n;
    uint8_t              header[RTBUS_SIO_MAX_HEADER];
    const char          *text;
    rtbus_reason_e       reason;
    rtbus_json_value_t   value;
    rtbus_sio_packet_t   packet;

    reason = RTBUS_REASON_NONE;

    if (rtbus_sio_parse(&packet, p, len, &text) != RTBUS_OK
        || (packet.json.len
            && rtbus_json_value(json, packet.json.data, packet.json.len,
                                &value, &reason)
               != RTBUS_OK))
    {
        printf("- %s\n", reason ? rtbus_reason_text(reason) : text);
        return;
    }

    n = rtbus_sio_write_header(header, &packet);

    printf("%d %u ", (int) packet.type, packet.attachments);

    if (packet.has_ack) {
        printf("%" PRIu64, packet.ack);

    } else {
        putchar('-');
    }

    print_hex(packet.nsp.data, packet.nsp.len);
    print_hex(header, n);
    print_hex(packet.json.data, packet.json.len);
    putchar('\n');
}


int
main(void)
{
    size_t         len;
    uint8_t        head[4], *p;
    rtbus_json_t  *json;

    json = rtbus_json_create(DEPTH);
    if (json == NULL) {
        return 2;
    }

    setvbuf(stdout, NULL, _IOLBF, 0);

    while (fread(head, 1, 4, stdin) == 4) {
        len = head[0] | head[1] << 8 | head[2] << 16 | (size_t) head[3] << 24;

        if (len > MAX_PACKET) {
            return 2;
        }

        /* of its very length, for a sanitizer to see what is behind it */

        p = malloc(len + !len);

        if (p == NULL || fread(p, 1, len, stdin) != len) {
            return 2;
        }

        answer(json, p, len);
        free(p);
    }

    rtbus_json_destroy(json);

    return 0;
}
