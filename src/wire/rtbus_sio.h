
/*
 * Socket.IO packets, protocol 5 (the protocol document of Socket.IO, section
 * "Packet encoding"):
 *
 *   <type>[<attachments>-][<namespace>,][<ack id>][JSON]
 *
 * Only the frame of a packet is read here; its JSON is a slice, to be checked
 * by rtbus_json.
 */


#ifndef _RTBUS_SIO_H_INCLUDED_
#define _RTBUS_SIO_H_INCLUDED_


#include "rtbus_wire.h"


typedef enum {
    RTBUS_SIO_CONNECT = 0,
    RTBUS_SIO_DISCONNECT,
    RTBUS_SIO_EVENT,
    RTBUS_SIO_ACK,
    RTBUS_SIO_CONNECT_ERROR,
    RTBUS_SIO_BINARY_EVENT,
    RTBUS_SIO_BINARY_ACK
} rtbus_sio_type_e;


#define RTBUS_SIO_MAX_ACK   9007199254740991ULL  /* 2^53 - 1 */
#define RTBUS_SIO_MAX_NSP   200                  /* bytes */
#define RTBUS_SIO_MAX_ATTACHMENTS  64

/* the longest header: type, attachments, namespace and comma, ack id */

#define RTBUS_SIO_MAX_HEADER  (1 + 3 + RTBUS_SIO_MAX_NSP + 1 + 16)


typedef struct {
    rtbus_sio_type_e    type;
    unsigned            attachments;  /* binary packets: frames that follow */
    rtbus_str_t         nsp;          /* with its slash, as it was sent;
                                         "/" (static) when none is given */
    uint64_t            ack;
    unsigned            has_ack:1;
    rtbus_str_t         json;         /* may be empty */
} rtbus_sio_packet_t;


/*
 * Parses what an Engine.IO message has after its type.  RTBUS_OK, or
 * RTBUS_ERROR with *reason, a static text, and *packet as it was.  Refused
 * here: an unknown type, a missing, zero or too large number of attachments, an
 * ack id over RTBUS_SIO_MAX_ACK, a namespace that is too long or has control
 * characters, JSON that cannot be of the kind that the type wants (CONNECT: an
 * object or nothing; DISCONNECT: nothing; EVENT, ACK and their binary forms: an
 * array; CONNECT_ERROR: an object, a string or nothing; the first byte is
 * looked at), an ack id where none may be, none for an ACK.
 *
 * A query part stays in the namespace: version 5 gives it no meaning, and a
 * client drops an answer that does not name the namespace in its own words.
 */

int rtbus_sio_parse(rtbus_sio_packet_t *packet, const uint8_t *p, size_t len,
    const char **reason);

/*
 * Writes what comes before the JSON: the type, attachments if it is a binary
 * type, the namespace unless it is "/" or empty, the ack id if there is one.
 * Answers the length; with dst NULL only the length.
 */

size_t rtbus_sio_write_header(uint8_t *dst, const rtbus_sio_packet_t *packet);


#endif /* _RTBUS_SIO_H_INCLUDED_ */
