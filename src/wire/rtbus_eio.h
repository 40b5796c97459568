
/*
 * Engine.IO packets, protocol 4 (the protocol document of Engine.IO, section
 * "Protocol"): over WebSocket a text frame is one packet and a binary frame is
 * one binary message; over HTTP long-polling a body is a payload of packets
 * separated by 0x1e, a binary message in it is "b" and base64.  Clients told to
 * force base64 send that form in text frames, too.
 */


#ifndef _RTBUS_EIO_H_INCLUDED_
#define _RTBUS_EIO_H_INCLUDED_


#include "rtbus_wire.h"


typedef enum {
    RTBUS_EIO_OPEN = '0',
    RTBUS_EIO_CLOSE = '1',
    RTBUS_EIO_PING = '2',
    RTBUS_EIO_PONG = '3',
    RTBUS_EIO_MESSAGE = '4',
    RTBUS_EIO_UPGRADE = '5',
    RTBUS_EIO_NOOP = '6',
    RTBUS_EIO_BINARY = 'b'      /* data is base64, not checked here */
} rtbus_eio_type_e;


#define RTBUS_EIO_SEPARATOR  0x1e


typedef struct {
    rtbus_eio_type_e    type;
    rtbus_str_t         data;   /* slice of the input, without the type */
} rtbus_eio_packet_t;


/*
 * One packet, the text of a WebSocket frame: RTBUS_OK, or RTBUS_ERROR if it is
 * empty or of an unknown type.
 */

int rtbus_eio_parse(rtbus_eio_packet_t *packet, const uint8_t *p, size_t len);

/*
 * Takes the next packet off a payload; *pos starts at its first byte.
 *
 * RTBUS_OK:     packet is set, *pos is behind it and its separator
 * RTBUS_AGAIN:  the payload has ended; at once if it is empty
 * RTBUS_ERROR:  malformed: an empty packet, an unknown type, a separator at the
 *               end; *pos stays
 */

int rtbus_eio_next(rtbus_eio_packet_t *packet, const uint8_t **pos,
    const uint8_t *last);


#endif /* _RTBUS_EIO_H_INCLUDED_ */
