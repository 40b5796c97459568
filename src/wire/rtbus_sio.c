
/*
 * Socket.IO packets: what stands before the JSON.
 */


#include <string.h>

#include "rtbus_number.h"
#include "rtbus_sio.h"


static const uint8_t *rtbus_sio_number(uint64_t *n, const uint8_t *p,
    const uint8_t *last, uint64_t max);
static const char *rtbus_sio_check_nsp(const rtbus_str_t *nsp);
static const char *rtbus_sio_check_ack(const rtbus_sio_packet_t *packet);
static const char *rtbus_sio_check_json(const rtbus_sio_packet_t *packet);
static int rtbus_sio_is_binary(rtbus_sio_type_e type);


int
rtbus_sio_parse(rtbus_sio_packet_t *packet, const uint8_t *p, size_t len,
    const char **reason)
{
    uint64_t             n;
    const uint8_t       *last, *end;
    rtbus_sio_packet_t   parsed;

    static uint8_t  root[] = "/";

    if (len == 0) {
        *reason = "empty packet";
        return RTBUS_ERROR;
    }

    if (*p < '0' || *p > '0' + RTBUS_SIO_BINARY_ACK) {
        *reason = "packet of unknown type";
        return RTBUS_ERROR;
    }

    last = p + len;

    parsed.type = *p++ - '0';
    parsed.attachments = 0;

    if (rtbus_sio_is_binary(parsed.type)) {
        end = rtbus_sio_number(&n, p, last, RTBUS_SIO_MAX_ATTACHMENTS);

        if (end == NULL) {
            *reason = "packet with too many attachments";
            return RTBUS_ERROR;
        }

        if (end == p || end == last || *end != '-' || n == 0) {
            *reason = "binary packet without number of attachments";
            return RTBUS_ERROR;
        }

        parsed.attachments = n;
        p = end + 1;
    }

    parsed.nsp.data = root;
    parsed.nsp.len = 1;

    if (p != last && *p == '/') {

        /* the comma may be missing when nothing follows */

        end = memchr(p, ',', last - p);

        if (end == NULL) {
            end = last;
        }

        parsed.nsp.data = (uint8_t *) p;
        parsed.nsp.len = end - p;

        *reason = rtbus_sio_check_nsp(&parsed.nsp);

        if (*reason) {
            return RTBUS_ERROR;
        }

        p = (end == last) ? last : end + 1;
    }

    end = rtbus_sio_number(&parsed.ack, p, last, RTBUS_SIO_MAX_ACK);

    if (end == NULL) {
        *reason = "packet with too large an ack id";
        return RTBUS_ERROR;
    }

    parsed.has_ack = (end != p);

    parsed.json.data = (uint8_t *) end;
    parsed.json.len = last - end;

    *reason = rtbus_sio_check_ack(&parsed);

    if (*reason) {
        return RTBUS_ERROR;
    }

    *reason = rtbus_sio_check_json(&parsed);

    if (*reason) {
        return RTBUS_ERROR;
    }

    *packet = parsed;

    return RTBUS_OK;
}


size_t
rtbus_sio_write_header(uint8_t *dst, const rtbus_sio_packet_t *packet)
{
    size_t  n;

    n = 0;

    if (dst) {
        dst[n] = '0' + packet->type;
    }

    n++;

    if (rtbus_sio_is_binary(packet->type)) {
        n += rtbus_number_write(dst ? dst + n : NULL, packet->attachments);

        if (dst) {
            dst[n] = '-';
        }

        n++;
    }

    if (packet->nsp.len > 1) {
        if (dst) {
            memcpy(dst + n, packet->nsp.data, packet->nsp.len);
            dst[n + packet->nsp.len] = ',';
        }

        n += packet->nsp.len + 1;
    }

    if (packet->has_ack) {
        n += rtbus_number_write(dst ? dst + n : NULL, packet->ack);
    }

    return n;
}


/*
 * Answers the end of the number, p if there is none, NULL if it is over max,
 * which is 9 or more.  Leading zeros are taken, as the reference decoder takes
 * them.
 */

static const uint8_t *
rtbus_sio_number(uint64_t *n, const uint8_t *p, const uint8_t *last,
    uint64_t max)
{
    uint8_t   digit;
    uint64_t  value;

    value = 0;

    for ( /* void */ ; p != last && *p >= '0' && *p <= '9'; p++) {
        digit = *p - '0';

        if (value > (max - digit) / 10) {
            return NULL;
        }

        value = value * 10 + digit;
    }

    *n = value;

    return p;
}


static const char *
rtbus_sio_check_nsp(const rtbus_str_t *nsp)
{
    size_t  i;

    if (nsp->len > RTBUS_SIO_MAX_NSP) {
        return "packet with too long a namespace";
    }

    for (i = 0; i < nsp->len; i++) {
        if (nsp->data[i] < 0x20 || nsp->data[i] == 0x7f) {
            return "packet with control characters in namespace";
        }
    }

    return NULL;
}


static const char *
rtbus_sio_check_ack(const rtbus_sio_packet_t *packet)
{
    switch (packet->type) {

    case RTBUS_SIO_EVENT:
    case RTBUS_SIO_BINARY_EVENT:
        return NULL;

    case RTBUS_SIO_ACK:
    case RTBUS_SIO_BINARY_ACK:
        return packet->has_ack ? NULL : "ack without an id";

    default: /* RTBUS_SIO_CONNECT, _DISCONNECT, _CONNECT_ERROR */
        return packet->has_ack ? "packet with an ack id it may not have"
                               : NULL;
    }
}


static const char *
rtbus_sio_check_json(const rtbus_sio_packet_t *packet)
{
    uint8_t  c;

    c = packet->json.len ? packet->json.data[0] : '\0';

    switch (packet->type) {

    case RTBUS_SIO_CONNECT:

        if (packet->json.len && c != '{') {
            return "connect with a payload that is not an object";
        }

        return NULL;

    case RTBUS_SIO_DISCONNECT:
        return packet->json.len ? "disconnect with a payload" : NULL;

    case RTBUS_SIO_CONNECT_ERROR:

        if (packet->json.len && c != '{' && c != '"') {
            return "connect error with a payload that is not an object";
        }

        return NULL;

    default: /* RTBUS_SIO_EVENT, _ACK, _BINARY_EVENT, _BINARY_ACK */
        return c != '[' ? "packet with a payload that is not an array" : NULL;
    }
}


static int
rtbus_sio_is_binary(rtbus_sio_type_e type)
{
    return type == RTBUS_SIO_BINARY_EVENT || type == RTBUS_SIO_BINARY_ACK;
}
